"""The inventory: what is to be done. A listing of an archive, or a Parquet file that names its scans."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colornet import storage
from colornet.errors import NotFoundError, SettingsError, StorageError

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_size", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("key", pa.string(), nullable=False),
    ]
)
ROW_GROUP = 65_536
"""Rows of a row group in the files that inventories and plans are written to."""


def write_inventory(source: str, place: Path) -> int:
    """Write what an archive holds into the Parquet file `place`; returns the number of scans."""
    table = read_inventory(source)
    pq.write_table(table, place, row_group_size=ROW_GROUP)
    return table.num_rows


def read_inventory(source: str) -> pa.Table:
    """Say what an archive holds.

    Args:
        source: a folder or s3:// prefix, listed recursively; one file of it; or a Parquet file with a column
            `source_uri` (or `uri`) and, optionally, `key`, `source_size` and `source_version`.

    Returns:
        A table of SCHEMA. `key` is the place of the output below the output's root: that of the source below the
        archive's root, or, in a Parquet inventory without keys, the whole path of the source.

    Raises:
        SettingsError: if there is nothing there, or a Parquet file is no inventory.
        StorageError: if the place cannot be listed.
    """
    if source.endswith(".parquet"):
        return _from_parquet(source)
    try:
        found = list(storage.listing(source))
    except NotFoundError as error:
        raise SettingsError(f"there is no archive at {source}") from error
    if not found:
        raise SettingsError(f"there are no files in {source}")
    columns = [
        [item.uri for item in found],
        [item.size for item in found],
        [item.version for item in found],
        [item.key for item in found],
    ]
    return pa.table(columns, schema=SCHEMA)


def _from_parquet(source: str) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(storage.read(source).data))
    except NotFoundError as error:
        raise SettingsError(f"there is no inventory at {source}") from error
    except pa.ArrowException as error:
        raise SettingsError(f"{source} is not a Parquet file: {error}") from error
    rows = [_complete(row, source) for row in table.to_pylist()]
    if not rows:
        raise SettingsError(f"the inventory {source} is empty")
    try:
        return pa.Table.from_pylist(rows, SCHEMA)
    except pa.ArrowException as error:
        raise SettingsError(f"{source} is no inventory: {error}") from error


def _complete(row: dict[str, object], source: str) -> dict[str, object]:
    """Fill a row of a Parquet inventory up to SCHEMA. Size and version stay null where the owner did not give them."""
    named = row.get("source_uri") or row.get("uri")
    if not isinstance(named, str):
        raise SettingsError(f"{source} is no inventory: it has no column source_uri, or a row without one")
    uri = storage.normalize(named)
    key = row.get("key") or uri.removeprefix("s3://").lstrip("/")
    try:
        storage.join("/", str(key))
    except StorageError as error:
        raise SettingsError(f"{source} has a key that is no place below the output: {key!r}") from error
    return {
        "source_uri": uri,
        "source_size": row.get("source_size"),
        "source_version": row.get("source_version"),
        "key": key,
    }
