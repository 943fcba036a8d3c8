"""The course of the work: wave by wave, and again where worker processes died, until every scan has a row."""

import contextlib
import time
from collections.abc import Generator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from colornet.archive import ledger
from colornet.archive.plan import ColorizePlan
from colornet.archive.task import ColorizeTask
from colornet.archive.worker import UNRECORDED, give_up
from colornet.errors import StoppedError
from colornet.storage.lock import OutputLock

from ..progress import JobProgress
from ..ray_data import ask_until_answered
from . import workers
from .circuit_breaker import CircuitBreaker
from .metrics import JobMetrics
from .predictors import predictors_of
from .settings import ColorizeSettings

WAVE = 250_000
"""Scans that Ray has in its hands: their rows are in the driver's memory and in Ray's object store, no others are."""
LOCK_CHECK_SECONDS = 60.0
"""How long a job may go on without knowing that another has taken its output."""


def work_off(plan: ColorizePlan, task: ColorizeTask, settings: ColorizeSettings, lock: OutputLock) -> None:
    """Colorize what is to do, until every scan of the plan has a row in the ledger.

    Raises:
        StoppedError: if storage fails for everything, or the ledger cannot be written.
        LockedError: if another job has taken the output meanwhile.
    """
    with predictors_of(task, settings) as predictors, JobProgress(plan.pending, "scans") as progress:
        watch = _Watch(progress, JobMetrics(task.output), CircuitBreaker(), lock)

        def colorize(scans: pa.Table, attempt: int) -> Generator[pa.Table]:
            """Yield rows as they come, without those of scans lost with their worker, or with a ledger out of reach."""
            asked = replace(task, attempt=attempt)
            with contextlib.closing(workers.stream(scans, asked, settings, predictors, alone=attempt > 1)) as stream:
                yield from map(watch.recorded, stream)

        for wave in plan.batches(WAVE):
            lost = ask_until_answered(wave, "source_uri", colorize, settings.max_attempts, "scans")
            if lost.num_rows:
                reason = f"its worker process died, {settings.max_attempts} times out of {settings.max_attempts}"
                given_up = give_up(replace(task, attempt=settings.max_attempts), lost, reason)
                if watch.recorded(given_up).num_rows < lost.num_rows:
                    raise StoppedError(f"stopped: the ledger cannot be written: {given_up['reason'][0]}")
            ledger.compact(task.output, task.storage)
        watch.circuit_breaker.finish()


class _Watch:
    """Everyone who wants to see the rows as they come."""

    def __init__(
        self, progress: JobProgress, metrics: JobMetrics, circuit_breaker: CircuitBreaker, lock: OutputLock
    ) -> None:
        """Begin to watch."""
        self.progress = progress
        self.metrics = metrics
        self.circuit_breaker = circuit_breaker
        self.lock = lock
        self._checked = time.monotonic()

    def recorded(self, rows: pa.Table) -> pa.Table:
        """Show rows round, and return those that are in the ledger."""
        self.circuit_breaker.observe(rows)
        rows = rows.filter(pc.field("status") != UNRECORDED)
        self.metrics.observe(rows)
        self.progress.advance(rows.num_rows, pc.sum(pc.equal(rows["status"], "failed")).as_py() or 0)
        if time.monotonic() - self._checked >= LOCK_CHECK_SECONDS:
            self.lock.check()
            self._checked = time.monotonic()
        return rows
