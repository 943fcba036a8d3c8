"""The job's worker, observed: it writes down each of its calls, and can have storage that is far away."""

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from colornet import storage
from colornet.archive.worker import ColorizeWorker

CALLS = "COLORNET_BENCHMARK_CALLS"
"""Environment variable: the folder into which calls are written. Workers inherit it."""
LATENCY = "COLORNET_BENCHMARK_LATENCY"
"""Environment variable: seconds that every storage request of a worker takes longer."""


@dataclass(frozen=True)
class Call:
    """One call of a worker."""

    process: int
    begin: float
    """Seconds since the epoch, as `end`."""
    end: float
    rows: int
    cpu: float
    """CPU seconds of the process since it began, at the end of the call."""
    peak: int
    """Bytes that the process has held in memory at most, by then."""


class Observed(ColorizeWorker):
    """A worker that writes down its calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Make ready as every worker does."""
        self.calls = Path(os.environ[CALLS]) / f"{os.getpid()}.jsonl"
        latency = float(os.environ.get(LATENCY, "0"))
        if latency:
            storage.read = _later(storage.read, latency)
            storage.write = _later(storage.write, latency)
        super().__init__(*args, **options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Colorize a batch, and write down what it took."""
        begin = time.time()
        rows = super().__call__(batch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        call = Call(os.getpid(), begin, time.time(), batch.num_rows, time.process_time(), peak)
        with self.calls.open("a") as file:
            file.write(json.dumps(asdict(call)) + "\n")
        return rows


def read_calls(folder: Path) -> list[Call]:
    """Return what all workers have written down, in the order of the calls' ends."""
    lines = (line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines())
    return sorted((Call(**json.loads(line)) for line in lines), key=lambda call: call.end)


def _later(request: Callable[..., Any], latency: float) -> Callable[..., Any]:
    def delayed(*args: Any, **options: Any) -> Any:
        time.sleep(latency)
        return request(*args, **options)

    return delayed
