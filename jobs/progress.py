"""Progress of a job: done / total, failures, rate, time left; a live line in a terminal, plain lines in a log."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from colornet.cli.command import is_quiet

LOG_INTERVAL = 10.0
"""Seconds between two plain lines."""


class JobProgress:
    """Counts what a job has done and shows it on standard error. Use it as a context manager."""

    def __init__(self, total: int, unit: str) -> None:
        """Count up to `total`; `unit` is what is counted, in the plural."""
        self.total = total
        self.unit = unit
        self.done = 0
        self.failed = 0
        self._console = Console(stderr=True, quiet=is_quiet())
        self._started = self._logged = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total} " + unit),
            BarColumn(),
            TextColumn("{task.fields[failed]} failed · {task.fields[rate]:.1f} {task.fields[unit]}/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(unit, total=total, failed=0, rate=0.0, unit=unit)

    def __enter__(self) -> "JobProgress":
        """Start the clock."""
        self._started = self._logged = time.monotonic()
        self._bar.start()
        return self

    def advance(self, done: int = 1, failed: int = 0) -> None:
        """Count `done` more, `failed` of them failures."""
        self.done += done
        self.failed += failed
        self._bar.update(self._task, completed=self.done, failed=self.failed, rate=self.rate)
        if not self._console.is_terminal and time.monotonic() - self._logged >= LOG_INTERVAL:
            self._logged = time.monotonic()
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    def line(self) -> str:
        """One plain line: done / total, failures, rate, time left."""
        left = (self.total - self.done) / self.rate if self.done else float("nan")
        left_text = f"{left / 60:.0f} min left" if left >= 120 else f"{left:.0f} s left"
        return (
            f"{self.done}/{self.total} {self.unit}, {self.failed} failed, {self.rate:.1f} {self.unit}/s, "
            f"{left_text if self.done else 'time left unknown'}"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last state."""
        self._bar.stop()
        if not self._console.is_terminal:
            self._console.print(self.line(), highlight=False, soft_wrap=True)
