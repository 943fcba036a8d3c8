"""The photographs that a colorizer is measured on: held-out ones of training shards, or those of a folder.

Where there are shards, `val*.parquet` is measured; the others are the training set. Without any Parquet file all files
are taken for photographs, and screened as jobs.prepare does by default, so that a folder and the shards made of it hold
the same pictures.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from colornet.datasets.parquet import open_parquet
from colornet.datasets.photographs import crop
from colornet.datasets.screening import Screening, examine
from colornet.datasets.shards import HELD_OUT, TRAIN
from colornet.errors import ColornetError, NotFoundError, SettingsError, StorageError, one_line
from colornet.evaluation.kinds import kind_of
from colornet.storage import ObjectInfo, Storage

ITEMS = pa.schema(
    [
        pa.field("row", pa.int64()),  # position among all that are to be measured
        pa.field("photograph", pa.string()),  # name for people
        pa.field("uri", pa.string()),
        pa.field("row_group", pa.int32()),  # of a shard; null for files
        pa.field("place", pa.int32()),  # in the row group; null for files
        pa.field("source", pa.string()),  # where it is from, as its shard says; null where none does
        pa.field("kind", pa.string()),  # what it shows; see `kinds`
    ]
)
"""Which photograph, and where it lies."""

Item = dict[str, Any]
Photograph = NDArray[np.uint8]
"""(S, S, 3), sRGB: a photograph's central square."""


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a shard."""

    uri: str
    number: int
    rows: int
    sources: tuple[str | None, ...] = ()
    """Of each row, where that was asked for."""
    kinds: tuple[str | None, ...] = ()
    """The same."""


@dataclass(frozen=True)
class Found:
    """What there is at some places."""

    measured: tuple[RowGroup, ...]
    """Of the held-out photographs; empty for folders."""
    training: tuple[RowGroup, ...]
    """Of the training photographs, if there are any."""
    files: tuple[ObjectInfo, ...]
    """Of folders; empty for shards."""

    def items(self, kinds: Mapping[str, str] | None = None) -> pa.Table:
        """All that is to be measured, as a table of `ITEMS`.

        Args:
            kinds: by source, of photographs whose shard does not say their kind.

        Raises:
            SettingsError: if none of those has one of these sources; the message names it.
        """
        kinds = kinds or {}
        rows = list(_rows_of(self.measured, range(sum(group.rows for group in self.measured))))
        rows += [{"photograph": file.key, "uri": file.uri} for file in self.files]
        unknown = kinds.keys() - {row.get("source") for row in rows if not row.get("kind")}
        if unknown:
            raise SettingsError(f"kind: no photograph without a kind has the source {min(unknown)!r}")
        for number, row in enumerate(rows):
            row |= {"row": number, "kind": kind_of(row.get("kind"), row.get("source"), kinds)}
        return pa.Table.from_pylist(rows, ITEMS)

    def sample_training(self, count: int, seed: int = 0) -> pa.Table:
        """Choose up to `count` training photographs: a table of `ITEMS`, empty if there are none."""
        rows = sum(group.rows for group in self.training)
        chosen = np.random.default_rng(seed).choice(rows, min(count, rows), replace=False) if rows else np.arange(0)
        return pa.Table.from_pylist(list(_rows_of(self.training, np.sort(chosen).tolist())), ITEMS)


def find_all(places: Sequence[str], storage: Storage = Storage()) -> Found:
    """Look up the photographs at some places, as `find` does at each.

    Raises:
        SettingsError: also if a photograph would be measured twice.
    """
    found = [find(uri, storage) for uri in places]
    together = Found(
        tuple(group for each in found for group in each.measured),
        tuple(group for each in found for group in each.training),
        tuple(file for each in found for file in each.files),
    )
    groups = Counter((group.uri, group.number) for group in together.measured)
    groups.update((file.uri, 0) for file in together.files)
    (uri, _), count = groups.most_common(1)[0]
    if count > 1:
        raise SettingsError(f"data: {uri} is given twice")
    return together


def find(uri: str, storage: Storage = Storage()) -> Found:
    """Look up the photographs at a folder or s3:// prefix, or a single file.

    Raises:
        SettingsError: if there are none to be measured, or a Parquet file has no column `image`.
        StorageError: if the place cannot be read.
    """
    try:
        files = tuple(storage.listing(uri))
    except NotFoundError as error:
        raise SettingsError(str(error)) from error
    shards = [file for file in files if _name(file).endswith(".parquet") and "/_" not in f"/{file.key}"]
    if not shards:
        if not files:
            raise SettingsError(f"{uri}: there are no photographs")
        return Found((), (), files)
    held_out = [file.uri for file in shards if _name(file).startswith(HELD_OUT)]
    training = [file.uri for file in shards if _name(file).startswith(TRAIN)]
    found = Found(tuple(_row_groups(held_out, storage, described=True)), tuple(_row_groups(training, storage)), ())
    if not sum(group.rows for group in found.measured):
        raise SettingsError(f"{uri}: no held-out photographs (val*.parquet); jobs.prepare makes them with --held-out")
    return found


def sample(items: pa.Table, count: int, seed: int = 0) -> pa.Table:
    """Choose up to `count` rows, in their order; the same for the same seed."""
    if items.num_rows <= count:
        return items
    return items.take(np.sort(np.random.default_rng(seed).choice(items.num_rows, count, replace=False)))


def read(items: pa.Table, size: int, storage: Storage = Storage()) -> Iterator[tuple[Item, Photograph | str]]:
    """Yield each row of a table of `ITEMS` with its photograph, or with the reason why it cannot be read.

    Args:
        items: rows of one row group should stand together: it is read once for them.
        size: side S of the pictures in pixels.
        storage: with what they are reached.
    """
    for (uri, group), members in itertools.groupby(items.to_pylist(), lambda item: (item["uri"], item["row_group"])):
        wanted = list(members)
        try:
            places = [item["place"] for item in wanted]
            encoded = [_file(uri, storage)] if group is None else _rows(uri, group, places, storage)
        except ColornetError as error:
            yield from ((item, str(error)) for item in wanted)
            continue
        yield from zip(wanted, (_decode(data, size) for data in encoded), strict=True)


def _name(file: ObjectInfo) -> str:
    return file.uri.rpartition("/")[2]


def _row_groups(shards: Iterable[str], storage: Storage, *, described: bool = False) -> Iterator[RowGroup]:
    """Yield all row groups; `described` ones know the source and kind of each row."""
    for uri in shards:
        with open_parquet(uri, storage) as file:
            names = file.schema_arrow.names
            if "image" not in names:
                raise SettingsError(f"{uri}: no column `image`; its columns are {', '.join(names)}")
            told = [name for name in ("source", "kind") if described and name in names]
            for number in range(file.num_row_groups):
                texts = {f"{name}s": column for name, column in _texts(uri, file, number, told).items()}
                yield RowGroup(uri, number, file.metadata.row_group(number).num_rows, **texts)


def _texts(uri: str, file: pq.ParquetFile, group: int, names: list[str]) -> dict[str, tuple[str | None, ...]]:
    """Read columns of a row group as text, by name."""
    try:
        columns = file.read_row_group(group, columns=names).to_pydict() if names else {}
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"{uri}: row group {group}: {one_line(error)}") from error
    return {name: tuple(None if each is None else str(each) for each in column) for name, column in columns.items()}


def _rows_of(groups: tuple[RowGroup, ...], chosen: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield items of positions in the row groups, counted through; their kinds are those that the shards say."""
    ends = np.cumsum([group.rows for group in groups], dtype=np.int64)
    for row, position in enumerate(chosen):
        index = int(np.searchsorted(ends, position, side="right"))
        group, place = groups[index], position - (int(ends[index - 1]) if index else 0)
        yield {
            "row": row,
            "photograph": f"{group.uri.rpartition('/')[2]}, row group {group.number}, row {place}",
            "uri": group.uri,
            "row_group": group.number,
            "place": place,
            "source": group.sources[place] if group.sources else None,
            "kind": group.kinds[place] if group.kinds else None,
        }


def _file(uri: str, storage: Storage) -> bytes:
    return examine(storage.read(uri).data, Screening()).image


def _rows(uri: str, group: int, places: list[int], storage: Storage) -> list[bytes | None]:
    with open_parquet(uri, storage) as file:
        try:
            table = file.read_row_group(group, columns=["image"])
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(f"{uri}: row group {group}: {one_line(error)}") from error
    return table["image"].take(pa.array(places)).to_pylist()


def _decode(data: bytes | None, size: int) -> Photograph | str:
    """Cut the central square out, as training does with held-out photographs, or say why that cannot be."""
    try:
        return crop(data, size)
    except UnidentifiedImageError:  # its message has but an address
        return "unreadable: of no known format"
    except Exception as error:  # Pillow's decoders raise all kinds of exceptions for damaged files
        return f"unreadable: {one_line(error)}"
