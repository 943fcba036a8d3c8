"""A stopwatch for one scan: every moment belongs to one stage."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

WAITING = "waiting"


class Stopwatch:
    """Counts the wall time of each stage. A stage within another interrupts that one; outside all of them is WAITING.

    For one thread at a time.
    """

    def __init__(self) -> None:
        """Start, in WAITING."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall time of each stage that is over or was interrupted."""
        self._stage = WAITING
        self._since = time.perf_counter()

    @contextlib.contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count the block's time for a stage."""
        interrupted = self._switch(stage)
        try:
            yield
        finally:
            self._switch(interrupted)

    def stop(self) -> dict[str, float]:
        """Return the seconds of every stage so far."""
        self._switch(self._stage)
        return dict(self.seconds)

    def _switch(self, stage: str) -> str:
        now, before = time.perf_counter(), self._stage
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before
