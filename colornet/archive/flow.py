"""A bound on what is in hand at once, in bytes rather than in scans: masters differ in size a thousandfold."""

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """Hands out shares of a limit, and lets those wait for whom there is no room.

    First come, first served: a large share is not passed by small ones for ever. One that is larger than the limit is
    let through once nothing else is held.
    """

    def __init__(self, limit: int) -> None:
        """Hand out up to `limit`, in whatever unit."""
        self.limit = limit
        self._held = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    def take(self, amount: int) -> None:
        """Take a share; wait until there is room."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + amount <= self.limit)
            self._held += amount

    def try_take(self, amount: int) -> bool:
        """Take a share if there is room now, within the limit; say whether it was taken."""
        with self._changed:
            room = self._held + amount <= self.limit
            self._held += amount if room else 0
            return room

    def give_back(self, amount: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    @contextlib.contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        """Hold a share while the block runs; wait for it first."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)
