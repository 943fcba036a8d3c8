"""Parquet files, local or on S3."""

import pyarrow as pa
import pyarrow.parquet as pq

from colornet.errors import StorageError, one_line
from colornet.storage import Storage


def open_parquet(uri: str, storage: Storage = Storage()) -> pq.ParquetFile:
    """Open a Parquet file, local or on S3; `StorageError` if it cannot be read."""
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        return pq.ParquetFile(path, filesystem=filesystem)
    except pa.ArrowInvalid as error:
        raise StorageError(f"{uri}: not a Parquet file: {one_line(error)}") from error
    except OSError as error:
        raise StorageError(f"{uri}: {one_line(error)}") from error
