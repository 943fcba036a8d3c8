"""The photographs of a run: which shards there are, and what is in them.

Shards are Parquet files with a column `image` (JPEG or PNG bytes, sRGB) and perhaps `source`, `license` and `kind`.
Files named `val*.parquet` are held out. The others are for training, except for `rejected.parquet`, where jobs.prepare
lists the files that it rejected.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from colornet.datasets.parquet import open_parquet
from colornet.datasets.sampling import Sampling
from colornet.errors import NotFoundError, SettingsError
from colornet.storage import Storage

_TALLIED = ("source", "license", "kind")
"""Columns whose values are counted."""
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
    kinds: tuple[tuple[str, int], ...] = ()
    """What the photographs show, and how many show it; empty if the file has no such column."""
    columns: tuple[str, ...] = ()
    """What is told of a photograph, by name."""
    weights: tuple[float, ...] = ()
    """Of each row: how often it is drawn, next to the others; empty if all are drawn alike."""
    labels: tuple[str, ...] = ()
    """Of each row: its kind, or its source where no kind is told; empty if all are drawn alike."""

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
            "kinds": _total(shard.kinds for shard in self.train),
        }


def find(
    uri: str, validation: str | None = None, storage: Storage = Storage(), sampling: Sampling | None = None
) -> Collection:
    """Find the shards at a folder or s3:// prefix, and read what is in them.

    Args:
        uri: where the training photographs are; `val*.parquet` there are the held-out ones.
        validation: take the held-out photographs from here instead: its `val*.parquet`, or all files if it has none.
        storage: with what they are reached.
        sampling: how often training photographs are drawn; all alike, unless given.

    Raises:
        SettingsError: if there are no photographs to train with or to hold out, a file has no column `image`, or the
            sampling names a column that no file has, or leaves nothing to train with.
        StorageError: if a place cannot be read.
    """
    train, held_out = _parquet_files(uri, storage)
    if validation is not None:
        others, held_out = _parquet_files(validation, storage)
        held_out = held_out or others
    sampling = sampling or Sampling()
    weighed = functools.partial(_inspect, storage, sampling)
    inspect = functools.partial(_inspect, storage, Sampling())
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found = Collection(tuple(pool.map(weighed, train)), tuple(pool.map(inspect, held_out)))
    if not sum(shard.rows for shard in found.train):
        raise SettingsError(f"{uri}: no training photographs (*.parquet); make them with `python -m jobs.prepare`")
    if not sum(shard.rows for shard in found.held_out):
        raise SettingsError(
            f"{validation or uri}: no held-out photographs (val*.parquet); make the shards with "
            "`python -m jobs.prepare`, or name a place that has some with --validation"
        )
    for column in sampling.columns:
        if not any(column in shard.columns for shard in found.train):
            raise SettingsError(f"{uri}: sampling: no shard has a column {column!r}")
    if all(shard.weights and not any(shard.weights) for shard in found.train):
        raise SettingsError(f"{uri}: sampling: all photographs have a weight of 0")
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


def _inspect(storage: Storage, sampling: Sampling, uri: str) -> Shard:
    with open_parquet(uri, storage) as file:
        names = file.schema_arrow.names
        if "image" not in names:
            raise SettingsError(f"{uri}: no column `image`; its columns are {', '.join(names)}")
        groups = tuple(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
        told = [name for name in dict.fromkeys((*_TALLIED, *sampling.columns)) if name in names]
        table = file.read(columns=told)
    sources, licenses, kinds = (_tally(table[name]) if name in told else () for name in _TALLIED)
    shard = Shard(uri, groups, sources, licenses, kinds, tuple(names))
    if not sampling.columns:
        return shard
    return replace(shard, weights=tuple(sampling.weigh(table)), labels=tuple(_labels(table)))


def _labels(table: pa.Table) -> Iterator[str]:
    columns = [table[name].to_pylist() for name in ("kind", "source") if name in table.column_names]
    columns.append(["other"] * table.num_rows)
    return (next(str(value) for value in values if value) for values in zip(*columns, strict=True))


def _tally(column: pa.ChunkedArray) -> tuple[tuple[str, int], ...]:
    counts = column.value_counts().to_pylist()
    return tuple((str(each["values"]), each["counts"]) for each in counts if each["values"] is not None)


def _total(tallies: Iterator[tuple[tuple[str, int], ...]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(dict(tally))
    return dict(total.most_common())
