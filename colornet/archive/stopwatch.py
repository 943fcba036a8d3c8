"""A stopwatch for one scan: every moment belongs to one step."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

WAITING = "waiting"


class Stopwatch:
    """Counts the wall time of each step. A step within another interrupts that one; outside all of them is WAITING.

    For one thread at a time.
    """

    def __init__(self) -> None:
        """Start, in WAITING."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall time of each step that is over or was interrupted."""
        self._step = WAITING
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def during(self, step: str) -> Iterator[None]:
        """Count the block's time for a step."""
        interrupted = self._switch(step)
        try:
            yield
        finally:
            self._switch(interrupted)

    def stop(self) -> dict[str, float]:
        """Return the seconds of every step so far."""
        self._switch(self._step)
        return dict(self.seconds)

    def _switch(self, step: str) -> str:
        now, before = time.perf_counter(), self._step
        self.seconds[before] += now - self._since
        self._step, self._since = step, now
        return before
