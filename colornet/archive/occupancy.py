"""Whose pictures lie in an output: those of the run that is asked for, or of others.

Runs write to the same places, so what lies at one is of the run whose done row of it is the youngest. Where another run
has painted over a picture, the row of the first is done, and its picture is not there any more.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from colornet.archive.database import literal
from colornet.archive.ledger import RunKey
from colornet.archive.views import RUN


@dataclass(frozen=True)
class Occupant:
    """Another run, of which pictures lie in the output."""

    bundle_digest: str
    settings_digest: str
    pictures: int
    last: datetime
    """When the last of them was finished."""

    def __str__(self) -> str:
        """Say so."""
        run = f"bundle {self.bundle_digest[:12]} with settings {self.settings_digest[:12]}"
        return f"{self.pictures:,} pictures of another run ({run}, the last of {self.last:%Y-%m-%d %H:%M} UTC)"


def load(connection: duckdb.DuckDBPyConnection, run: RunKey) -> tuple[Occupant, ...]:
    """Make the table `occupied` of the places (`object`, an md5_number) where pictures of other runs lie.

    Args:
        connection: to a database with the views of `views.create`.
        run: the one that is asked for.

    Returns:
        The other runs with pictures in the output, the latest one last.
    """
    ours = f"bundle_digest = {literal(run.bundle_digest)} AND {RUN} = {literal(run.settings_digest)}"
    others = connection.execute(f"SELECT 1 FROM ledger WHERE status = 'done' AND NOT ({ours}) LIMIT 1").fetchall()
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE occupied AS
        SELECT md5_number(output_uri) AS object, arg_max(hash(bundle_digest, {RUN}), epoch_us(finished_at)) AS owner,
            max(epoch_us(finished_at)) AS last
        FROM ledger WHERE status = 'done' AND output_uri IS NOT NULL AND {bool(others)}
        GROUP BY object HAVING NOT arg_max({ours}, epoch_us(finished_at))
    """)
    found = connection.execute("""
        SELECT bundle_digest, settings_digest, count(*), max(occupied.last)
        FROM occupied JOIN runs ON owner = hash(bundle_digest, settings_digest) GROUP BY ALL ORDER BY 4
    """).fetchall()
    return tuple(
        Occupant(bundle, settings, count, datetime.fromtimestamp(last / 1e6, UTC))
        for bundle, settings, count, last in found
    )


def told(output: str, occupants: tuple[Occupant, ...]) -> str:
    """Say in a sentence what lies there."""
    return f"{output} holds {' and '.join(map(str, occupants))}"
