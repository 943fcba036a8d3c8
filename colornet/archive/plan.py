"""The plan of a run: what of the inventory is left to be done, by what the ledger says. And what came of it.

Both are made by DuckDB from Parquet files, in bounded memory: an archive of ten million scans is planned on a laptop.
A source's *state* is that of its current row in the ledger, if that row speaks of the version in the inventory; where
the inventory gives no version, any will do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from colornet.archive import inventory, ledger
from colornet.archive.confidence import Quartiles, quartiles
from colornet.archive.database import database, literal
from colornet.archive.selection import Selection
from colornet.errors import SettingsError
from colornet.storage import Storage, uris

SCHEMA = pa.schema([*inventory.SCHEMA, pa.field("attempts", pa.int32(), nullable=False)])
"""An inventory row, and how often this run has tried the scan before."""

_READ_ROWS = 16_384


@dataclass(frozen=True)
class ColorizePlan:
    """What is left to be done, as a Parquet file of SCHEMA sorted by source_uri, and how it stands with the rest."""

    path: Path
    scans: int
    """Of the selected inventory."""
    bytes: int
    """Of the selected scans; those of unknown size count 0."""
    pending: int
    """Rows of the plan."""
    pending_bytes: int
    done: int
    failed: int
    """Failed before; they are pending too, unless failures are not to be tried again."""
    skipped: int

    def batches(self, rows: int) -> Iterator[pa.Table]:
        """Yield the plan in its order, in tables of SCHEMA with `rows` rows, the last with fewer."""
        held: list[pa.RecordBatch] = []
        count = 0
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(min(rows, _READ_ROWS)):
                held.append(batch)
                count += batch.num_rows
                while count >= rows:
                    table = pa.Table.from_batches(held)
                    yield table.slice(0, rows).cast(SCHEMA)
                    held = table.slice(rows).to_batches()
                    count -= rows
        if count:
            yield pa.Table.from_batches(held).cast(SCHEMA)


@dataclass(frozen=True)
class Tally:
    """What has become of a selected inventory under one run."""

    scans: int
    done: int
    failed: int
    skipped: int
    pixels: int
    """Of the outputs of those done."""
    source_bytes: int
    """Of the sources of those done."""
    output_bytes: int
    """Of the outputs of those done."""
    failures: tuple[tuple[str, int], ...]
    """The most frequent reasons with their counts; a scan's own uri stands as … in them."""
    confidence: Quartiles | None
    """Of those done."""


def make_plan(
    scans: Path,
    output: str,
    bundle_digest: str,
    settings_digest: str,
    folder: Path,
    selection: Selection = Selection(),  # noqa: B008  (frozen)
    retry_failed: bool = True,
    storage: Storage = Storage(),
) -> ColorizePlan:
    """Find what is left to be done.

    Args:
        scans: a Parquet file of inventory.SCHEMA, as `inventory.write_inventory` makes it.
        output: where the ledger is.
        bundle_digest: of the run.
        settings_digest: of the run.
        folder: where `plan.parquet` is written; it must exist, and have room for it and for what does not fit into
            memory.
        selection: the part of the inventory that the run is about.
        retry_failed: whether scans that failed before are tried again.
        storage: with what the ledger is reached.

    Raises:
        SettingsError: if the selection takes none of the scans.
        StorageError: if the ledger cannot be read.
    """
    path = folder / "plan.parquet"
    finished = ledger.FINISHED if retry_failed else ("done", "skipped", "failed")
    with database(folder) as connection:
        _select(connection, scans, selection)
        _find_latest(connection, output, bundle_digest, settings_digest, storage)
        connection.execute(f"""
            COPY (
                SELECT source_uri, source_size, source_version, key, coalesce(tries, 0)::INTEGER AS attempts
                FROM stated WHERE coalesce(state NOT IN {finished}, true)
                ORDER BY source_uri
            ) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {inventory.ROW_GROUP})
        """)
        counts = connection.execute(f"""
            SELECT count(*), coalesce(sum(source_size), 0),
                count(*) FILTER (todo), coalesce(sum(source_size) FILTER (todo), 0),
                count(*) FILTER (state = 'done'), count(*) FILTER (state = 'failed'),
                count(*) FILTER (state = 'skipped')
            FROM (SELECT *, coalesce(state NOT IN {finished}, true) AS todo FROM stated)
        """).fetchall()[0]
    if not counts[0]:
        raise SettingsError(f"the selection takes none of the {pq.read_metadata(scans).num_rows} scans")
    return ColorizePlan(path, *map(int, counts))


def tally(
    scans: Path,
    output: str,
    bundle_digest: str,
    settings_digest: str,
    folder: Path,
    selection: Selection = Selection(),  # noqa: B008  (frozen)
    reasons: int = 20,
    storage: Storage = Storage(),
) -> Tally:
    """Count what has become of the selected scans; arguments and errors are those of `make_plan`.

    `reasons` bounds how many reasons of failures are told apart; the rest are not in `failures`.
    """
    with database(folder) as connection:
        _select(connection, scans, selection)
        _find_latest(connection, output, bundle_digest, settings_digest, storage)
        counts = connection.execute("""
            SELECT count(*), count(*) FILTER (done), count(*) FILTER (state = 'failed'),
                count(*) FILTER (state = 'skipped'), coalesce(sum(pixels) FILTER (done), 0),
                coalesce(sum(bytes_in) FILTER (done), 0), coalesce(sum(bytes_out) FILTER (done), 0)
            FROM (SELECT *, state = 'done' AS done FROM stated)
        """).fetchall()[0]
        failures = _failures(connection, output, bundle_digest, settings_digest, reasons, storage)
        confidence = quartiles(connection, "stated WHERE state = 'done'")
    scans_, done, failed, skipped, pixels, source_bytes, output_bytes = map(int, counts)
    return Tally(scans_, done, failed, skipped, pixels, source_bytes, output_bytes, failures, confidence)


def _select(connection: duckdb.DuckDBPyConnection, scans: Path, selection: Selection) -> None:
    connection.read_parquet(str(scans), hive_partitioning=False).create_view("scans")
    connection.execute(f"CREATE TEMP VIEW selected AS {selection.sql('scans')}")


# Sources and versions are compared by hashes: a key of 16 bytes, not a text of a hundred.
_RUN = "bundle_digest = $bundle AND settings_digest = $settings"


def _find_latest(
    connection: duckdb.DuckDBPyConnection, output: str, bundle_digest: str, settings_digest: str, storage: Storage
) -> None:
    """Make the table `latest`, a row for each source that the run has tried, and the view `stated` over both."""
    run = {"bundle": bundle_digest, "settings": settings_digest}

    def find(rows: pyarrow.dataset.Dataset) -> None:
        connection.register("ledger", rows)
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE latest AS
            SELECT source, max(age) AS age, arg_max(status, age) AS status, arg_max(version, age) AS version,
                arg_max(tries, age) AS tries, arg_max(pixels, age) AS pixels,
                arg_max(bytes_in, age) AS bytes_in, arg_max(bytes_out, age) AS bytes_out,
                arg_max_null(confidence, age) AS confidence
            FROM (
                SELECT md5_number(source_uri) AS source, {ledger.AGE} AS age, status, hash(source_version) AS version,
                    coalesce(attempts, 0) AS tries, coalesce(pixels, 0) AS pixels,
                    coalesce(source_size, 0) AS bytes_in, coalesce(output_size, 0) AS bytes_out, confidence
                FROM ledger WHERE {_RUN}
            )
            GROUP BY source
            """,
            run,
        )

    ledger.ask(output, find, storage)
    connection.execute("""
        CREATE TEMP VIEW stated AS
        SELECT selected.*, latest.*,
            CASE WHEN source_version IS NULL OR hash(source_version) = version THEN status END AS state
        FROM selected LEFT JOIN latest ON md5_number(source_uri) = source
    """)


def _failures(
    connection: duckdb.DuckDBPyConnection,
    output: str,
    bundle_digest: str,
    settings_digest: str,
    reasons: int,
    storage: Storage,
) -> tuple[tuple[str, int], ...]:
    """Group the failed ones of `stated` by their reasons. The same row may be in the ledger twice: it counts once."""
    run = {"bundle": bundle_digest, "settings": settings_digest, "root": uris.normalize(output) + "/"}

    def find(rows: pyarrow.dataset.Dataset) -> list[tuple[str, int]]:
        connection.register("ledger", rows)
        return connection.execute(
            f"""
            SELECT replace(replace(reason, source_uri, '…'), $root || key, '…') AS why, count(*) AS count
            FROM (
                SELECT source, any_value(ledger.source_uri) AS source_uri, any_value(key) AS key,
                    any_value(coalesce(reason, 'no reason given')) AS reason
                FROM ledger JOIN (SELECT source, age, key FROM stated WHERE state = 'failed') AS failed
                    ON md5_number(ledger.source_uri) = source AND {ledger.AGE} = age
                WHERE status = 'failed' AND {_RUN}
                GROUP BY source
            )
            GROUP BY why ORDER BY count DESC, why LIMIT {reasons}
            """,
            run,
        ).fetchall()

    return tuple(ledger.ask(output, find, storage))
