"""The photographs of a run: which shards there are, and what is in them.

Shards are Parquet files with a column `image` (JPEG or PNG bytes, sRGB) and perhaps `source` and `license`. Files named
`val*.parquet` are held out. The others are for training, except for `rejected.parquet`, where jobs.prepare lists the
files that it rejected.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from colornet.datasets.parquet import open_parquet
from colornet.errors import NotFoundError, SettingsError
from colornet.storage import Storage

FILES_AT_ONCE = 16
"""Files whose footers are read at the same time."""


@dataclass(frozen=True)
class Shard:
    """One Parquet file of photographs."""

    uri: str
    row_groups: tuple[int, ...]
    """Rows of each row group."""
    sources: tuple[tuple[str, int], ...] = ()
    """Where the photographs come from, and how many from each; empty if the file has no such column."""
    licenses: tuple[tuple[str, int], ...] = ()
    """The licences of the photographs, and how many have each; empty if the file has no such column."""

    @property
    def rows(self) -> int:
        """All rows of the file."""
        return sum(self.row_groups)


@dataclass(frozen=True)
class Collection:
    """The shards of a run."""

    train: tuple[Shard, ...]
    held_out: tuple[Shard, ...]

    def summary(self) -> dict[str, object]:
        """Return, for the bundle: the counts of training and held-out photographs, and those by source and licence."""
        return {
            "photographs": sum(shard.rows for shard in self.train),
            "held_out": sum(shard.rows for shard in self.held_out),
            "sources": _total(shard.sources for shard in self.train),
            "licenses": _total(shard.licenses for shard in self.train),
        }


def find(uri: str, validation: str | None = None, storage: Storage = Storage()) -> Collection:
    """Find the shards at a folder or s3:// prefix, and read what is in them.

    Args:
        uri: where the training photographs are; `val*.parquet` there are the held-out ones.
        validation: take the held-out photographs from here instead: its `val*.parquet`, or all files if it has none.
        storage: with what they are reached.

    Raises:
        SettingsError: if there are no photographs to train with or to hold out, or a file has no column `image`.
        StorageError: if a place cannot be read.
    """
    train, held_out = _parquet_files(uri, storage)
    if validation is not None:
        others, held_out = _parquet_files(validation, storage)
        held_out = held_out or others
    inspect = functools.partial(_inspect, storage)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found = Collection(tuple(pool.map(inspect, train)), tuple(pool.map(inspect, held_out)))
    if not sum(shard.rows for shard in found.train):
        raise SettingsError(f"{uri}: no training photographs (*.parquet); make them with `python -m jobs.prepare`")
    if not sum(shard.rows for shard in found.held_out):
        raise SettingsError(
            f"{validation or uri}: no held-out photographs (val*.parquet); make the shards with "
            "`python -m jobs.prepare`, or name a place that has some with --validation"
        )
    return found


def _parquet_files(uri: str, storage: Storage) -> tuple[list[str], list[str]]:
    """Return the uris of the training and the held-out files at a place, without those in folders like `_colornet`."""
    try:
        keys = {found.key: found.uri for found in storage.listing(uri) if found.uri.endswith(".parquet")}
    except NotFoundError as error:
        raise SettingsError(str(error)) from error
    files = [file for key, file in keys.items() if not any(part.startswith("_") for part in key.split("/")[:-1])]
    held_out = [file for file in files if _name(file).startswith("val")]
    train = [file for file in files if _name(file).startswith("train")]
    return train or [file for file in files if file not in set(held_out)], held_out


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _inspect(storage: Storage, uri: str) -> Shard:
    with open_parquet(uri, storage) as file:
        names = file.schema_arrow.names
        if "image" not in names:
            raise SettingsError(f"{uri}: no column `image`; its columns are {', '.join(names)}")
        groups = tuple(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
        told = [name for name in ("source", "license") if name in names]
        table = file.read(columns=told) if told else {}
        sources, licenses = (_tally(table[name]) if name in told else () for name in ("source", "license"))
    return Shard(uri, groups, sources, licenses)


def _tally(column: pa.ChunkedArray) -> tuple[tuple[str, int], ...]:
    counts = column.value_counts().to_pylist()
    return tuple((str(each["values"]), each["counts"]) for each in counts if each["values"] is not None)


def _total(tallies: Iterator[tuple[tuple[str, int], ...]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(dict(tally))
    return dict(total.most_common())
