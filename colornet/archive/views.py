"""What the rows of a ledger mean, as views of DuckDB. Plan, summary and audit ask these, so that they cannot disagree.

`runs` has the runs of the ledger; the rest is about one of them, or about every one:

- `tries`: the rows. `source` stands for the source's uri, `version` for its version, `look` for the digest of its
  settings and `object` for its output's uri: keys of 16 and 8 bytes, not texts of a hundred. `run` is the digest of the
  run's settings. `cause` is the reason of a failure without the places that differ from scan to scan.
- `current`: the row that counts of each source, which has the greatest `age`.
- `failures`: the current rows that failed.

They have all columns of `ledger.SCHEMA` too; those that are not asked for cost nothing.
"""

import duckdb
import pyarrow.dataset

from colornet.archive.database import literal
from colornet.archive.ledger import RunKey, root
from colornet.errors import SettingsError

MOST_CAUSES = 20
"""Causes of failures that are told apart."""

# Of two rows that ended in the same microsecond the one that is finished counts.
_TRIES = """
    SELECT md5_number(source_uri) AS source, hash(source_version) AS version, hash(settings_digest) AS look,
        md5_number(output_uri) AS object, {run} AS run,
        epoch_us(finished_at) * 2 + (status <> 'failed')::BIGINT AS age,
        CASE WHEN status = 'failed' THEN replace(
            replace(coalesce(reason, 'no reason given'), coalesce({root} || key, source_uri), '…'), source_uri, '…'
        ) END AS cause,
        *
    FROM ledger WHERE {condition}
"""
RUN = "coalesce(run_digest, settings_digest)"
"""The settings' digest of a row's run: scans with hints have another one of their own."""
# A row may be in two parts, and two rows may be of one age: one of them is taken.
_CURRENT = """
    SELECT * FROM tries QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY age DESC) = 1
"""
_FAILURES = "SELECT * FROM current WHERE status = 'failed'"
# Times are microseconds: for Python's own DuckDB asks for pytz.
_RUNS = f"""
    SELECT row_number() OVER (ORDER BY last, bundle_digest, settings_digest) AS number, *
    FROM (
        SELECT bundle_digest, {RUN} AS settings_digest, min(epoch_us(finished_at)) AS first,
            max(epoch_us(finished_at)) AS last, count(*) AS rows
        FROM ledger GROUP BY ALL
    )
"""


def create(
    connection: duckdb.DuckDBPyConnection, rows: pyarrow.dataset.Dataset, output: str, run: RunKey | None = None
) -> None:
    """Make the views, or make them anew.

    Args:
        connection: to an empty database, or one with such views.
        rows: of a ledger, as `ledger.ask` hands them to a question.
        output: the archive's output folder or prefix.
        run: what `tries`, `current` and `failures` are about; None for all runs, each with its own current rows.
    """
    condition, key = "true", "bundle_digest, run, source"
    if run is not None:
        condition = f"bundle_digest = {literal(run.bundle_digest)} AND {RUN} = {literal(run.settings_digest)}"
        key = "source"
    connection.register("ledger", rows)
    for name, query in {
        "runs": _RUNS,
        "tries": _TRIES.format(root=literal(root(output)), run=RUN, condition=condition),
        "current": _CURRENT.format(key=key),
        "failures": _FAILURES,
    }.items():
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")


def create_for_one_run(
    connection: duckdb.DuckDBPyConnection, rows: pyarrow.dataset.Dataset, output: str, wanted: str = ""
) -> RunKey | None:
    """Make the views for one run, and return it; None if there is no row at all.

    Args:
        connection: to the database.
        rows: of a ledger.
        output: the archive's output folder or prefix.
        wanted: what the digest of the run's bundle, or that of its settings, begins with, or both with a / between;
            empty takes the run with the youngest row.

    Raises:
        SettingsError: if no run is called so, or more than one.
    """
    create(connection, rows, output)
    bundle, _, settings = wanted.partition("/")
    either = f"starts_with(bundle_digest, {literal(bundle)}) OR starts_with(settings_digest, {literal(bundle)})"
    both = f"starts_with(bundle_digest, {literal(bundle)}) AND starts_with(settings_digest, {literal(settings)})"
    query = f"SELECT bundle_digest, settings_digest FROM runs WHERE {both if settings else either} ORDER BY number DESC"
    found = [RunKey(*digests) for digests in connection.execute(query).fetchall()]
    if wanted and len(found) != 1:
        told = f"{len(found)} runs are" if found else "no run is"
        raise SettingsError(f"{output}: {told} called {wanted!r}; give the beginning of BUNDLE/SETTINGS of one")
    run = found[0] if found else None
    create(connection, rows, output, run)
    return run


def causes(connection: duckdb.DuckDBPyConnection, failures: str) -> tuple[tuple[str, int], ...]:
    """Count failures by their causes, the most frequent first.

    Args:
        connection: to the database.
        failures: a table, view or subquery with the column `cause`, a row for each failed scan.

    Returns:
        Up to MOST_CAUSES causes with their counts.
    """
    query = f"SELECT cause, count(*) AS count FROM {failures} GROUP BY cause ORDER BY count DESC, cause LIMIT $most"
    return tuple(connection.execute(query, {"most": MOST_CAUSES}).fetchall())
