"""DuckDB as the archive uses it: bounded memory that spills into a folder, and nothing fetched from anywhere."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from colornet.errors import StorageError, one_line

MEMORY = "1GB"
"""Of DuckDB itself. What Arrow reads ahead for it comes on top."""
THREADS = 8
"""More threads need more memory, and do not make a plan faster."""


@contextlib.contextmanager
def database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database for the length of the block; what exceeds its memory goes into `folder`.

    Raises:
        StorageError: in place of any error of DuckDB: the disk is full, or a file is damaged.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(folder / "spilled"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")
            connection.execute(f"SET threads = least({THREADS}, current_setting('threads'))")
            yield connection
    except duckdb.Error as error:
        raise StorageError(f"DuckDB in {folder}: {one_line(error)}") from error


def literal(text: str) -> str:
    """Return the text as a string of SQL, for the statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"
