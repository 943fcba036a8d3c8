"""What a job tells Prometheus, beside what Ray tells by itself.

Ray exports these at the metrics port of the node on which the job's driver runs, with the prefix `ray_`. The tag
`output` tells the jobs of a cluster apart.
"""

import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter

from colornet.archive import ledger


class JobMetrics:
    """Counts scans, bytes, pixels and the seconds of each step."""

    def __init__(self, output: str) -> None:
        """Make the counters of the job that writes to `output`; Ray must be running."""
        self._scans = Counter("colornet_scans", "Scans with a row in the ledger.", ("output", "status"))
        self._bytes = Counter("colornet_bytes", "Bytes of scans read and of outputs written.", ("output", "direction"))
        self._pixels = Counter("colornet_pixels", "Pixels colorized.", ("output",))
        self._seconds = Counter("colornet_step_seconds", "Wall seconds of scans in a step.", ("output", "step"))
        for counter in (self._scans, self._bytes, self._pixels, self._seconds):
            counter.set_default_tags({"output": output})

    def observe(self, rows: pa.Table) -> None:
        """Count rows of ledger.SCHEMA."""
        for status in pc.unique(rows["status"]).to_pylist():
            _add(self._scans, pc.sum(pc.equal(rows["status"], status)), {"status": status})
        _add(self._bytes, pc.sum(rows["source_size"]), {"direction": "read"})
        _add(self._bytes, pc.sum(rows["output_size"]), {"direction": "written"})
        _add(self._pixels, pc.sum(rows["pixels"]), {})
        for step in ledger.STEPS:
            _add(self._seconds, pc.sum(rows[f"{step}_seconds"]), {"step": step})


def _add(counter: Counter, amount: pa.Scalar, tags: dict[str, str]) -> None:
    # Counters refuse a zero.
    if amount.as_py():
        counter.inc(amount.as_py(), tags)
