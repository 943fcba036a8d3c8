"""A circuit breaker: stops a job that can only fail, because its storage fails for every scan alike."""

import pyarrow as pa

from colornet.errors import AccessError, StoppedError, StorageError

LIMIT = 64
"""Scans in a row with the same storage error, after which it is not the scans' fault."""

# Not what is missing: a list may be older than the archive, and name whole folders that have gone.
_STORAGE_ERRORS = {AccessError.__name__, StorageError.__name__}


class CircuitBreaker:
    """Watches ledger rows in the order in which they come."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Trip after `limit` scans in a row with the same storage error."""
        self.limit = limit
        self._cause: str | None = None
        self._count = 0
        self._sound = 0

    def observe(self, rows: pa.Table) -> None:
        """Look at rows of ledger.SCHEMA; raises StoppedError once the limit is reached."""
        for row in rows.select(["source_uri", "error", "reason"]).to_pylist():
            cause = _cause(row)
            if cause is None:
                self._sound += 1
            self._count = self._count + 1 if cause == self._cause else 1
            self._cause = cause
            if cause is not None and self._count >= self.limit:
                self._stop()

    def finish(self) -> None:
        """Look back at the end of the work; raises StoppedError if nothing but one storage error has been seen."""
        if self._cause is not None and not self._sound:
            self._stop()

    def _stop(self) -> None:
        raise StoppedError(
            f"stopped: the same storage error at the last {self._count} scans: {self._cause} "
            "(once that is mended, the same command goes on from here)"
        )


def _cause(row: dict[str, str | None]) -> str | None:
    """Name a row's storage error without the place, which differs from scan to scan; None if it has no such error."""
    if row["error"] not in _STORAGE_ERRORS:
        return None
    reason = (row["reason"] or "").replace(row["source_uri"] or "", "")
    return f"{row['error']}: {reason.partition(': ')[2] or reason}"
