"""What every worker of a run is told."""

from dataclasses import dataclass, replace
from typing import Any

from colornet.archive import ledger
from colornet.inference.precision import Precision
from colornet.provenance.c2pa import Credentials
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage

Row = dict[str, Any]
"""Of a plan, or of the ledger."""


@dataclass(frozen=True, kw_only=True)
class ColorizeTask:
    """What every worker of a run is told. Small, and plain data: it travels to every node."""

    output: str
    """Folder or prefix of the output archive."""
    model: str
    """Folder or prefix of the bundle, or `bundle.SHIPPED`."""
    bundle_digest: str
    """Of the bundle that the run was planned with."""
    render: RenderSettings
    """What else decides what an output looks like; its size is not 0."""
    credentials: Credentials | None = None
    """With which C2PA manifests are signed; the files must be at these paths on every node."""
    device: str = "cpu"
    """Where the generator runs."""
    precision: Precision = "auto"
    """In which arithmetic the generator runs."""

    storage: Storage = Storage()
    """With what scans, bundle, outputs and ledger are reached."""
    attempt: int = 1
    """Which try of its scans this is, within one start of the job."""

    @property
    def run(self) -> ledger.RunKey:
        """The run that its rows belong to."""
        return ledger.RunKey(self.bundle_digest, self.render.digest)

    def settings_of(self, row: Row) -> RenderSettings:
        """What decides what one scan's output looks like, beside its hints."""
        strength = row.get("strength")
        return self.render if strength is None else replace(self.render, strength=strength)
