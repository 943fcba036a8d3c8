"""A table of people's hints for the scans of an archive: read, checked row by row, and laid out for the plan.

It is a file .csv (UTF-8, with a header), .csv.gz or .parquet, with a row for each hint. All that is wrong with it is
found before any work is done, and is one of `PROBLEMS`.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from colornet.archive.database import database
from colornet.errors import NotFoundError, SettingsError, StorageError, one_line
from colornet.hints import Hint, in_order, people, to_json
from colornet.storage import Storage, uris

if TYPE_CHECKING:  # a plan needs no PyTorch, which is half a gigabyte
    from colornet.rendering.render import RenderSettings

COLUMNS = {
    "source": "the scan: its key or its uri, as in the ledger",
    "x": "pixels from the left edge of the upright picture",
    "y": "pixels from its upper edge",
    "color": '"#rrggbb" in sRGB, or "ab(a, b)"',
    "page": "of a TIFF of several pages; the first is 0, and is meant without it",
    "strength": "factor of all of the scan's colours, in place of --strength; in one of its rows, or the same in all",
    "by": "who gives the hint",
    "note": "how it is known",
}
"""What a table may have, and what it means."""
NEEDED = ("source", "x", "y", "color")

PROBLEMS = {
    "file": "it is not there, or no table of a known kind",
    "column": "it lacks a column, has one twice, or one that is not known",
    "missing": "a row has no source, x, y or color",
    "number": "x, y, page or strength is no number of its kind",
    "hint": "the hint cannot be: its color is none, its page is negative, its by or note too long",
    "strength": "the strength is out of its range, or the rows of a scan have different ones",
    "scan": "the hints of a scan give one pixel different colours, or are too many",
    "unknown source": "the input has no such scan",
    "two sources": "a source is the key of one scan and the uri of another",
}
"""All that may be wrong with a table. Of all but the first two the row is told; the first row is 1."""

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("hints", pa.string(), nullable=False),
        pa.field("hints_by", pa.string(), nullable=False),
        pa.field("strength", pa.float64(), nullable=False),
        pa.field("settings_digest", pa.string(), nullable=False),
    ]
)
"""A row for each scan with hints: what `ledger.SCHEMA` calls so."""

MOST_TOLD = 10
"""Problems that a message tells; of the others it has the number."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A row of the table that makes sense by itself."""

    number: int
    source: str
    hint: Hint
    strength: float | None


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong with a row."""

    row: int
    kind: str
    """One of PROBLEMS."""
    words: str


class HintsError(SettingsError):
    """A table of hints cannot be used. Its problems are all that was found, in the order of the rows."""

    def __init__(self, place: str, problems: Sequence[Problem]) -> None:
        """Say what is wrong."""
        self.problems = tuple(sorted(problems))
        told = [f"row {each.row}: {each.kind}: {each.words}" for each in self.problems[:MOST_TOLD]]
        more = len(problems) - len(told)
        super().__init__("; ".join([f"{place}: {told[0]}", *told[1:], *([f"and {more} more"] if more else [])]))


def read_hints(place: str, storage: Storage = Storage()) -> list[Row]:
    """Read a table of hints, and check what can be checked of each row by itself.

    Raises:
        HintsError: if rows are wrong.
        SettingsError: if there is no such table, or it has not the columns that it must have.
        StorageError: if it cannot be read.
    """
    table = _read(place, storage)
    names = table.column_names
    for name in names:
        if name not in COLUMNS:
            raise SettingsError(f"{place}: there is no column {name!r} in hints; there are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise SettingsError(f"{place}: it has the column {name} twice")
    for name in NEEDED:
        if name not in names:
            raise SettingsError(f"{place}: it has no column {name}")
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, values in enumerate(table.to_pylist(), start=1):
        found = _row(number, values)
        if isinstance(found, Row):
            rows.append(found)
        else:
            problems.append(found)
    if problems:
        raise HintsError(place, problems)
    return rows


def write_hints(
    rows: Sequence[Row], table: str, scans: Path, place: Path, settings: "RenderSettings", folder: Path
) -> int:
    """Say of each scan with hints what they are, and what its settings come to, in a Parquet file of SCHEMA.

    Args:
        rows: as `read_hints` returns them.
        table: where they are from, for messages.
        scans: a Parquet file of inventory.SCHEMA: the whole input, also what is not selected of it.
        place: the file that is written.
        settings: of the run.
        folder: has room for what does not fit into memory.

    Returns:
        The number of scans with hints.

    Raises:
        HintsError: if a source is not in the input, or the rows of a scan contradict each other.
    """
    sources, problems = _find(rows, scans, folder)
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.source in sources:
            grouped[sources[row.source]].append(row)
    laid_out = [_scan(uri, grouped[uri], settings, problems) for uri in sorted(grouped)]
    if problems:
        raise HintsError(table, problems)
    pq.write_table(pa.Table.from_pylist(laid_out, SCHEMA), place, compression="zstd")
    return len(laid_out)


# --- rows ------------------------------------------------------------------------------------------------------------


def _row(number: int, values: dict[str, Any]) -> Row | Problem:
    for name in NEEDED:
        if values[name] in (None, ""):
            return Problem(number, "missing", f"it has no {name}")
    numbers: dict[str, float | None] = {}
    for name in ("x", "y", "page", "strength"):
        numbers[name] = value = _number(values.get(name))
        if value is not None and not (math.isfinite(value) and (name != "page" or value.is_integer())):
            return Problem(number, "number", f"{name} is {values[name]!r}")
    source = values["source"]
    if not isinstance(source, str):
        return Problem(number, "missing", f"its source is no text: {source!r}")
    told = {name: values.get(name) or "" for name in ("by", "note")}
    x, y, page = numbers["x"], numbers["y"], numbers["page"]
    assert x is not None and y is not None
    try:
        hint = Hint(x, y, values["color"], int(page or 0), **told)
    except SettingsError as error:
        return Problem(number, "hint", str(error))
    return Row(number, source, hint, numbers["strength"])


def _number(value: object) -> float | None:
    """Return a cell as a number; not a number if it is none, None if it is empty."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _scan(uri: str, rows: list[Row], settings: "RenderSettings", problems: list[Problem]) -> dict[str, Any]:
    """Lay out what is said of one scan, and note what is wrong with it."""
    strengths = {row.strength: row.number for row in reversed(rows) if row.strength is not None}
    if len(strengths) > 1:
        said = " and ".join(f"{each:g}" for each in sorted(strengths))
        problems.append(Problem(max(strengths.values()), "strength", f"{rows[-1].source} has {said}"))
    for strength, number in strengths.items():
        try:
            settings = replace(settings, strength=strength)
        except SettingsError as error:
            problems.append(Problem(number, "strength", str(error)))
    try:
        hints = in_order(row.hint for row in rows)
    except SettingsError as error:
        problems.append(Problem(rows[-1].number, "scan", f"{rows[-1].source}: {error}"))
        hints = ()
    return {
        "source_uri": uri,
        "hints": to_json(hints),
        "hints_by": people(hints),
        "strength": settings.strength,
        "settings_digest": settings.digest_with(hints),
    }


# --- sources ---------------------------------------------------------------------------------------------------------


def _find(rows: Sequence[Row], scans: Path, folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """Find the scan that each source means: its uri by the source's name, and what is wrong with the others."""
    first = {row.source: row.number for row in reversed(rows)}
    asked = pa.table({"source": list(first), "uri": [_uri(source) for source in first]})
    with database(folder) as connection:
        connection.register("asked", asked)
        connection.read_parquet(str(scans), hive_partitioning=False).create_view("scans")
        found = connection.execute("""
            SELECT source, source_uri FROM asked JOIN scans ON key = source
            UNION SELECT source, source_uri FROM asked JOIN scans ON source_uri = uri
        """).fetchall()
    meant: dict[str, list[str]] = defaultdict(list)
    for source, uri in found:
        meant[source].append(uri)
    problems = []
    for source, row in first.items():
        if not meant[source]:
            problems.append(Problem(row, "unknown source", f"the input has no scan {source!r}"))
        elif len(meant[source]) > 1:
            one, other = sorted(meant[source])
            problems.append(Problem(row, "two sources", f"{source!r} may be {one} or {other}"))
    return {source: uris_[0] for source, uris_ in meant.items() if uris_}, problems


def _uri(source: str) -> str:
    try:
        return uris.normalize(source)
    except SettingsError:
        return source


# --- files -----------------------------------------------------------------------------------------------------------


def _read(place: str, storage: Storage) -> pa.Table:
    if not place.endswith((".parquet", ".csv", ".csv.gz")):
        raise SettingsError(f"{place}: hints are in a file .csv, .csv.gz or .parquet")
    try:
        storage.stat(place)
        filesystem, path = storage.arrow_filesystem(place)
        if place.endswith(".parquet"):
            with filesystem.open_input_file(path) as data:
                return pq.ParquetFile(data).read()
        with filesystem.open_input_stream(path) as data:  # decompressed, as its name says
            return _read_csv(data)
    except NotFoundError as error:
        raise SettingsError(f"there are no hints at {place}") from error
    except pa.ArrowException as error:
        raise SettingsError(f"{place} is no table of hints: {one_line(error)}") from error
    except OSError as error:
        raise StorageError(f"{place}: {one_line(error)}") from error


def _read_csv(data: Any) -> pa.Table:
    """Read all cells as text."""
    return pyarrow.csv.read_csv(
        data,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in COLUMNS}, null_values=[""], strings_can_be_null=True
        ),
    )
