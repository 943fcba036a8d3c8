"""How sure the generator was of an archive's colours, in brief. Pictures of which it did not say so do not count."""

from dataclasses import dataclass

import duckdb


@dataclass(frozen=True)
class Quartiles:
    """A quarter of the pictures has less confidence than `lower`, half of them less than `median`, and so on."""

    lower: float
    median: float
    upper: float


def quartiles(connection: duckdb.DuckDBPyConnection, rows: str) -> Quartiles | None:
    """Estimate the quartiles of the column `confidence` of a table or subquery; None if there is none in it."""
    query = f"SELECT approx_quantile(confidence, [0.25, 0.5, 0.75]) FROM {rows}"
    ((found,),) = connection.execute(query).fetchall()
    return None if found is None else Quartiles(*found)
