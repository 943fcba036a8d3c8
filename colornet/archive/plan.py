"""The plan of a run: what of the inventory is left to be done, by what the ledger says. And what came of it.

Both are made by DuckDB from Parquet files, in bounded memory: an archive of ten million scans is planned on a laptop.
A source's *state* is that of its current row in the ledger, if that row speaks of the version in the inventory; where
the inventory gives no version, any will do. Where there is a table of hints, the row must also speak of the hints that
the table has for the source, or of none; without a table, any will do: what people chose is not undone by leaving it
out. A row whose picture another run has painted over since does not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from colornet.archive import hints, inventory, ledger, occupancy, views
from colornet.archive.confidence import Quartiles, quartiles
from colornet.archive.database import database, literal
from colornet.archive.ledger import RunKey
from colornet.archive.occupancy import Occupant
from colornet.archive.selection import Selection
from colornet.errors import SettingsError
from colornet.storage import Storage

_HINTS = [field.with_nullable(True) for field in hints.SCHEMA if field.name != "source_uri"]
SCHEMA = pa.schema([*inventory.SCHEMA, pa.field("attempts", pa.int32(), nullable=False), *_HINTS])
"""An inventory row, how often this run has tried the scan before, and what hints.SCHEMA says of it; null if nothing."""

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
    hinted: int = 0
    """Of the selected scans, those with hints in the table."""
    hinted_pending: int = 0
    occupants: tuple[Occupant, ...] = field(default=(), kw_only=True)
    """Other runs with pictures in the output."""

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
    """The most frequent causes with their counts; a scan's own uri and its output's stand as … in them."""
    confidence: Quartiles | None
    """Of those done."""
    hinted: int = 0
    """Of those done, those with colours that people chose."""


def make_plan(
    scans: Path,
    output: str,
    run: RunKey,
    folder: Path,
    selection: Selection = Selection(),  # noqa: B008  (frozen)
    retry_failed: bool = True,
    storage: Storage = Storage(),
    hinted: Path | None = None,
    again: Sequence[str] = (),
    extension: str = "",
) -> ColorizePlan:
    """Find what is left to be done.

    Args:
        scans: a Parquet file of inventory.SCHEMA, as `inventory.write_inventory` makes it.
        output: where the ledger is.
        run: whose rows count.
        folder: where `plan.parquet` is written; it must exist, and have room for it and for what does not fit into
            memory.
        selection: the part of the inventory that the run is about.
        retry_failed: whether scans that failed before are tried again.
        storage: with what the ledger is reached.
        hinted: a Parquet file of hints.SCHEMA, as `hints.write_hints` makes it; None without a table of hints.
        again: uris of sources that are to be done whatever the ledger says.
        extension: what the keys of outputs may have behind those of their sources.

    Raises:
        SettingsError: if the selection takes none of the scans, two of them would have the same output, or one would
            have its output in the place of another source.
        StorageError: if the ledger cannot be read.
    """
    path = folder / "plan.parquet"
    finished = ledger.FINISHED if retry_failed else (*ledger.FINISHED, "failed")
    with database(folder) as connection:
        _select(connection, scans, selection)
        _refuse_clashes(connection, ledger.root(output), extension)
        occupants = _load_states(connection, output, run, ["attempts AS tries"], storage, hinted, again)
        connection.execute(f"""
            COPY (
                SELECT source_uri, source_size, source_version, key, problem, coalesce(tries, 0)::INTEGER AS attempts,
                    {", ".join(field.name for field in _HINTS)}
                FROM stated WHERE coalesce(state NOT IN {finished}, true)
                ORDER BY source_uri
            ) TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {inventory.ROW_GROUP})
        """)
        counts = connection.execute(f"""
            SELECT count(*), coalesce(sum(source_size), 0),
                count(*) FILTER (todo), coalesce(sum(source_size) FILTER (todo), 0),
                count(*) FILTER (state = 'done'), count(*) FILTER (state = 'failed'),
                count(*) FILTER (state = 'skipped'), count(hints), count(hints) FILTER (todo)
            FROM (SELECT *, coalesce(state NOT IN {finished}, true) AS todo FROM stated)
        """).fetchall()[0]
    if not counts[0]:
        raise SettingsError(f"the selection takes none of the {pq.read_metadata(scans).num_rows} scans")
    return replace(ColorizePlan(path, *map(int, counts)), occupants=occupants)


def tally(
    scans: Path,
    output: str,
    run: RunKey,
    folder: Path,
    selection: Selection = Selection(),  # noqa: B008  (frozen)
    storage: Storage = Storage(),
    hinted: Path | None = None,
) -> Tally:
    """Count what has become of the selected scans; arguments and errors are those of `make_plan`."""
    with database(folder) as connection:
        _select(connection, scans, selection)
        columns = ["pixels", "source_size AS bytes_in", "output_size AS bytes_out", "confidence", "cause"]
        columns.append("hints IS NOT NULL AS steered")
        _load_states(connection, output, run, columns, storage, hinted)
        counts = connection.execute("""
            SELECT count(*), count(*) FILTER (done), count(*) FILTER (state = 'failed'),
                count(*) FILTER (state = 'skipped'), coalesce(sum(pixels) FILTER (done), 0),
                coalesce(sum(bytes_in) FILTER (done), 0), coalesce(sum(bytes_out) FILTER (done), 0),
                count(*) FILTER (done AND steered)
            FROM (SELECT *, state = 'done' AS done FROM stated)
        """).fetchall()[0]
        failures = views.causes(connection, "stated WHERE state = 'failed'")
        confidence = quartiles(connection, "stated WHERE state = 'done'")
    scans_, done, failed, skipped, pixels, source_bytes, output_bytes, steered = map(int, counts)
    return Tally(scans_, done, failed, skipped, pixels, source_bytes, output_bytes, failures, confidence, steered)


def _select(connection: duckdb.DuckDBPyConnection, scans: Path, selection: Selection) -> None:
    connection.read_parquet(str(scans), hive_partitioning=False).create_view("scans")
    connection.execute(f"CREATE TEMP VIEW selected AS {selection.sql('scans')}")


def _load_states(
    connection: duckdb.DuckDBPyConnection,
    output: str,
    run: RunKey,
    columns: list[str],
    storage: Storage,
    hinted: Path | None,
    again: Sequence[str] = (),
) -> tuple[Occupant, ...]:
    """Make the view `stated`: the selected scans, each with its state, its hints, and columns of its current row.

    Returns the other runs with pictures in the output.
    """

    def load(rows: pyarrow.dataset.Dataset) -> tuple[Occupant, ...]:
        views.create(connection, rows, output, run)
        occupants = occupancy.load(connection, run)
        status, counted = "status", "current"
        if occupants:
            status, counted = "CASE WHEN owner IS NULL THEN status END", "current LEFT JOIN occupied USING (object)"
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE latest AS
            SELECT source, version, look, {status} AS status, {", ".join(columns)} FROM {counted}
        """)
        return occupants

    occupants = ledger.ask(output, load, storage)
    connection.register("again", pa.table({"source_uri": pa.array(again, pa.string())}))
    if hinted is None:
        connection.register("hinted", hints.SCHEMA.empty_table())
        as_told = "true"
    else:
        connection.read_parquet(str(hinted), hive_partitioning=False).create_view("hinted")
        as_told = f"look = hash(coalesce(settings_digest, {literal(run.settings_digest)}))"
    connection.execute(f"""
        CREATE TEMP VIEW stated AS
        SELECT selected.*, latest.*, hinted.* EXCLUDE source_uri,
            CASE WHEN (source_version IS NULL OR hash(source_version) = version) AND {as_told}
                AND again.source_uri IS NULL THEN status END AS state
        FROM selected
            LEFT JOIN latest ON md5_number(selected.source_uri) = source
            LEFT JOIN hinted ON selected.source_uri = hinted.source_uri
            LEFT JOIN again ON selected.source_uri = again.source_uri
    """)
    return occupants


def _refuse_clashes(connection: duckdb.DuckDBPyConnection, root: str, extension: str) -> None:
    """Find a selected scan whose output, with or without the extension, would be in the place of something else."""
    ending, start = literal(extension), literal(root)
    outputs = f"""
        SELECT source_uri, {start} || key AS place FROM selected
        UNION ALL SELECT source_uri, {start} || key || {ending} FROM selected
    """
    for query, words in (
        (
            f"""
            SELECT one.source_uri, other.source_uri, {start} || other.key FROM selected AS one JOIN selected AS other
            ON ends_with(other.key, {ending}) AND one.key = other.key[: -{len(extension) + 1}]
            WHERE {bool(extension)}
            """,
            "{} and {} may have the same output, {}: leave out one of them, or choose another output format",
        ),
        (
            f"""
            SELECT outputs.source_uri, scans.source_uri, outputs.place FROM ({outputs}) AS outputs JOIN scans
            ON place = scans.source_uri WHERE starts_with(scans.source_uri, {start}) AND
                outputs.source_uri <> scans.source_uri
            """,
            "the output of {0} would take the place of the source {1}: sources are never touched",
        ),
    ):
        for found in connection.execute(f"{query} ORDER BY ALL LIMIT 1").fetchall():
            raise SettingsError(words.format(*found))
