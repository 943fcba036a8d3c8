"""Training photographs: which there are, in what order they are seen, and how they are read.

Shards are Parquet files with a column `image` (JPEG or PNG bytes, sRGB) and perhaps `source` and `license`. Files named
`val*.parquet` hold the photographs that are held out; all others train, but for `rejected.parquet`, which lists what
jobs.prepare did not take.

A pass boundary costs a streaming data set several seconds, so a stage of a run is one stream: a `Plan` is an endless
row of groups of photographs, and any group can be read by itself, by any process, with the same result. All groups have
one size, so that where a run stands in its stream can be told by counting, and it goes on at the very next photograph.

There is no PyTorch in here: the processes that read need not load it, which takes seconds in each.
"""

import functools
import io
import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps, UnidentifiedImageError

from colornet.errors import NotFoundError, SettingsError, StorageError, one_line
from colornet.storage import Storage

GROUP = 256
"""So many photographs are read together and shuffled among themselves."""
SLICE = 64
"""Row groups of more rows than this are read in slices, so that a group mixes photographs from several places."""
SLICES = 4
"""At most so many slices a row group, because reading one means going through those before it."""
FILES_AT_ONCE = 16
"""Files whose footers are read at the same time."""

Rows = np.ndarray
"""Photographs, (N, S, S, 3), sRGB uint8."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """One Parquet file of photographs."""

    uri: str
    row_groups: tuple[int, ...]
    """Rows of each row group."""
    sources: tuple[tuple[str, int], ...] = ()
    """Where the photographs come from, and how many from each; empty if the file does not say."""
    licenses: tuple[tuple[str, int], ...] = ()
    """Under what licences they are, and how many under each; empty if the file does not say."""

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
        """Counts for the bundle: photographs that train, with sources and licences, and that are held out."""
        return {
            "photographs": sum(shard.rows for shard in self.train),
            "held_out": sum(shard.rows for shard in self.held_out),
            "sources": _total(shard.sources for shard in self.train),
            "licenses": _total(shard.licenses for shard in self.train),
        }


def find(uri: str, validation: str | None = None, storage: Storage = Storage()) -> Collection:
    """Look up the shards at a folder or s3:// prefix, and what is in them.

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


@dataclass(frozen=True)
class Slice:
    """Some rows of a row group, in one of the passes over all photographs."""

    uri: str
    row_group: int
    start: int
    stop: int
    pass_number: int


class Plan:
    """The order in which a run sees its photographs: pass after pass over all slices, each pass in an order of its own.

    That row of photographs is cut into groups of `GROUP`, numbered from 0 without end. A plan is small, depends on
    nothing but its arguments, and can be pickled.
    """

    def __init__(self, shards: tuple[Shard, ...], seed: int) -> None:
        """Plan for shards with at least one row."""
        self.seed = seed
        self._slices = [
            (shard.uri, row_group, start, stop)
            for shard in shards
            for row_group, rows in enumerate(shard.row_groups)
            for start, stop in _cut(rows)
        ]
        self._sizes = tuple(stop - start for _, _, start, stop in self._slices)
        self._rows = sum(self._sizes)

    def group(self, number: int) -> list[Slice]:
        """Return what one group is made of; its first and its last slice may be parts of longer ones."""
        pieces, place, missing = [], number * GROUP, GROUP
        while missing:
            piece = self._from(place, missing)
            pieces.append(piece)
            place, missing = place + piece.stop - piece.start, missing - (piece.stop - piece.start)
        return pieces

    def _from(self, place: int, most: int) -> Slice:
        """Return up to `most` photographs from a place in the endless row, all of one slice."""
        pass_number, row = divmod(place, self._rows)
        order, ends = _order(self._sizes, self.seed, pass_number)
        position = int(np.searchsorted(ends, row, side="right"))
        uri, row_group, _, stop = self._slices[order[position]]
        first = stop - (int(ends[position]) - row)
        return Slice(uri, row_group, first, min(stop, first + most), pass_number)


@dataclass(frozen=True)
class Reader:
    """A stage: batches of group numbers in, their photographs out."""

    plan: Plan
    image_size: int
    """Side of the crops, pixels."""
    min_crop_scale: float = 1.0
    """Smallest crop, as a share of a photograph's shorter side."""
    storage: Storage = Storage()
    """With what the process that reads reaches the shards."""

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, Rows]]:
        """Yield for each number in the column `item` a batch with the group's photographs in the column `image`."""
        for number in batch["item"]:
            yield {"image": self._read(int(number))}

    def _read(self, number: int) -> Rows:
        return read_group(self.plan, number, self.image_size, self.min_crop_scale, self.storage)


def read_group(
    plan: Plan, number: int, image_size: int, min_crop_scale: float = 1.0, storage: Storage = Storage()
) -> Rows:
    """Read one group of a plan: decoded, cropped at random, flipped at random, shuffled; the same at every call.

    Photographs that cannot be decoded are counted in the log, and others of the group stand in for them.

    Returns:
        (GROUP, image_size, image_size, 3), sRGB uint8.

    Raises:
        StorageError: if a file cannot be read, or none of the photographs can be decoded.
    """
    pieces = plan.group(number)
    rows: list[np.ndarray] = []
    for place, piece in enumerate(pieces):
        images = _images(piece.uri, piece.row_group, piece.start, piece.stop, storage)
        random = np.random.default_rng((plan.seed, 2, number, place))
        rows += _decode(images, image_size, piece.uri, random, min_crop_scale)
    if not rows:
        raise StorageError(f"{pieces[0].uri}: none of {GROUP} photographs, here and in other files, can be decoded")
    np.random.default_rng((plan.seed, 1, number)).shuffle(rows)
    return np.stack([rows[place % len(rows)] for place in range(GROUP)])


def read_held_out(shards: tuple[Shard, ...], image_size: int, limit: int, storage: Storage = Storage()) -> Rows:
    """Read the first `limit` held-out photographs that can be decoded, as central crops, in the order of the shards.

    Raises:
        StorageError: if a file cannot be read, or none of the photographs can be decoded.
    """
    decoded = (
        row
        for shard in shards
        for row_group, count in enumerate(shard.row_groups)
        for row in _decode(_images(shard.uri, row_group, 0, count, storage), image_size, shard.uri, None)
    )
    rows = list(itertools.islice(decoded, limit))
    if not rows:
        raise StorageError(f"{shards[0].uri}: none of the held-out photographs can be decoded")
    return np.stack(rows)


def open_shard(uri: str, storage: Storage = Storage()) -> pq.ParquetFile:
    """Open a Parquet file, local or on S3; `StorageError` if it cannot be read."""
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        return pq.ParquetFile(path, filesystem=filesystem)
    except pa.ArrowInvalid as error:
        raise StorageError(f"{uri}: not a Parquet file: {one_line(error)}") from error
    except OSError as error:
        raise StorageError(f"{uri}: {one_line(error)}") from error


# --- finding ----------------------------------------------------------------------------------------------------------


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
    with open_shard(uri, storage) as file:
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


# --- planning ---------------------------------------------------------------------------------------------------------


def _cut(rows: int) -> list[tuple[int, int]]:
    """Cut a row group into equal slices, as (start, stop)."""
    count = min(SLICES, max(1, rows // SLICE))
    bounds = [rows * number // count for number in range(count + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if start < stop]


@functools.lru_cache(maxsize=4)
def _order(sizes: tuple[int, ...], seed: int, pass_number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the slices of a pass by their index, in its order, and after how many photographs each of them ends."""
    order = np.random.default_rng((seed, 0, pass_number)).permutation(len(sizes))
    return order, np.cumsum(np.array(sizes)[order])


# --- reading ----------------------------------------------------------------------------------------------------------


def _decode(
    images: Iterator[bytes | None],
    image_size: int,
    uri: str,
    random: np.random.Generator | None,
    min_crop_scale: float = 1.0,
) -> Iterator[np.ndarray]:
    """Yield the crops of those photographs that can be decoded, and log how many cannot."""
    reasons = []
    for data in images:
        try:
            yield crop(data, image_size, random, min_crop_scale)
        except Exception as error:  # Pillow's decoders raise all kinds of exceptions for damaged files
            unknown = isinstance(error, UnidentifiedImageError)  # whose message has but an address
            reasons.append("of no known format" if unknown else str(error) or type(error).__name__)
    if reasons:
        _log.warning("%s: %d photographs are left out, the first: %s", uri, len(reasons), " ".join(reasons[0].split()))


def _images(uri: str, row_group: int, start: int, stop: int, storage: Storage) -> Iterator[bytes | None]:
    """Yield the encoded photographs of some rows of a row group."""
    position = 0
    try:
        with open_shard(uri, storage) as file:
            # Batches end with the slice, so that nothing behind it is decoded.
            for batch in file.iter_batches(batch_size=max(1, stop - start), row_groups=[row_group], columns=["image"]):
                column = batch.column(0)
                yield from column[max(0, start - position) : max(0, stop - position)].to_pylist()
                position += len(column)
                if position >= stop:
                    return
    except OSError as error:  # pyarrow's own errors about damaged files are OSErrors or ValueErrors
        raise StorageError(f"{uri}: row group {row_group}: {error}") from error


def crop(
    data: bytes | None, image_size: int, random: np.random.Generator | None = None, least: float = 1.0
) -> np.ndarray:
    """Decode a photograph, cut out a square at random, perhaps mirrored, or the largest in its middle, and make it fit.

    Args:
        data: of a picture that Pillow can read.
        image_size: S, pixels.
        random: decides; without it the square is the largest in the middle.
        least: the smallest square that may be drawn, as a share of the shorter side; 1 for the whole side.

    Returns:
        (S, S, 3), sRGB uint8.

    Raises:
        Exception: of any kind, as Pillow's decoders do for damaged files.
    """
    if not data:
        raise ValueError("empty")
    with Image.open(io.BytesIO(data)) as encoded:
        enough = math.ceil(image_size / least)
        encoded.draft("RGB", (enough, enough))  # JPEG can be decoded at a fraction of its size
        picture = ImageOps.exif_transpose(encoded).convert("RGB")
    side = min(picture.size)
    if random and least < 1:
        side = max(1, round(side * random.uniform(least, 1)))
    room = (picture.width - side, picture.height - side)
    left, top = (int(random.integers(0, each + 1)) if random else each // 2 for each in room)
    box = (left, top, left + side, top + side)
    if (side, side) != picture.size or side != image_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    if random and random.integers(0, 2):
        picture = ImageOps.mirror(picture)
    return np.asarray(picture)
