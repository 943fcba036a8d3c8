"""The ledger: one row a scan and run, in Parquet parts under OUTPUT/_colornet/ledger/.

A part is written after the objects that its rows speak of are durable, and never changed. A run is a bundle and the
settings that decide what outputs look like; the *current* row of a source is its latest under the run (`views`).

Small parts are merged into large ones now and then. A merged part is durable before those that it replaces are deleted,
so for a while, or for ever if the job dies in between, the same row may be in two parts: identical rows count as one.
"""

import functools
import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from colornet.errors import NotFoundError, StorageError, one_line
from colornet.storage import ObjectInfo, Storage, uris

T = TypeVar("T")

Status = Literal["done", "failed", "skipped"]
STATUSES: tuple[Status, ...] = get_args(Status)
FINISHED = ("done", "skipped")
"""A source with one of these is not worked on again; a failed one is tried again by the next start of the job."""
STEPS = ("fetch", "prepare", "predict", "render", "store")
"""What a scan goes through, and the ledger has seconds of. Rendering takes in all that is computed but preparing and
predicting."""

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_size", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("source_sha256", pa.string()),
        pa.field("key", pa.string()),
        pa.field("output_uri", pa.string()),
        pa.field("output_size", pa.int64()),
        pa.field("output_sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixels", pa.int64()),
        pa.field("pages", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("mean_chroma", pa.float32()),
        pa.field("confidence", pa.float32()),
        *(pa.field(f"{step}_seconds", pa.float32()) for step in STEPS),
        pa.field("seconds", pa.float32()),
        pa.field("finished_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("host", pa.string()),
        pa.field("code_version", pa.string()),
        pa.field("bundle_digest", pa.string(), nullable=False),
        pa.field("settings_digest", pa.string(), nullable=False),
        pa.field("run_digest", pa.string()),
        pa.field("hints", pa.string()),
        pa.field("hints_by", pa.string()),
        pa.field("strength", pa.float32()),
    ]
)
"""`key` is where the output belongs within the output folder, but for another extension that it may get. `error` is
the name of the error's class, for grouping, where `reason` is its text. `attempts` counts the tries of this run up to
this row. `mean_chroma` is the mean of sqrt(a*² + b*²) of the painted colour. `confidence`, in [0, 1], is how sure the
generator was of it, on the page where it was least sure; null for generators that do not know. The steps' seconds are
wall time; `seconds` goes from the first step to the last, waiting included.

`settings_digest` is of all that decides what this scan's output looks like; of a scan with hints they, and who gave
them, are part of it. `run_digest` is of the settings that the whole run has; null, in rows of versions before 0.2, is
the same as `settings_digest`. `hints` are the colours that people chose, as `colornet.hints.to_json` writes them, and
`hints_by` is who they are; null without any. `strength` is the factor of the colours' chroma."""


class RunKey(NamedTuple):
    """What tells runs apart: digests of the bundle, and of the settings that decide what outputs look like. What is
    said of single scans, their hints, is no part of it: `settings_digest` is that of scans without any."""

    bundle_digest: str
    settings_digest: str


def place(output: str) -> str:
    """Where the ledger of an output lies."""
    return uris.own(output, "ledger")


def root(output: str) -> str:
    """What the uris of all that is below an output begin with."""
    return uris.normalize(output).rstrip("/") + "/"


def append(output: str, rows: Iterable[Mapping[str, Any]], storage: Storage = Storage()) -> None:
    """Write rows as one new part.

    Args:
        output: the archive's output folder or prefix.
        rows: with the columns of SCHEMA; what a row lacks is null.
        storage: with what the output is reached; as in all functions here.

    Raises:
        StorageError: if the part could not be written; then nothing of it is there.
    """
    _write(output, pa.Table.from_pylist(list(rows), SCHEMA), "", storage)


def read(output: str, storage: Storage = Storage()) -> pa.Table:
    """Read every row of every run, of SCHEMA, each once; an empty table if nothing has been written yet.

    For small ledgers: all of it is in memory. Raises StorageError if a part cannot be read.
    """
    return ask(output, lambda rows: _distinct(rows.to_table().cast(SCHEMA)), storage)


def ask(output: str, question: Callable[[pyarrow.dataset.Dataset], T], storage: Storage = Storage()) -> T:
    """Put a question to all rows of all runs, as a dataset of SCHEMA that is read as it is asked for.

    Columns that a part lacks are null in it. A compaction may take parts away while they are read: then the question is
    put again, to the parts that are there by then.

    Raises:
        StorageError: if a part cannot be read; the message names it.
    """
    for _ in range(_ASK_ATTEMPTS):
        found = parts(output, storage)
        try:
            return question(dataset(output, found, storage))
        except (pa.ArrowException, OSError, duckdb.Error) as error:
            if {part.uri for part in found} <= {part.uri for part in parts(output, storage)}:
                raise StorageError(_blame(output, found, error, storage)) from error
            trouble = error
    raise StorageError(f"{place(output)}: its parts went away while they were read: {trouble}") from trouble


def parts(output: str, storage: Storage = Storage()) -> list[ObjectInfo]:
    """List the parts in the order of their names; none if nothing has been written yet."""
    # A listing that a compaction went on beside may have met neither the small parts nor the merged one.
    found = _list_parts(output, storage)
    while True:
        again = _list_parts(output, storage)
        before, now = ({part.key for part in some} for some in (found, again))
        if before <= now and not any(key.startswith(_MERGED) for key in now - before):
            return again
        found = again


def _list_parts(output: str, storage: Storage) -> list[ObjectInfo]:
    try:
        return [part for part in storage.listing(place(output)) if part.key.endswith(".parquet")]
    except NotFoundError:
        return []


def dataset(output: str, found: list[ObjectInfo], storage: Storage = Storage()) -> pyarrow.dataset.Dataset:
    """Return some of the ledger's parts as one dataset of SCHEMA; columns that a part lacks are null in it."""
    if not found:
        return pyarrow.dataset.dataset(SCHEMA.empty_table())
    filesystem, _ = storage.arrow_filesystem(place(output))
    return pyarrow.dataset.dataset(list(map(_arrow_path, found)), SCHEMA, format="parquet", filesystem=filesystem)


def open_parts(
    output: str, found: list[ObjectInfo], storage: Storage = Storage()
) -> Iterator[Callable[[], pq.ParquetFile]]:
    """Yield for each part what opens it; to be called as a context. It raises ArrowException or OSError."""
    filesystem, _ = storage.arrow_filesystem(place(output))
    for part in found:
        yield functools.partial(pq.ParquetFile, _arrow_path(part), filesystem=filesystem)


def _arrow_path(part: ObjectInfo) -> str:
    return part.uri.removeprefix(uris.S3)


# --- compaction ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compaction:
    """What a compaction has done."""

    merged: int
    """Small parts that were merged, and are gone."""
    written: int
    """Large parts that were written for them."""
    rows: int
    """In the parts that were written."""


def compact(
    output: str, storage: Storage = Storage(), *, small_bytes: int = 4 << 20, target_rows: int = 250_000
) -> Compaction:
    """Merge small parts into large ones, sorted by source_uri. No row is changed or left out; doubles are dropped.

    Rows of other runs and rows that have been superseded are history, and stay. With less than two small parts it only
    lists them. It may run while others read or write, also twice at once, and may be killed at any moment.

    Args:
        output: the archive's output folder or prefix.
        storage: with what it is reached.
        small_bytes: parts of fewer bytes are merged.
        target_rows: a merged part has about as many rows, and as many are in memory at once.

    Raises:
        StorageError: if a part cannot be read or written; the message names it. Then that part and those that were to
            be merged with it are as they were.
    """
    small = [part for part in parts(output, storage) if part.size < small_bytes]
    if len(small) < 2:
        return Compaction(0, 0, 0)
    merged = written = rows = 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger") as threads:
        for places, tables in _groups(_fetched(small, threads, storage), target_rows):
            if len(places) < 2:
                continue
            table = _distinct(pa.concat_tables(tables)).sort_by(
                [("source_uri", "ascending"), ("finished_at", "ascending")]
            )
            _write(output, table, _MERGED, storage)
            list(threads.map(storage.delete, places))
            merged, written, rows = merged + len(places), written + 1, rows + table.num_rows
    return Compaction(merged, written, rows)


_ASK_ATTEMPTS = 5
_THREADS = 16
_MERGED = "merged-"
_ROW_GROUP = 65_536


def _fetched(small: list[ObjectInfo], threads: ThreadPoolExecutor, storage: Storage) -> Iterator[tuple[str, pa.Table]]:
    """Yield the uris and rows of small parts, some read ahead; not of those that have been merged by others by now."""
    read_part = functools.partial(_read_part, storage)
    for start in range(0, len(small), _THREADS):
        for uri, table in threads.map(read_part, [part.uri for part in small[start : start + _THREADS]]):
            if table is not None:
                yield uri, table


def _read_part(storage: Storage, uri: str) -> tuple[str, pa.Table | None]:
    try:
        data = storage.read(uri).data
    except NotFoundError:
        return uri, None
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
        if set(table.column_names) - set(SCHEMA.names):  # a newer version wrote it: merging it would lose columns
            return uri, None
        return uri, _widened(table)
    except pa.ArrowException as error:
        raise StorageError(f"{uri}: this part of the ledger cannot be read: {one_line(error)}") from error


def _widened(table: pa.Table) -> pa.Table:
    for field in SCHEMA:
        if not field.nullable and (field.name not in table.column_names or table[field.name].null_count):
            raise pa.ArrowInvalid(f"it has rows without {field.name}")
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def _groups(fetched: Iterator[tuple[str, pa.Table]], target_rows: int) -> Iterator[tuple[list[str], list[pa.Table]]]:
    places: list[str] = []
    tables: list[pa.Table] = []
    rows = 0
    for uri, table in fetched:
        places.append(uri)
        tables.append(table)
        rows += table.num_rows
        if rows >= target_rows:
            yield places, tables
            places, tables, rows = [], [], 0
    yield places, tables


def _distinct(table: pa.Table) -> pa.Table:
    return table.group_by(table.column_names).aggregate([]).cast(SCHEMA)


def _write(output: str, table: pa.Table, prefix: str, storage: Storage) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=_ROW_GROUP)
    name = f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}.parquet"
    storage.write(uris.join(place(output), name), buffer.getvalue(), "application/vnd.apache.parquet")


def _blame(output: str, found: list[ObjectInfo], error: Exception, storage: Storage) -> str:
    """Find the part that cannot be read, and say so."""
    for part, opened in zip(found, open_parts(output, found, storage), strict=True):
        try:
            with opened() as file:
                file.read()
        except (pa.ArrowException, OSError) as damage:
            return f"{part.uri}: this part of the ledger cannot be read: {one_line(damage)}"
    return f"the ledger cannot be read: {one_line(error)}"
