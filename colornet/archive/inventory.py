"""The inventory: what is to be done. A listing of an archive, a list of its scans, or a report of S3 Inventory.

An archive may have millions of scans, so an inventory is a Parquet file that is written as the source is read; no more
than a few row groups of it are ever in memory.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from colornet.archive import s3_inventory
from colornet.archive.database import database
from colornet.errors import NotFoundError, SettingsError, StorageError, one_line
from colornet.storage import LeftOut, ObjectInfo, Storage, uris
from colornet.storage.left_out import NOT_UTF8, OWN

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_size", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("key", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
    ]
)
"""`problem` says why a source that is there cannot be worked on, whatever it is: it becomes a failed row."""
ROW_GROUP = 65_536
"""Rows of a row group in the files that inventories and plans are written to."""

_LISTED = ["source_uri", "source_size", "source_version", "key"]
_LISTS = (".parquet", ".csv", ".csv.gz")
_OWN_FILES = rf"(^|/){uris.OWN_FOLDER}/"
"""Keys of the files that a job keeps beside its outputs: an earlier job's outputs may lie within the archive."""


def write_inventory(source: str, place: Path, storage: Storage = Storage(), left_out: LeftOut | None = None) -> int:
    """Write what an archive holds into a Parquet file of SCHEMA.

    Args:
        source: one of

            - a folder or s3:// prefix, listed recursively, or one file of it. What lies under `_colornet/` is left out.
            - a list: a file `*.parquet`, `*.csv` or `*.csv.gz` with a column `source_uri` (or `uri`) and, optionally,
              `key`, `source_size` (or `size`) and `source_version` (or `etag`). A CSV file is UTF-8 with a header.
            - a report of S3 Inventory: its `manifest.json`, as `s3_inventory` explains.
        place: the local file; it is made anew, and is not there if this fails.
        storage: with what the source is reached.
        left_out: where what is no row is counted.

    `key` is the place of the output below the output's root: that of the source below the archive's root; in a report,
    the object's key; in a list without keys, the whole path of the source. Local files whose names are not
    UTF-8, folders that may not be read, and uris of a list that are none are rows with a problem.

    Returns:
        The number of rows.

    Raises:
        SettingsError: if there is nothing there, a list or report cannot be understood, or two of its rows name the
            same source or the same key.
        StorageError: if the place cannot be listed or read.
    """
    rows = 0
    try:
        with pq.ParquetWriter(place, SCHEMA, compression="zstd") as writer:
            for group in _row_groups(_tables(source, place.parent, storage, left_out or LeftOut())):
                writer.write_table(group, ROW_GROUP)
                rows += group.num_rows
        if not rows:
            raise SettingsError(
                f"the inventory {source} is empty" if _is_list(source) else f"there are no files in {source}"
            )
        _refuse_doubles(source, place)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return rows


def read_inventory(source: str, storage: Storage = Storage()) -> pa.Table:
    """Say what a small archive holds: a table of SCHEMA, as `write_inventory` writes it, with the same errors."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "scans.parquet"
        write_inventory(source, place, storage)
        return pq.read_table(place, schema=SCHEMA)


def _is_list(source: str) -> bool:
    return source.endswith((*_LISTS, "manifest.json"))


def _tables(source: str, folder: Path, storage: Storage, left_out: LeftOut) -> Iterator[pa.Table]:
    if s3_inventory.is_manifest(source):
        for objects in s3_inventory.objects(source, folder, storage):
            columns = [*objects.select(_LISTED).columns, pa.nulls(len(objects), pa.string())]
            yield _without_own_files(pa.table(columns, SCHEMA.names).cast(SCHEMA), left_out)
    elif source.endswith(_LISTS):
        yield from _from_list(source, storage)
    else:
        yield from _listed(source, storage, left_out)


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Gather tables until they make a row group."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _without_own_files(table: pa.Table, left_out: LeftOut) -> pa.Table:
    kept = table.filter(pc.invert(pc.match_substring_regex(table["key"], _OWN_FILES)))
    left_out.counts[OWN] += len(table) - len(kept)
    return kept


def _refuse_doubles(source: str, place: Path) -> None:
    """Find two rows that are the same scan, or that would go to the same place."""
    with database(place.parent) as connection:
        connection.read_parquet(str(place), hive_partitioning=False).create_view("scans")
        for column in ("source_uri", "key"):
            twice = f"SELECT md5_number({column}) AS hash FROM scans GROUP BY hash HAVING count(*) > 1 LIMIT 1"
            rows = connection.execute(
                f"SELECT source_uri, key FROM scans JOIN ({twice}) ON md5_number({column}) = hash ORDER BY ALL LIMIT 2"
            ).fetchall()
            if rows and column == "source_uri":
                raise SettingsError(f"{source} names the same source twice: {rows[0][0]}")
            if rows:
                (first, key), (second, _) = rows
                raise SettingsError(f"{source} gives two sources the same key {key!r}: {first} and {second}")


# --- listings --------------------------------------------------------------------------------------------------------


def _listed(source: str, storage: Storage, left_out: LeftOut) -> Iterator[pa.Table]:
    try:
        for page in storage.listing_pages(source, left_out=left_out):
            yield _without_own_files(_table_of(page), left_out)
    except NotFoundError as error:
        raise SettingsError(f"there is no archive at {source}") from error
    rows = [{"source_uri": each.uri, "key": each.key, "problem": each.reason} for each in left_out.unlisted]
    yield _without_own_files(pa.Table.from_pylist(rows, SCHEMA), left_out)


def _table_of(page: list[ObjectInfo]) -> pa.Table:
    columns = [
        [item.uri for item in page],
        [item.size for item in page],
        [item.version for item in page],
        [item.key for item in page],
        [None] * len(page),
    ]
    return pa.table(columns, schema=SCHEMA)


# --- lists -----------------------------------------------------------------------------------------------------------

_NAMES = {
    "source_uri": ("source_uri", "uri"),
    "source_size": ("source_size", "size"),
    "source_version": ("source_version", "etag"),
    "key": ("key",),
}
_PROBLEM = "problem"
_KNOWN = [name for names in _NAMES.values() for name in names]
# Most uris of a list of millions are what uris.normalize would make of them: only the others go through Python.
_NORMAL_URI = r"(?s)^s3://[^/\x00]+/[^\x00]*[^/\x00]$"
_NORMAL_PATH = r"(?s)^/[^\x00]*[^/\x00]$"
_ODD_PATH = r"//|/\.{1,2}(/|$)"


def _from_list(source: str, storage: Storage) -> Iterator[pa.Table]:
    """Yield the rows of a list, completed to SCHEMA. Size and version stay null where the owner did not give them."""
    first = 1
    try:
        read = _read_parquet if source.endswith(".parquet") else _read_csv
        for batch in read(source, storage):
            if not {"source_uri", "uri"} & set(batch.column_names):
                raise SettingsError(f"{source} is no inventory: it has no column source_uri")
            yield _complete(pa.Table.from_batches([batch]), source, first)
            first += batch.num_rows
    except NotFoundError as error:
        raise SettingsError(f"there is no inventory at {source}") from error
    except pa.ArrowException as error:
        raise SettingsError(f"{source} is no inventory: {one_line(error)}") from error
    except OSError as error:
        raise StorageError(f"{source}: {one_line(error)}") from error


def _read_parquet(source: str, storage: Storage) -> Iterator[pa.RecordBatch]:
    storage.stat(source)
    filesystem, path = storage.arrow_filesystem(source)
    with filesystem.open_input_file(path) as data:
        try:
            file = pq.ParquetFile(data)
        except pa.ArrowException as error:
            raise SettingsError(f"{source} is not a Parquet file: {one_line(error)}") from error
        columns = [name for name in file.schema_arrow.names if name in _KNOWN]
        if not columns:
            raise SettingsError(f"{source} is no inventory: it has no column source_uri")
        yield from file.iter_batches(ROW_GROUP, columns=columns)


def _read_csv(source: str, storage: Storage) -> Iterator[pa.RecordBatch]:
    storage.stat(source)
    filesystem, path = storage.arrow_filesystem(source)
    types = {name: pa.int64() if "size" in name else pa.binary() for name in _KNOWN}
    with filesystem.open_input_stream(path) as data:  # decompressed, as its name says
        reader = pyarrow.csv.open_csv(
            data,
            read_options=pyarrow.csv.ReadOptions(block_size=8 << 20),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )
        yield from map(_as_text, reader)


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Take bytes for UTF-8; rows where they are something else get a problem, and names that can be printed."""
    columns = dict(zip(batch.column_names, batch.columns, strict=True))
    odd = [False] * len(batch)
    for name, column in columns.items():
        if name not in _KNOWN or not pa.types.is_binary(column.type):
            continue
        try:
            columns[name] = column.cast(pa.string())
        except pa.ArrowInvalid:
            texts = [value and value.decode(errors="backslashreplace") for value in column.to_pylist()]
            odd = [
                before or (value or b"") != (text or "").encode()
                for before, value, text in zip(odd, column.to_pylist(), texts, strict=True)
            ]
            columns[name] = pa.array(texts, pa.string())
    problems = pa.array([NOT_UTF8 if each else None for each in odd], pa.string())
    return pa.RecordBatch.from_pydict({**columns, _PROBLEM: problems})


def _complete(table: pa.Table, source: str, first: int) -> pa.Table:
    """Fill rows of a list up to SCHEMA; the first of them is the list's row `first`."""
    sources = _column(table, "source_uri")
    _refuse_where(
        pc.is_null(sources), sources, first, lambda row, _: f"{source} is no inventory: row {row} has no source_uri"
    )
    sources, problems = _normalized(sources)
    if _PROBLEM in table.column_names:
        problems = pc.coalesce(table[_PROBLEM], problems)
    whole_paths = pc.replace_substring_regex(sources, r"^(s3://|/+)", "")
    keys = pc.coalesce(_column(table, "key"), whole_paths)
    versions = pc.utf8_trim(_column(table, "source_version"), '"')
    return pa.table([sources, _column(table, "source_size"), versions, keys, problems], schema=SCHEMA)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column by any of its names, as its type in SCHEMA; empty texts are null."""
    wanted = SCHEMA.field(name).type
    found = [table[each] for each in _NAMES[name] if each in table.column_names]
    if wanted == pa.string():
        if name in ("source_uri", "key"):
            for column in found:
                _check_text(column, name)
        texts = [column.cast(pa.string()) for column in found]
        found = [pc.if_else(pc.equal(text, ""), None, text) for text in texts]
    columns = [column.cast(wanted) for column in found] or [pa.chunked_array([pa.nulls(len(table), wanted)])]
    return pc.coalesce(*columns)


def _check_text(column: pa.ChunkedArray, name: str) -> None:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (
        pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    ):
        raise pa.ArrowTypeError(f"its column {name} is {kind}, not text")


def _normalized(sources: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return the one spelling of each source, and what is wrong with those that have none, which stay as they are."""
    path = pc.and_(
        pc.match_substring_regex(sources, _NORMAL_PATH), pc.invert(pc.match_substring_regex(sources, _ODD_PATH))
    )
    normal = pc.or_(pc.match_substring_regex(sources, _NORMAL_URI), path)
    if pc.all(normal).as_py():
        return sources, pa.chunked_array([pa.nulls(len(sources), pa.string())])
    rest: list[str] = []
    problems: list[str | None] = []
    for uri, is_normal in zip(sources.to_pylist(), normal.to_pylist(), strict=True):
        found, problem = uri, None
        try:
            found = uri if is_normal else uris.normalize(uri)
        except SettingsError as error:
            problem = str(error)
        rest.append(found)
        problems.append(problem)
    return pa.chunked_array([pa.array(rest, pa.string())]), pa.chunked_array([pa.array(problems, pa.string())])


def _refuse_where(bad: pa.ChunkedArray, values: pa.ChunkedArray, first: int, words: Callable[[int, str], str]) -> None:
    position = pc.index(bad, True).as_py()
    if position >= 0:
        raise SettingsError(words(first + position, values[position].as_py()))
