"""The settings of jobs.colorize."""

import os
from dataclasses import field
from typing import Annotated, Literal

from colornet.archive.selection import Selection
from colornet.errors import SettingsError
from colornet.inference.bundle import SHIPPED
from colornet.inference.precision import Precision
from colornet.provenance.c2pa import Credentials
from colornet.rendering.render import RenderSettings
from colornet.settings import Field, settings
from colornet.storage import S3Options


@settings
class PlanSettings:
    """What --plan reckons with."""

    plan: bool = False
    """Say what would be done, how long it would take and what it would cost, and do nothing."""
    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes to reckon with."""
    node_cpus: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    """Cores of each of those nodes, as fast as this machine's."""
    node_price: Annotated[float, Field(ge=0)] = 0.0
    """Price of a node for an hour, in whatever currency."""


@settings
class ColorizeSettings:
    """The settings of jobs.colorize."""

    input: str
    """The archive: a folder, an s3:// prefix, a list of scans (.parquet or .csv with a column `source_uri`), or the
    manifest.json of an S3 Inventory report."""
    output: str
    """Folder or s3:// prefix for the colour archive. Must not be the input's place, nor inside it, nor around it."""
    model: str = SHIPPED
    """The model bundle: a folder or s3:// prefix, as jobs.train writes it. The default comes with Colornet."""
    select: Selection = field(default_factory=Selection)
    """Which of the scans are meant."""
    reckoning: PlanSettings = field(default_factory=PlanSettings)
    """What --plan reckons with."""
    render: RenderSettings = field(default_factory=RenderSettings)
    """What outputs look like."""
    hints: str | None = None
    """Colours that people know: a file .csv or .parquet, with a row for each: source (the scan's key or uri), x and y
    (pixels of the upright picture), color ("#rrggbb"), and perhaps page, strength, by and note. It is all that is
    known: scans that it says something new of are done again, and those that it names no longer again without hints.
    Without such a file, what people chose before stays."""
    min_workers: Annotated[int, Field(ge=1)] = 1
    """Workers to keep, at least."""
    max_workers: Annotated[int, Field(ge=0)] = 0
    """Workers to grow to; 0 takes as many as there are cores for, also those that an autoscaler brings, up to 1,000."""
    worker_cpus: Annotated[int, Field(ge=1)] = 1
    """CPU cores of each worker."""
    gpu_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """GPU that each predictor takes: 1 a whole one, 0.5 half of one. With 0, workers predict by themselves on CPUs."""
    predictors: Annotated[int, Field(ge=0)] = 0
    """Processes that hold the generator and colour for all workers; 0 takes what the GPUs have place for, or none."""
    precision: Precision = "auto"
    """Arithmetic of the generator; auto takes bfloat16 where the processor has it."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """How often a scan may lose its worker process, by its own fault or the machine's, before it is a failure."""
    retry_failed: bool = True
    """Try the scans again that failed under an earlier start of this run."""
    certificates: str | None = None
    """PEM file with the certificate chain that C2PA manifests are signed with; needs --key too."""
    key: str | None = None
    """PEM file with the certificate's private key. Both must be at these paths on every node."""
    s3: S3Options = field(default_factory=S3Options)
    """How S3 is spoken to."""
    log_format: Literal["text", "json"] = "text"
    """Logs for people, or a JSON object a line, with the scan's uri in `source_uri`, for machines."""
    repair: bool = False
    """Check first what is there, which reads every output: what of this run is gone, changed or not well recorded
    is made again. `python -m jobs.ledger OUTPUT --check` is that check."""
    replace: bool = False
    """Paint over pictures of other runs, that is of another bundle or other settings. Without this, an output that
    holds any is refused: give each run an output of its own."""
    fail_on_errors: bool = False
    """End with exit code 3 if any scan failed."""

    def __post_init__(self) -> None:
        """Check what belongs together; raises SettingsError."""
        if self.max_workers and self.max_workers < self.min_workers:
            raise SettingsError(f"max_workers must be 0, or at least min_workers, not {self.max_workers}")
        if (self.certificates is None) != (self.key is None):
            raise SettingsError("certificates and key belong together: give both or none")

    @property
    def credentials(self) -> Credentials | None:
        """What C2PA manifests are signed with, if anything."""
        if self.certificates is None or self.key is None:
            return None
        return Credentials(certificates=self.certificates, key=self.key)
