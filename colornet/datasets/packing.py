"""Shards made small: photographs in modern encodings, at little more than the size that a training sees them at."""

import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from colornet.datasets.parquet import open_parquet
from colornet.datasets.parts import ENCODING, SCHEMA
from colornet.datasets.shards import HELD_OUT, ROW_GROUP, TRAIN
from colornet.errors import NotFoundError, SettingsError
from colornet.settings import Field, settings
from colornet.storage import Storage, uris

QUALITIES = (20, 95)
"""The lowest and the highest quality that is tried, as Pillow counts it."""
SAMPLE = 100
"""Photographs whose sizes tell what quality fits."""
_SAMPLE_TO_ALL = 0.98  # of the bytes: what the sample may take, since it is a sample

Row = dict[str, Any]


@settings
class Packing:
    """How photographs are packed."""

    short_side: Annotated[int, Field(ge=16)] = 192
    """Reduce photographs whose shorter side is longer than this, in pixels."""
    bytes: Annotated[float, Field(gt=0)] = 60e6
    """The shards are not to be larger than this, all together: the best quality that fits is taken."""
    format: Literal["webp", "avif"] = "webp"
    """webp is fast; avif keeps more in as many bytes, colour at its full resolution too, and takes longer."""


@dataclass(frozen=True)
class Packed:
    """Shards in memory."""

    shards: dict[str, bytes]
    """Parquet files by name."""
    quality: int
    photographs: int
    held_out: int
    left_out: int
    """Rows whose picture cannot be decoded."""

    @property
    def size(self) -> int:
        """Bytes of all shards together."""
        return sum(map(len, self.shards.values()))


def read_rows(places: Sequence[str], storage: Storage = Storage()) -> dict[str, list[Row]]:
    """Read all photographs into memory, as `TRAIN` and `HELD_OUT` to rows with the columns of shards.

    Args:
        places: Parquet files with a column `image`, or folders or s3:// prefixes of such. Those called `val*` are held
            out; those without this column, such as lists of what was rejected, are passed over.
        storage: with what they are reached.

    Raises:
        SettingsError: if there are no photographs to train with.
        StorageError: if a file cannot be read.
    """
    rows: dict[str, list[Row]] = {TRAIN: [], HELD_OUT: []}
    for uri in itertools.chain.from_iterable(_files(place, storage) for place in places):
        with open_parquet(uri, storage) as file:
            columns = [name for name in SCHEMA.names if name in file.schema_arrow.names]
            if "image" in columns:
                side = HELD_OUT if uris.name(uri).startswith("val") else TRAIN
                rows[side] += file.read(columns=columns).to_pylist()
    if not rows[TRAIN]:
        raise SettingsError(f"{', '.join(places)}: no training photographs (*.parquet with a column `image`)")
    return rows


def pack(rows: dict[str, list[Row]], packing: Packing) -> Packed:
    """Pack photographs at the best quality that fits; the same rows and packing give the same bytes.

    Args:
        rows: what `read_rows` returns.
        packing: how.

    Raises:
        SettingsError: if they are too large at the lowest quality.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        everything = [row for side in rows.values() for row in side]
        every = max(1, len(everything) // SAMPLE)
        sample = [picture for row in everything[::every] if (picture := _reduced(row["image"], packing.short_side))]
        share = len(sample) / len(everything) * packing.bytes * _SAMPLE_TO_ALL
        quality = _best_quality(lambda quality: sum(map(len, _encoded(pool, sample, packing, quality))), share)
        while True:
            packed = _pack(pool, rows, packing, quality)
            if packed.size <= packing.bytes:
                return packed
            if quality == QUALITIES[0]:
                raise SettingsError(
                    f"bytes: {len(everything)} photographs take {packed.size:,} bytes at the lowest quality, more "
                    f"than {packing.bytes:,.0f}: give a smaller --short-side than {packing.short_side}, or avif"
                )
            quality = max(QUALITIES[0], quality - 2)


def _files(place: str, storage: Storage) -> list[str]:
    try:
        found = list(storage.listing(place))
    except NotFoundError as error:
        raise SettingsError(str(error)) from error
    hidden = (any(part.startswith("_") for part in each.key.split("/")[:-1]) for each in found)
    return [each.uri for each, own in zip(found, hidden, strict=True) if each.uri.endswith(".parquet") and not own]


def _best_quality(size: Callable[[int], int], most: float) -> int:
    """Return the highest quality whose size fits, or the lowest that there is."""
    low, high = QUALITIES
    while low < high:
        middle = (low + high + 1) // 2
        if size(middle) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _pack(pool: ThreadPoolExecutor, rows: dict[str, list[Row]], packing: Packing, quality: int) -> Packed:
    def packed(row: Row) -> Row | None:
        picture = _reduced(row["image"], packing.short_side)
        if picture is None:
            return None
        size = {"width": picture.width, "height": picture.height}
        return {"kind": "", **row, **size, "image": _encode(picture, packing, quality)}

    kept = {side: [row for row in pool.map(packed, each) if row is not None] for side, each in rows.items()}
    shards = {f"{side}-00000.parquet": _shard(each) for side, each in kept.items() if each}
    counts = {side: len(each) for side, each in kept.items()}
    left_out = sum(map(len, rows.values())) - sum(counts.values())
    return Packed(shards, quality, counts[TRAIN], counts[HELD_OUT], left_out)


def _shard(rows: list[Row]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), target, row_group_size=ROW_GROUP, **ENCODING)
    return target.getvalue()


def _encoded(pool: ThreadPoolExecutor, pictures: list[Image.Image], packing: Packing, quality: int) -> Iterator[bytes]:
    return pool.map(lambda picture: _encode(picture, packing, quality), pictures)


def _reduced(data: bytes | None, short_side: int) -> Image.Image | None:
    """Decode a photograph and reduce it; None if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data or b"")) as encoded:
            picture = ImageOps.exif_transpose(encoded).convert("RGB")
    except Exception:  # Pillow's decoders raise all kinds of exceptions for damaged files
        return None
    scale = short_side / min(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _encode(picture: Image.Image, packing: Packing, quality: int) -> bytes:
    target = io.BytesIO()
    options: dict[str, Any] = {"subsampling": "4:4:4", "speed": 6} if packing.format == "avif" else {"method": 4}
    picture.save(target, packing.format.upper(), quality=quality, **options)
    return target.getvalue()
