"""What a ledger says of its runs: totals, pace, steps, hosts, formats and the reasons of failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq

from colornet.archive import ledger, views
from colornet.archive.confidence import Quartiles, quartiles
from colornet.archive.database import database
from colornet.archive.ledger import RunKey
from colornet.errors import SettingsError
from colornet.storage import Storage


@dataclass(frozen=True)
class LedgerRun:
    """One run: what a bundle and settings have made of the sources that it tried."""

    bundle_digest: str
    settings_digest: str
    first: datetime
    last: datetime
    rows: int
    """All of its rows, also those that later ones of the same source have superseded."""
    done: int
    """Current rows, as are those that follow."""
    failed: int
    skipped: int


@dataclass(frozen=True)
class Group:
    """Current rows that have something in common."""

    name: str
    done: int
    failed: int
    skipped: int
    pixels: int
    """Of those done."""
    seconds: float | None
    """Median of those done, from the first step to the last."""


@dataclass(frozen=True)
class StepTime:
    """Seconds that a step took for the scans that are done."""

    name: str
    median: float
    p95: float


@dataclass(frozen=True)
class Period:
    """What ended in a stretch of time."""

    start: datetime
    seconds: int
    """How long it is, at least 1."""
    scans: int
    pixels: int


@dataclass(frozen=True)
class Summary:
    """All of a ledger in brief, and one run at length."""

    runs: tuple[LedgerRun, ...]
    """The latest one last."""
    run: LedgerRun
    """The one that is told of at length: the latest one, unless another was asked for."""
    pixels: int
    """Of this run's outputs, as all that follows is of this run."""
    source_bytes: int
    output_bytes: int
    failures: tuple[tuple[str, int], ...]
    """The most frequent causes with their counts; a scan's own uri and its output's stand as … in them."""
    pace: tuple[Period, ...]
    steps: tuple[StepTime, ...]
    hosts: tuple[Group, ...]
    """Those with the most scans."""
    formats: tuple[Group, ...]
    confidence: Quartiles | None
    """Of those done."""
    hinted: int
    """Of those done, those with colours that people chose."""


_PERIODS = [60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400]
_MOST_PERIODS = 12
_MOST_GROUPS = 20


def summarize(output: str, folder: Path, storage: Storage = Storage(), run: str = "") -> Summary:
    """Read a ledger of any size in bounded memory.

    Args:
        output: the archive's output folder or prefix.
        folder: has room for what does not fit into memory.
        storage: with what the output is reached.
        run: which run to tell of at length, as `views.create_for_one_run` takes it; the latest one if empty.

    Raises:
        SettingsError: if there is no ledger there, or no such run.
        StorageError: if the ledger cannot be read.
    """
    with database(folder) as connection:
        runs, told = ledger.ask(output, lambda rows: _load(connection, rows, output, run), storage)
        ((pixels, source_bytes, output_bytes),) = _rows(
            connection,
            """
            SELECT coalesce(sum(pixels), 0), coalesce(sum(source_size), 0), coalesce(sum(output_size), 0)
            FROM latest WHERE status = 'done'
            """,
        )
        return Summary(
            runs=tuple(runs),
            run=told,
            pixels=int(pixels),
            source_bytes=int(source_bytes),
            output_bytes=int(output_bytes),
            failures=views.causes(connection, "latest WHERE status = 'failed'"),
            pace=_pace(connection, told),
            steps=_steps(connection),
            hosts=_groups(connection, "host"),
            formats=_groups(connection, "format"),
            confidence=quartiles(connection, "latest WHERE status = 'done'"),
            hinted=_rows(connection, "SELECT count(hints) FROM latest WHERE status = 'done'")[0][0],
        )


def write_failures(output: str, place: Path, folder: Path, storage: Storage = Storage(), run: str = "") -> int:
    """Write the failed current rows of a run, sorted by source_uri, into a .csv or .parquet file.

    Returns their number. Arguments and errors are those of `summarize`; the file replaces what was there, at once.

    Raises:
        SettingsError: if the file's name ends otherwise, or its folder is not there.
    """
    if place.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"{place}: failures are written to a file .csv or .parquet")
    if not place.parent.is_dir():
        raise SettingsError(f"{place}: its folder is not there")

    def load(rows: pyarrow.dataset.Dataset) -> None:
        _view_run(connection, rows, output, run)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE failed AS SELECT {', '.join(_FOR_ARCHIVISTS.names)} FROM failures"
        )

    writer = pyarrow.csv.CSVWriter if place.suffix == ".csv" else pq.ParquetWriter
    partial = place.with_name(f".{place.name}.tmp")
    count = 0
    try:
        with database(folder) as connection:
            ledger.ask(output, load, storage)
            failed = connection.sql("SELECT * FROM failed ORDER BY source_uri").to_arrow_reader(65_536)
            with writer(str(partial), _FOR_ARCHIVISTS) as file:
                for batch in failed:
                    file.write_table(pa.Table.from_batches([batch]).cast(_FOR_ARCHIVISTS))
                    count += batch.num_rows
        partial.replace(place)
    except OSError as error:
        raise SettingsError(f"{place}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def least_certain(
    output: str, count: int, folder: Path, storage: Storage = Storage(), run: str = ""
) -> list[tuple[str, float]]:
    """List the pictures of a run of whose colour the generator was least sure, the least certain first.

    Arguments and errors are those of `summarize`.

    Returns:
        Up to `count` keys, which are the outputs' places within the output folder, each with its confidence in [0, 1].
        Pictures without a confidence are not among them.
    """

    def find(rows: pyarrow.dataset.Dataset) -> list[tuple[str, float]]:
        _view_run(connection, rows, output, run)
        return connection.execute(
            """
            SELECT output_uri, confidence FROM current WHERE status = 'done' AND confidence IS NOT NULL
            ORDER BY confidence, source_uri LIMIT $count
            """,
            {"count": count},
        ).fetchall()

    root = ledger.root(output)
    with database(folder) as connection:
        return [(uri.removeprefix(root), confidence) for uri, confidence in ledger.ask(output, find, storage)]


@dataclass(frozen=True)
class Steered:
    """A picture in which people chose colours."""

    key: str
    """Its place within the output folder."""
    hints: str
    """What they chose, as `colornet.hints.to_json` writes it."""
    by: str | None
    strength: float | None


def steered(output: str, folder: Path, storage: Storage = Storage(), run: str = "") -> list[Steered]:
    """List the pictures of a run in which people chose colours, in the order of their keys.

    Arguments and errors are those of `summarize`.
    """

    def find(rows: pyarrow.dataset.Dataset) -> Sequence[tuple[Any, ...]]:
        _view_run(connection, rows, output, run)
        return _rows(
            connection,
            """
            SELECT output_uri, hints, hints_by, strength FROM current
            WHERE status = 'done' AND hints IS NOT NULL ORDER BY output_uri
            """,
        )

    root = ledger.root(output)
    with database(folder) as connection:
        return [Steered(uri.removeprefix(root), *rest) for uri, *rest in ledger.ask(output, find, storage)]


_FOR_ARCHIVISTS = pa.schema(
    [
        ledger.SCHEMA.field(name)
        for name in (
            "source_uri",
            "reason",
            "error",
            "attempts",
            "source_size",
            "source_version",
            "format",
            "finished_at",
            "host",
        )
    ]
)
_COUNTED = (
    *("status", "cause", "host", "format", "pixels", "source_size", "output_size", "confidence", "finished_at"),
    "hints",
)


def _load(
    connection: duckdb.DuckDBPyConnection, rows: pyarrow.dataset.Dataset, output: str, wanted: str
) -> tuple[list[LedgerRun], LedgerRun]:
    """Make the table `latest` of a run's current rows; returns all runs, the latest one last, and the run."""
    views.create(connection, rows, output)
    found = _rows(
        connection,
        """
        SELECT bundle_digest, runs.settings_digest, first, last, rows, count(*) FILTER (status = 'done'),
            count(*) FILTER (status = 'failed'), count(*) FILTER (status = 'skipped')
        FROM runs JOIN current USING (bundle_digest) WHERE runs.settings_digest = current.run
        GROUP BY number, bundle_digest, runs.settings_digest, first, last, rows ORDER BY number
        """,
    )
    run = _view_run(connection, rows, output, wanted)
    columns = [*_COUNTED, *(f"{step}_seconds" for step in ledger.STEPS), "seconds"]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE latest AS SELECT {', '.join(columns)} FROM current")
    runs = [
        LedgerRun(bundle, settings, _time(first), _time(last), *counts)
        for bundle, settings, first, last, *counts in found
    ]
    return runs, next(each for each in runs if (each.bundle_digest, each.settings_digest) == run)


def find_run(output: str, run: str, folder: Path, storage: Storage = Storage()) -> RunKey:
    """Find the run that is meant; arguments and errors are those of `summarize`."""
    with database(folder) as connection:
        return ledger.ask(output, lambda rows: _view_run(connection, rows, output, run), storage)


def _view_run(connection: duckdb.DuckDBPyConnection, rows: pyarrow.dataset.Dataset, output: str, wanted: str) -> RunKey:
    run = views.create_for_one_run(connection, rows, output, wanted)
    if run is None:
        raise SettingsError(f"there is no ledger in {output}")
    return run


def _pace(connection: duckdb.DuckDBPyConnection, run: LedgerRun) -> tuple[Period, ...]:
    span = (run.last - run.first).total_seconds()
    width = next((each for each in _PERIODS if span <= each * _MOST_PERIODS), _PERIODS[-1])
    found = _rows(
        connection,
        f"""
        SELECT epoch_us(finished_at) // {width * 1_000_000} * {width * 1_000_000} AS start, count(*),
            coalesce(sum(pixels) FILTER (status = 'done'), 0)
        FROM latest GROUP BY start ORDER BY start
        """,
    )
    periods = []
    for start, scans, pixels in found:
        begin, end = max(_time(start), run.first), min(_time(start + width * 1_000_000), run.last)
        periods.append(Period(begin, max(1, round((end - begin).total_seconds())), scans, int(pixels)))
    return tuple(periods)


def _steps(connection: duckdb.DuckDBPyConnection) -> tuple[StepTime, ...]:
    steps = []
    for name, column in [*((name, f"{name}_seconds") for name in ledger.STEPS), ("all", "seconds")]:
        ((median, p95),) = _rows(
            connection,
            f"""
            SELECT approx_quantile({column}, 0.5), approx_quantile({column}, 0.95)
            FROM latest WHERE status = 'done'
            """,
        )
        if median is not None:
            steps.append(StepTime(name, median, p95))
    return tuple(steps)


def _groups(connection: duckdb.DuckDBPyConnection, column: str) -> tuple[Group, ...]:
    found = _rows(
        connection,
        f"""
        SELECT coalesce({column}, 'unknown') AS name, count(*) FILTER (status = 'done'),
            count(*) FILTER (status = 'failed'), count(*) FILTER (status = 'skipped'),
            coalesce(sum(pixels) FILTER (status = 'done'), 0), approx_quantile(seconds, 0.5) FILTER (status = 'done')
        FROM latest GROUP BY name ORDER BY count(*) DESC, name LIMIT {_MOST_GROUPS}
        """,
    )
    return tuple(Group(name, done, failed, skipped, int(pixels), s) for name, done, failed, skipped, pixels, s in found)


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> Sequence[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
