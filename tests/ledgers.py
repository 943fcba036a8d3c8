"""What tests ask of ledgers."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset

from colornet.archive import ledger, views
from colornet.archive.database import database


def current_rows(output: str, run: ledger.RunKey) -> pa.Table:
    """The current rows of a small ledger, of ledger.SCHEMA, sorted by source_uri."""
    query = f"SELECT {', '.join(ledger.SCHEMA.names)} FROM current ORDER BY source_uri"

    def find(rows: pyarrow.dataset.Dataset) -> pa.Table:
        views.create(connection, rows, output, run)
        return connection.sql(query).to_arrow_table().cast(ledger.SCHEMA)

    with tempfile.TemporaryDirectory() as folder, database(Path(folder)) as connection:
        return ledger.ask(output, find)
