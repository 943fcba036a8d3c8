"""The ledger's invariants, checked: what a ledger says is there, and what is there the ledger speaks of.

For an archive at rest: while a job runs, an object is there for a moment before its row is.
"""

import contextlib
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from colornet.archive import ledger, views
from colornet.archive.database import database, literal
from colornet.archive.ledger import RunKey
from colornet.errors import NotFoundError, StorageError, one_line
from colornet.storage import ObjectInfo, Storage, uris


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str
    """One word for the invariant that is broken; `KINDS` explains them."""
    uri: str
    """Of the source, the object or the ledger's part that it is about."""
    words: str
    """What is wrong with it, for a person."""
    source: str = ""
    """Uri of the scan whose row it is about; empty if it is about none."""


KINDS = {
    "part": "a part of the ledger cannot be read, or has not the ledger's columns",
    "missing": "a source of the inventory has no row",
    "tie": "a source has two different rows of one age: which of them is current is open",
    "status": "a row has a status that is not known",
    "incomplete": "a done row does not say where its output is, of what size, with what SHA-256",
    "elsewhere": "a done row's output lies outside the output folder",
    "gone": "a done row's object is not there, or cannot be read",
    "size": "a done row's object has another size",
    "contents": "a done row's object has another SHA-256",
    "reason": "a failed or skipped row does not say why",
    "output": "a failed or skipped row has an output",
    "shared": "two sources have the same output",
    "stray": "an object that no finished row of any run speaks of",
    "temporary": "a temporary file was left behind",
}

MENDED_BY_REPAIR = ("status", "incomplete", "elsewhere", "gone", "size", "contents", "reason", "output", "tie")
"""Kinds of findings that are over once their sources are done again."""

_OBJECTS = pa.schema([("uri", pa.string()), ("size", pa.int64())])
_NEEDED = [field.name for field in ledger.SCHEMA if not field.nullable]
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp|\.colornet-probe-[0-9a-f]{32}")
_THREADS = 4
_ROWS = 65_536


def audit(
    output: str,
    run: RunKey | None = None,
    scans: Path | None = None,
    storage: Storage = Storage(),
    *,
    contents: bool = True,
) -> list[Finding]:
    """Check the invariants of a ledger for the current rows of one run, or of all.

    Without a run, every object is compared with the row that it was made under, the youngest done row of its place,
    whatever its run; with one, with that run's current row of its source.

    Args:
        output: the archive's output folder or prefix.
        run: whose current rows are checked; None takes those of all runs.
        scans: a Parquet file of inventory.SCHEMA; without one nobody knows which sources are missing: those that have
            no row. Rows of sources that are not in it are checked like the others.
        storage: with what the output is reached.
        contents: read every object and compare its SHA-256; without, only whether it is there, and its size.

    Returns:
        The findings, sorted; none if all is as it should be.

    Raises:
        StorageError: if the output cannot be listed.
    """
    output = uris.normalize(output)
    findings, sound = _check_parts(output, storage)
    with tempfile.TemporaryDirectory() as name, database(Path(name)) as connection:
        findings += _load_objects(connection, output, Path(name), storage)
        _load_rows(connection, ledger.dataset(output, sound, storage), output, run)
        if scans is not None:
            connection.read_parquet(str(scans), hive_partitioning=False).create_view("scans")
            findings += _ask(connection, _MISSING)
        for query in _QUERIES:
            findings += _ask(connection, query)
        if contents:
            findings += _check_contents(connection, storage)
    return sorted(set(findings))


# --- parts -----------------------------------------------------------------------------------------------------------


def _check_parts(output: str, storage: Storage) -> tuple[list[Finding], list[ObjectInfo]]:
    """Read every part; return what is wrong with some, and those that are sound."""
    parts = ledger.parts(output, storage)
    with ThreadPoolExecutor(_THREADS) as threads:
        troubles = list(threads.map(_trouble, ledger.open_parts(output, parts, storage)))
    findings = [Finding("part", part.uri, words) for part, words in zip(parts, troubles, strict=True) if words]
    return findings, [part for part, words in zip(parts, troubles, strict=True) if not words]


def _trouble(opened: Callable[[], pq.ParquetFile]) -> str | None:
    try:
        with opened() as file:
            for group in range(file.num_row_groups):
                words = _wrong_columns(file.read_row_group(group))
                if words:
                    return words
            return _wrong_columns(file.schema_arrow.empty_table())
    except (pa.ArrowException, OSError) as error:
        return f"cannot be read: {one_line(error)}"


def _wrong_columns(table: pa.Table) -> str | None:
    for field in ledger.SCHEMA:
        if field.name not in table.column_names:
            if field.name in _NEEDED:
                return f"has no column {field.name}"
        elif table.schema.field(field.name).type != field.type:
            return f"its column {field.name} is {table.schema.field(field.name).type}, not {field.type}"
        elif field.name in _NEEDED and table[field.name].null_count:
            return f"has rows without {field.name}"
    return None


# --- objects ---------------------------------------------------------------------------------------------------------


def _load_objects(connection: duckdb.DuckDBPyConnection, output: str, folder: Path, storage: Storage) -> list[Finding]:
    """Make the view `objects` of all that lies below the output, but for the job's own files."""
    findings = []
    place = folder / "objects.parquet"
    own = uris.own(output) + "/"
    with pq.ParquetWriter(place, _OBJECTS) as writer:
        held: list[tuple[str, int]] = []
        for uri, size in _everything(output, storage):
            if _TEMPORARY.fullmatch(uri.rpartition("/")[2]):
                findings.append(Finding("temporary", _printable(uri), KINDS["temporary"]))
            elif not uri.startswith(own):
                held.append((_printable(uri), size))
            if len(held) == _ROWS:
                writer.write_table(_objects(held))
                held = []
        writer.write_table(_objects(held))
    connection.read_parquet(str(place), hive_partitioning=False).create_view("objects")
    return findings


def _objects(held: list[tuple[str, int]]) -> pa.Table:
    return pa.table([[uri for uri, _ in held], [size for _, size in held]], schema=_OBJECTS)


def _everything(output: str, storage: Storage) -> Iterator[tuple[str, int]]:
    """Yield uri and size of all below the output; unlike a listing of scans also what is hidden."""
    if uris.is_s3(output):
        try:
            yield from ((found.uri, found.size) for found in storage.listing(output))
        except NotFoundError:
            return
    for folder, _, names in os.walk(output) if not uris.is_s3(output) else ():
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere, or a file that has gone since
                yield f"{folder}/{name}", (Path(folder) / name).stat().st_size


def _printable(uri: str) -> str:
    return uri.encode(errors="replace").decode()


# --- rows ------------------------------------------------------------------------------------------------------------

_CHECKED = ("source_uri", "status", "reason", "output_uri", "output_size", "output_sha256")
_RUN_HASH = "hash(bundle_digest, run)"
_OF_RUN = f"{_RUN_HASH} AS of_run"
_IS_WHOLE = "output_uri IS NOT NULL AND output_size IS NOT NULL AND output_sha256 IS NOT NULL"


def _load_rows(
    connection: duckdb.DuckDBPyConnection, rows: pyarrow.dataset.Dataset, output: str, run: RunKey | None
) -> None:
    """Make the tables `checked`, of current rows, and `spoken_of`, of all outputs of finished rows; and `made`, a view
    of the done rows that say what lies in the output."""
    views.create(connection, rows, output, run)
    # All columns together tell a row that was merged into a larger part, and is in both, from one that differs.
    every, needed = ", ".join(ledger.SCHEMA.names), ", ".join(_CHECKED)
    for statement in (
        f"CREATE TEMP TABLE latest AS SELECT {_OF_RUN}, source, age FROM current",
        f"""
        CREATE TEMP TABLE checked AS
        SELECT DISTINCT {needed}, {_OF_RUN}, hash({every}) AS row
        FROM tries JOIN latest
            ON latest.of_run = {_RUN_HASH} AND latest.source = tries.source AND latest.age = tries.age
        """,
        """
        CREATE TEMP TABLE spoken_of AS SELECT DISTINCT md5_number(output_uri) AS object
        FROM ledger WHERE status = 'done' AND output_uri IS NOT NULL
        """,
        f"CREATE TEMP VIEW claimed AS SELECT * FROM checked WHERE status = 'done' AND {_IS_WHOLE}",
        f"""
        CREATE TEMP VIEW within AS SELECT * FROM claimed
        WHERE starts_with(output_uri, {literal(ledger.root(output))})
        """,
        "CREATE TEMP VIEW made AS SELECT * FROM within"
        if run
        else f"""
        CREATE TEMP TABLE made AS SELECT DISTINCT {needed}
        FROM tries WHERE status = 'done' AND {_IS_WHOLE} AND starts_with(output_uri, {literal(ledger.root(output))})
        QUALIFY rank() OVER (PARTITION BY md5_number(output_uri) ORDER BY age DESC) = 1
        """,
    ):
        connection.execute(statement)


_MISSING = """
    SELECT 'missing', source_uri, 'the inventory has it, and no row is about it', source_uri
    FROM scans ANTI JOIN latest ON md5_number(scans.source_uri) = latest.source
"""
_QUERIES = (
    """
    SELECT 'tie', source_uri, count(*) || ' different rows are the latest', source_uri
    FROM checked GROUP BY source_uri, of_run HAVING count(*) > 1
    """,
    f"""
    SELECT 'status', source_uri, 'its status is ' || status, source_uri FROM checked
    WHERE status NOT IN {ledger.STATUSES}
    """,
    f"""
    SELECT 'incomplete', source_uri, 'is done, but without ' || concat_ws(', ',
        CASE WHEN output_uri IS NULL THEN 'output_uri' END, CASE WHEN output_size IS NULL THEN 'output_size' END,
        CASE WHEN output_sha256 IS NULL THEN 'output_sha256' END), source_uri
    FROM checked WHERE status = 'done' AND NOT ({_IS_WHOLE})
    """,
    """
    SELECT 'reason', source_uri, 'is ' || status || ', and does not say why', source_uri FROM checked
    WHERE status IN ('failed', 'skipped') AND coalesce(reason, '') = ''
    """,
    """
    SELECT 'output', source_uri, 'is ' || status || ', and has an output', source_uri FROM checked
    WHERE status IN ('failed', 'skipped')
        AND (output_uri IS NOT NULL OR output_size IS NOT NULL OR output_sha256 IS NOT NULL)
    """,
    """
    SELECT 'elsewhere', output_uri, 'is the output of ' || source_uri || ', outside the output folder', source_uri
    FROM claimed ANTI JOIN within USING (source_uri, output_uri)
    """,
    """
    SELECT 'shared', output_uri, 'is the output of ' || min(source_uri) || ' and of ' || max(source_uri), ''
    FROM claimed GROUP BY output_uri, of_run HAVING count(DISTINCT source_uri) > 1
    """,
    """
    SELECT 'gone', output_uri, 'is the output of ' || source_uri || ', and is not there', source_uri
    FROM made ANTI JOIN objects ON output_uri = uri
    """,
    """
    SELECT 'size', output_uri, 'has ' || size || ' bytes, not ' || output_size, source_uri FROM made JOIN objects
    ON output_uri = uri WHERE size <> output_size
    """,
    """
    SELECT 'stray', uri, 'no finished row of any run speaks of it', ''
    FROM objects ANTI JOIN spoken_of ON md5_number(uri) = object
    """,
)


def _ask(connection: duckdb.DuckDBPyConnection, query: str) -> list[Finding]:
    return [Finding(*row) for row in connection.execute(query).fetchall()]


def _check_contents(connection: duckdb.DuckDBPyConnection, storage: Storage) -> list[Finding]:
    """Read the objects that are there with the right size."""
    findings: list[Finding] = []
    asked = connection.execute("""
        SELECT DISTINCT output_uri, output_sha256, source_uri FROM made JOIN objects ON output_uri = uri
        WHERE size = output_size
    """)
    with ThreadPoolExecutor(_THREADS) as threads:
        while rows := asked.fetchmany(1000):
            findings += [finding for finding in threads.map(functools.partial(_compare, storage), rows) if finding]
    return findings


def _compare(storage: Storage, row: tuple[str, str, str]) -> Finding | None:
    uri, expected, source = row
    try:
        found = hashlib.sha256(storage.read(uri).data).hexdigest()
    except StorageError as error:
        return Finding("gone", uri, str(error), source)
    if found == expected:
        return None
    return Finding("contents", uri, f"has the SHA-256 {found}, not {expected}", source)
