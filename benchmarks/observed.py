"""The job's worker, observed: it writes down each of its calls, and can have storage that is far away."""

import json
import os
import resource
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker
from colornet.storage import Storage, StoredObject

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


@dataclass(frozen=True)
class FarStorage(Storage):
    """Storage whose objects take longer to read and to write."""

    latency: float = 0.0
    """Seconds."""

    def read(self, uri: str) -> StoredObject:
        """Return a whole object, later."""
        time.sleep(self.latency)
        return super().read(uri)

    def write(self, *args: Any, **options: Any) -> str:
        """Store an object, later."""
        time.sleep(self.latency)
        return super().write(*args, **options)


class Observed(ColorizeWorker):
    """A worker that writes down its calls."""

    def __init__(self, task: ColorizeTask, *args: Any, **options: Any) -> None:
        """Make ready as every worker does."""
        self.calls = Path(os.environ[CALLS]) / f"{os.getpid()}.jsonl"
        latency = float(os.environ.get(LATENCY, "0"))
        super().__init__(replace(task, storage=FarStorage(task.storage.s3, latency)), *args, **options)

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
