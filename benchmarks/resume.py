"""What it costs to start again: planning a run of which most is done already.

    python -m benchmarks.resume --rows 10000000 --done 0.9

Makes an inventory and a ledger in a temporary folder, at a hundredth, a tenth and the whole of the rows, and plans each
in a process of its own. Most rows lie in large parts, up to 48,000 in small ones, as a job that was killed leaves them.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, TypeVar

import duckdb
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table

from colornet.archive import inventory, ledger
from colornet.archive.database import database, literal
from colornet.archive.plan import make_plan, tally
from colornet.settings import Field, settings

T = TypeVar("T")
RUN = ledger.RunKey("b" * 64, "5" * 64)
PART_ROWS = 250_000
SMALL_PARTS, SMALL_ROWS = 3000, 16


@settings
class ResumeSettings:
    """The settings of benchmarks.resume."""

    rows: Annotated[int, Field(ge=100)] = 10_000_000
    """Scans in the inventory, at the largest size."""
    done: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of them that has a row in the ledger."""
    folder: Path | None = None
    """Where the temporary folder is made; about 300 bytes a scan are needed."""


@dataclass(frozen=True)
class Cost:
    """What a step has taken."""

    seconds: float
    peak_bytes: int
    """Most memory that the process has held, imports included."""


def benchmark(settings: ResumeSettings) -> int:
    """Run the benchmark and print its table; returns the exit code."""
    table = Table("scans", "in the ledger", "parts", "pending", "plan", "peak memory", "tally", "peak memory")
    for share in (100, 10, 1):
        rows = settings.rows // share
        with tempfile.TemporaryDirectory(dir=settings.folder) as name:
            folder = Path(name)
            finished = int(rows * settings.done)
            _alone(_make, folder, rows, finished)
            planned, cost = _alone(_plan, folder)
            _, tallied = _alone(_tally, folder)
            table.add_row(
                f"{rows:,}",
                f"{finished:,}",
                f"{len(ledger.parts(str(folder))):,}",
                f"{planned:,}",
                *_shown(cost, tallied),
            )
    Console(width=120).print(table)
    return 0


def _shown(*costs: Cost) -> list[str]:
    return [text for cost in costs for text in (f"{cost.seconds:.1f} s", f"{cost.peak_bytes / 1e9:.2f} GB")]


def _alone(step: Callable[..., T], *arguments: object) -> T:
    """Run a step in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(step, *arguments).result()


def _plan(folder: Path) -> tuple[int, Cost]:
    started = time.perf_counter()
    plan = make_plan(folder / "scans.parquet", str(folder), RUN, folder)
    return plan.pending, _cost(started)


def _tally(folder: Path) -> tuple[int, Cost]:
    started = time.perf_counter()
    result = tally(folder / "scans.parquet", str(folder), RUN, folder)
    return result.done, _cost(started)


def _cost(started: float) -> Cost:
    seconds = time.perf_counter() - started
    return Cost(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


_SCANS = """
    SELECT format('s3://photographs/masters/collection-{:03d}/box-{:05d}/negative-{:09d}.tif', n % 300, n // 40, n)
            AS source_uri,
        20_000_000 + hash(n) % 100_000_000 AS source_size,
        md5(n::VARCHAR) AS source_version
    FROM range($first, $last) AS numbers(n)
"""
_ROWS = f"""
    SELECT substr(source_uri, 6) AS key, source_uri, source_size::BIGINT AS source_size, source_version,
        sha256('s' || source_uri) AS source_sha256,
        replace(source_uri, 'masters', 'colour') AS output_uri, source_size::BIGINT AS output_size,
        sha256('o' || source_uri) AS output_sha256, 'done' AS status, 1::INTEGER AS attempts, 6000::INTEGER AS width,
        4500::INTEGER AS height, 27_000_000::BIGINT AS pixels, 1::INTEGER AS pages, 'tiff' AS format,
        (random() * 20)::FLOAT AS mean_chroma, random()::FLOAT AS fetch_seconds, random()::FLOAT AS prepare_seconds,
        random()::FLOAT AS predict_seconds, random()::FLOAT AS render_seconds, random()::FLOAT AS store_seconds,
        random()::FLOAT AS seconds,
        make_timestamptz(1_790_000_000_000_000 + (random() * 1e12)::BIGINT) AS finished_at,
        format('node-{{:03d}}', hash(source_uri) % 100) AS host, '0.1.0' AS code_version,
        '{RUN.bundle_digest}' AS bundle_digest, '{RUN.settings_digest}' AS settings_digest
    FROM ({_SCANS})
"""


def _make(folder: Path, rows: int, finished: int) -> None:
    """Write an inventory of `rows` scans and a ledger of which the first `finished` have a row."""
    place = Path(ledger.place(str(folder)))
    place.mkdir(parents=True)
    small = min(finished // 10, SMALL_PARTS * SMALL_ROWS)
    with database(folder) as connection:
        scans = f"""
            SELECT * REPLACE (source_size::BIGINT AS source_size), substr(source_uri, 6) AS key,
                NULL::VARCHAR AS problem
            FROM ({_SCANS})
        """
        _copy(connection, scans, 0, rows, folder / "scans.parquet", inventory.ROW_GROUP)
        for first in range(0, finished - small, PART_ROWS):
            last = min(first + PART_ROWS, finished - small)
            _copy(connection, _ROWS, first, last, place / f"merged-{first:012d}.parquet", inventory.ROW_GROUP)
        _copy(connection, _ROWS, finished - small, finished, folder / "small.parquet", PART_ROWS)
    table = pq.read_table(folder / "small.parquet")
    for first in range(0, small, SMALL_ROWS):
        pq.write_table(table.slice(first, SMALL_ROWS), place / f"{first:012d}.parquet", compression="zstd")


def _copy(
    connection: duckdb.DuckDBPyConnection, query: str, first: int, last: int, place: Path, row_group: int
) -> None:
    query = query.replace("$first", str(first)).replace("$last", str(last))
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group}"
    connection.execute(f"COPY ({query}) TO {literal(str(place))} ({options})").fetchall()


if __name__ == "__main__":
    sys.exit(benchmark(tyro.cli(ResumeSettings, description=__doc__)))
