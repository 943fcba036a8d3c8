"""Which scans of an inventory a run is about: by name, by size, the first, or some at random."""

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from colornet.archive.database import literal
from colornet.errors import SettingsError
from colornet.settings import Field, settings


def _check_pattern(text: str) -> str:
    if not re.fullmatch(r"([^\[\0]|\[[^]\0]+\])+", text, re.DOTALL):
        raise PydanticCustomError("pattern", "must be a pattern such as *.tif")
    return text


Pattern = Annotated[str, AfterValidator(_check_pattern)]
"""Of keys: * is any text, also across /, ? one character, [ab] one of these."""
Count = Annotated[int, Field(ge=0)]


@settings
class Selection:
    """A part of an inventory; all of it unless a field says otherwise. Raises SettingsError naming the field."""

    include: tuple[Pattern, ...] = ()
    """Only keys that match one of these patterns: * is any text, also across /, ? one character, [ab] one of these.
    Upper and lower case are the same, so *.jpg takes SCAN.JPG too."""
    exclude: tuple[Pattern, ...] = ()
    """No keys that match one of these patterns."""
    min_bytes: Count = 0
    """Only scans of at least so many bytes. A scan whose size the inventory does not give is left out then."""
    max_bytes: Count = 0
    """Only scans of at most so many bytes; 0 sets no bound. A scan of unknown size is left out then."""
    limit: Count = 0
    """Only the first so many, in the order of their keys; 0 takes all."""
    sample: Count = 0
    """Only so many, taken at random: with the same seed always the same ones. 0 takes all."""
    seed: int = 0
    """What the random sample depends on."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.max_bytes and self.max_bytes < self.min_bytes:
            raise SettingsError(f"max_bytes must be 0, or at least min_bytes, not {self.max_bytes}")
        if self.limit and self.sample:
            raise SettingsError("limit and sample exclude each other: give one of them")

    @property
    def is_partial(self) -> bool:
        """Whether it may leave scans out."""
        return self != type(self)(seed=self.seed)

    def sql(self, scans: str) -> str:
        """Return the DuckDB query for the selected rows of a table or view of inventory.SCHEMA."""
        conditions = ["true"]
        if self.include:
            conditions.append(_matches(self.include))
        if self.exclude:
            # The key of a folder that may not be read ends in '/': both lost+found and lost+found/* leave it out.
            conditions.append(f"NOT ({_matches(self.exclude)} OR {_matches(self.exclude, _FOLDER)})")
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


_FOLDER = "rtrim(key, '/')"


def _matches(patterns: tuple[str, ...], key: str = "key") -> str:
    return "(" + " OR ".join(f"lower({key}) GLOB lower({literal(pattern)})" for pattern in patterns) + ")"
