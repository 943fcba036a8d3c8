"""Which scans of an inventory a run is about: by name, by size, the first, or some at random."""

import re
from dataclasses import dataclass

from colornet.archive.database import literal


@dataclass(frozen=True)
class Selection:
    """A part of an inventory; all of it unless a field says otherwise. Raises ValueError naming the field."""

    include: tuple[str, ...] = ()
    """Only keys that match one of these patterns: * is any text, also across /, ? one character, [ab] one of these.
    Upper and lower case are the same, so *.jpg takes SCAN.JPG too."""
    exclude: tuple[str, ...] = ()
    """No keys that match one of these patterns."""
    min_bytes: int = 0
    """Only scans of at least so many bytes. A scan whose size the inventory does not give is left out then."""
    max_bytes: int = 0
    """Only scans of at most so many bytes; 0 sets no bound. A scan of unknown size is left out then."""
    limit: int = 0
    """Only the first so many, in the order of their keys; 0 takes all."""
    sample: int = 0
    """Only so many, taken at random: with the same seed always the same ones. 0 takes all."""
    seed: int = 0
    """What the random sample depends on."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                if not pattern or "\0" in pattern or "[" in re.sub(r"\[[^\]]+\]", "", pattern):
                    raise ValueError(f"{name} must be patterns such as *.tif, not {pattern!r}")
        for name in ("min_bytes", "max_bytes", "limit", "sample"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name.replace('_', '-')} must be at least 0, not {getattr(self, name)}")
        if self.max_bytes and self.max_bytes < self.min_bytes:
            raise ValueError(f"max-bytes must be at least min-bytes ({self.min_bytes}), not {self.max_bytes}")
        if self.limit and self.sample:
            raise ValueError("limit and sample exclude each other: give one of them")

    def sql(self, scans: str) -> str:
        """Return the DuckDB query for the selected rows of a table or view of inventory.SCHEMA."""
        conditions = ["true"]
        if self.include:
            conditions.append(_matches(self.include))
        if self.exclude:
            conditions.append(f"NOT {_matches(self.exclude)}")
        if self.min_bytes:
            conditions.append(f"source_size >= {self.min_bytes}")
        if self.max_bytes:
            conditions.append(f"source_size <= {self.max_bytes}")
        query = f"SELECT * FROM {scans} WHERE {' AND '.join(conditions)}"
        if self.limit:
            query += f" ORDER BY key, source_uri LIMIT {self.limit}"
        if self.sample:
            query += f" ORDER BY md5_number(concat('{self.seed} ', source_uri)), source_uri LIMIT {self.sample}"
        return query


def _matches(patterns: tuple[str, ...]) -> str:
    return "(" + " OR ".join(f"lower(key) GLOB lower({literal(pattern)})" for pattern in patterns) + ")"
