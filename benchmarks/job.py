"""What Ray costs the archive job: jobs.colorize beside a plain pool of processes, on the same made-up archive.

    python -m benchmarks.job
    python -m benchmarks.job --scans 300 --megapixels 4 --rounds 3
    python -m benchmarks.job --latency-ms 80        # and what the job loses by storage that is far away
    python -m benchmarks.job --mixed                # memory, with scans of 1 to 100 megapixels, of N and of 2 N

The pool has one process a core, each with the same worker as the job (`ColorizeWorker`), and hands them one block of
16 scans after the other; there is no Ray in it. Both are timed alike: scans per second from the moment when every
process has finished its first block to the moment when the first process has finished its last.

The scans are gray JPEGs, a few different ones of each size, the rest hard links to them. Latency is added inside the
workers, around every storage request; storage itself is a local folder. Unless a model is given the generator is a
small one that has learnt nothing; a larger one makes every overhead weigh less.
"""

import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.archive import write_archive, write_bundle
from benchmarks.observed import CALLS, LATENCY, Call, Observed, read_calls
from benchmarks.processes import Sample, watch
from colornet.archive import inventory, ledger
from colornet.archive.task import ColorizeTask
from colornet.inference import bundle as bundles
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage

BLOCK_ROWS = 16
CALIBRATION = 32
"""Scans by which the CPU seconds of one are measured, after as many that are not counted."""
MIXED = (1.0, 2.0, 6.0, 12.0, 1.0, 4.0, 24.0, 2.0, 50.0, 1.0, 6.0, 100.0)
"""Megapixels of scans of all sizes."""
SAMPLE_SECONDS = 0.5
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class JobBenchmarkSettings:
    """The settings of benchmarks.job."""

    scans: int = 600
    """Scans of the archive."""
    megapixels: float = 12.0
    """Size of each."""
    rounds: int = 1
    """How often pool and job are run, in turns; figures are medians."""
    latency_ms: float = 0.0
    """Run the job also with storage whose requests take so much longer."""
    mixed: bool = False
    """Measure memory instead, with scans of 1 to 100 megapixels."""
    workers: int = len(os.sched_getaffinity(0))
    """Processes of the pool, and workers of the job."""
    model: str | None = None
    """Model bundle, instead of one that is made here."""


@dataclass(frozen=True)
class Place:
    """Where a run reads and writes."""

    archive: Path
    bundle: str
    output: Path
    workers: int


@dataclass
class Run:
    """A run that is over."""

    started: float
    ended: float
    calls: list[Call]
    finished_at: list[float]
    """When each scan was finished, from the ledger."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def window(self) -> tuple[float, float]:
        """From when every process has finished its first block to when the first has finished its last."""
        ends: dict[int, list[float]] = {}
        for call in self.calls:
            ends.setdefault(call.process, []).append(call.end)
        return max(each[0] for each in ends.values()), min(each[-1] for each in ends.values())

    @property
    def rate(self) -> float:
        """Scans per second within the window; NaN if there were too few scans for one."""
        first, last = self.window
        if first >= last:
            return math.nan
        return sum(first < moment <= last for moment in self.finished_at) / (last - first)

    @property
    def start_seconds(self) -> float:
        """From the start of the process to the first call of a worker."""
        return min(call.begin for call in self.calls) - self.started

    @property
    def scan_cpu(self) -> float:
        """CPU seconds of workers for each scan, after the first block of each."""
        calls: dict[int, list[Call]] = {}
        for call in self.calls:
            calls.setdefault(call.process, []).append(call)
        spent = sum(each[-1].cpu - each[0].cpu for each in calls.values())
        scans = sum(call.rows for each in calls.values() for call in each[1:])
        return spent / scans if scans else math.nan

    @property
    def overhead_cpu(self) -> float:
        """CPU seconds per second, within the window, of all processes that are not workers."""
        workers, (first, last) = {call.process for call in self.calls}, self.window
        within = [sample for sample in self.samples if first <= sample.moment <= last]
        if len(within) < 2:
            return math.nan
        begin, end = within[0], within[-1]
        spent = sum(cpu - begin.cpu.get(process, 0) for process, cpu in end.cpu.items() if process not in workers)
        return spent / (end.moment - begin.moment)

    @property
    def worker_peak(self) -> int:
        """Bytes, of the largest worker."""
        return max(call.peak for call in self.calls)

    @property
    def store_peak(self) -> int:
        """Bytes of shared memory that Ray's object store has touched."""
        return max((sample.store for sample in self.samples), default=0)


def benchmark(settings: JobBenchmarkSettings) -> int:
    """Measure, and print."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    with tempfile.TemporaryDirectory(prefix="colornet-benchmark-") as folder:
        bundle = settings.model or str(Path(folder) / "bundle")
        if settings.model is None:
            write_bundle(Path(bundle))
            console.print("generator: unet, width 8, untrained, 256 pixels")
        (_memory if settings.mixed else _speed)(settings, Path(folder), bundle, console)
    return 0


# --- what is measured ------------------------------------------------------------------------------------------------


def _speed(settings: JobBenchmarkSettings, folder: Path, bundle: str, console: Console) -> None:
    write_archive(folder / "archive", settings.scans, [settings.megapixels])
    places = _places(folder, folder / "archive", bundle, settings.workers)
    cpu = _cpu_seconds(next(places))
    kinds: dict[str, tuple[Callable[[Place], None], float]] = {"pool": (_pool, 0.0), "job": (_job, 0.0)}
    if settings.latency_ms:
        words = f", {settings.latency_ms:g} ms away"
        kinds |= {"pool" + words: (_pool, settings.latency_ms), "job" + words: (_job, settings.latency_ms)}
    runs: dict[str, list[Run]] = {name: [] for name in kinds}
    for _ in range(settings.rounds):
        for name, (main, latency) in kinds.items():
            runs[name].append(_run(main, next(places), latency))

    def median(name: str, figure: Callable[[Run], float]) -> float:
        return statistics.median(figure(run) for run in runs[name])

    rates = {name: median(name, lambda run: run.rate) for name in kinds}
    columns = ("scans/s", "of the cores", "CPU s a scan", "CPU beside", "first block after", "whole run", "worker peak")
    table = Table("", *columns)
    for name, rate in rates.items():
        table.add_row(
            name,
            f"{rate:.2f}",
            f"{rate * cpu / settings.workers:.1%}",
            f"{median(name, lambda run: run.scan_cpu):.3f}",
            f"{median(name, lambda run: run.overhead_cpu) / settings.workers:.1%}",
            f"{median(name, lambda run: run.start_seconds):.1f} s",
            f"{median(name, lambda run: run.ended - run.started):.1f} s",
            _megabytes(median(name, lambda run: run.worker_peak)),
        )
    console.print(f"{settings.scans} gray JPEGs of {settings.megapixels:g} megapixels, {settings.workers} workers")
    console.print(f"a scan costs {cpu:.3f} CPU seconds in a process of its own")
    console.print(table)
    console.print("of the cores: scans/s × CPU seconds of a scan alone / cores; CPU beside: by others than the workers")
    console.print(f"job / pool: {rates['job'] / rates['pool']:.3f}")
    if settings.latency_ms:
        far = rates[f"job, {settings.latency_ms:g} ms away"]
        console.print(f"lost by {settings.latency_ms:g} ms of latency: {1 - far / rates['job']:.1%}")


def _memory(settings: JobBenchmarkSettings, folder: Path, bundle: str, console: Console) -> None:
    table = Table("scans", "scans/s", "worker peak", "object store peak")
    for scans in (settings.scans, 2 * settings.scans):
        archive = folder / f"archive-{scans}"
        write_archive(archive, scans, MIXED)
        (place,) = _places(folder / str(scans), archive, bundle, settings.workers, count=1)
        run = _run(_job, place, settings.latency_ms)
        table.add_row(str(scans), f"{run.rate:.2f}", _megabytes(run.worker_peak), _megabytes(run.store_peak))
    console.print(f"gray JPEGs of {', '.join(f'{size:g}' for size in sorted(set(MIXED)))} megapixels")
    console.print(table)


def _megabytes(amount: float) -> str:
    return f"{amount / 1e6:.0f} MB"


def _places(folder: Path, archive: Path, bundle: str, workers: int, count: int = 1000) -> Iterator[Place]:
    for number in range(count):
        yield Place(archive, bundle, folder / "runs" / str(number), workers)


# --- runs ------------------------------------------------------------------------------------------------------------


def _run(main: Callable[[Place], None], place: Place, latency_ms: float = 0.0) -> Run:
    """Run `main` in a process of its own, look at all processes that come of it, and read what they left."""
    calls = place.output / "calls"
    calls.mkdir(parents=True)
    os.environ |= {CALLS: str(calls), LATENCY: str(latency_ms / 1000), "OMP_NUM_THREADS": "1"}
    started = time.time()
    samples = watch(main, place, SAMPLE_SECONDS)
    rows = ledger.read(str(place.output / "colour"))
    if set(rows["status"].to_pylist()) != {"done"}:
        raise SystemExit(f"scans failed: {set(rows['reason'].to_pylist())}")
    finished_at = [moment.timestamp() for moment in rows["finished_at"].to_pylist()]
    return Run(started, time.time(), read_calls(calls), finished_at, samples)


def _job(place: Place) -> None:
    """The job as it is, but that its workers are observed."""
    from jobs.colorize import ColorizeSettings, colorize
    from jobs.colorizing import workers

    workers.ColorizeWorker = Observed  # type: ignore[misc]
    source, output = str(place.archive), str(place.output / "colour")
    settings = ColorizeSettings(input=source, output=output, model=place.bundle, max_workers=place.workers)
    sys.exit(colorize(settings))


def _pool(place: Place) -> None:
    """The same work without Ray."""
    with ProcessPoolExecutor(place.workers, _SPAWN, _prepare_process, (_task(place),)) as pool:
        for _ in pool.map(_colorize, _blocks(place)):
            pass


def _cpu_seconds(place: Place) -> float:
    """CPU seconds that a scan takes where nothing else runs."""
    first, second = _run(_alone, place).calls
    return (second.cpu - first.cpu) / second.rows


def _alone(place: Place) -> None:
    worker = Observed(_task(place))
    for block in _blocks(place, CALIBRATION)[:2]:
        worker(block)


_worker: Any = None


def _prepare_process(task: ColorizeTask) -> None:
    global _worker
    _worker = Observed(task)


def _colorize(block: pa.Table) -> int:
    return _worker(block).num_rows


def _task(place: Place) -> ColorizeTask:
    bundle = bundles.load(place.bundle)
    return ColorizeTask(
        output=str(place.output / "colour"),
        model=place.bundle,
        bundle_digest=bundle.digest,
        render=RenderSettings(size=bundle.image_size),
    )


def _blocks(place: Place, rows: int = BLOCK_ROWS) -> list[pa.Table]:
    found = [
        {"source_uri": item.uri, "source_size": item.size, "source_version": item.version, "key": item.key}
        for item in Storage().listing(str(place.archive))
    ]
    table = pa.Table.from_pylist(found, inventory.SCHEMA)
    return [table.slice(start, rows) for start in range(0, table.num_rows, rows)]


if __name__ == "__main__":
    sys.exit(benchmark(tyro.cli(JobBenchmarkSettings, description=__doc__)))
