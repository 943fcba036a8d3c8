"""Reads training photographs: decoded, cropped and shuffled.

PyTorch is not imported here, and so not torchvision either: it takes seconds in each process that reads.
"""

import io
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from colornet.datasets.collection import Shard
from colornet.datasets.parquet import open_parquet
from colornet.datasets.plan import GROUP, Plan
from colornet.errors import ScanError, StorageError
from colornet.storage import Storage

Rows = np.ndarray
"""Photographs, (N, S, S, 3), sRGB uint8."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """Reads the groups of a stage: a callable for `map_batches` of Ray Data."""

    plan: Plan
    image_size: int
    """Side of the crops, pixels."""
    min_crop_scale: float = 1.0
    """Smallest crop, as a share of a photograph's shorter side."""
    storage: Storage = Storage()
    """With what the shards are reached."""

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, Rows]]:
        """Yield a batch for each group number in the column `item`, with its photographs in the column `image`."""
        for number in batch["item"]:
            yield {"image": self._read(int(number))}

    def _read(self, number: int) -> Rows:
        return read_group(self.plan, number, self.image_size, self.min_crop_scale, self.storage)


def read_group(
    plan: Plan, number: int, image_size: int, min_crop_scale: float = 1.0, storage: Storage = Storage()
) -> Rows:
    """Read one group of a plan, with random crops and flips, shuffled. Every call returns the same.

    Photographs that cannot be decoded are counted in the log, and replaced by others of the group.

    Returns:
        (GROUP, image_size, image_size, 3), sRGB uint8.

    Raises:
        StorageError: if a file cannot be read, or none of the photographs can be decoded.
    """
    pieces = plan.group(number)
    rows: list[np.ndarray] = []
    for place, piece in enumerate(pieces):
        images = _images(piece.uri, piece.row_group, piece.rows, storage)
        random = np.random.default_rng((plan.seed, 2, number, place))
        rows += _decode(images, image_size, piece.uri, random, min_crop_scale)
    if not rows:
        raise StorageError(f"{pieces[0].uri}: none of {GROUP} photographs, here and in other files, can be decoded")
    np.random.default_rng((plan.seed, 1, number)).shuffle(rows)
    return np.stack([rows[place % len(rows)] for place in range(GROUP)])


def read_held_out(shards: tuple[Shard, ...], image_size: int, limit: int, storage: Storage = Storage()) -> Rows:
    """Read the central crops of the first `limit` held-out photographs that can be decoded, in the order of the shards.

    Raises:
        StorageError: if a file cannot be read, or none of the photographs can be decoded.
    """
    decoded = (
        row
        for shard in shards
        for row_group, count in enumerate(shard.row_groups)
        for row in _decode(_images(shard.uri, row_group, range(count), storage), image_size, shard.uri, None)
    )
    rows = list(itertools.islice(decoded, limit))
    if not rows:
        raise StorageError(f"{shards[0].uri}: none of the held-out photographs can be decoded")
    return np.stack(rows)


def _decode(
    images: Iterator[bytes | None],
    image_size: int,
    uri: str,
    random: np.random.Generator | None,
    min_crop_scale: float = 1.0,
) -> Iterator[np.ndarray]:
    """Yield the crops of the photographs that can be decoded, and log how many cannot."""
    reasons = []
    for data in images:
        try:
            yield crop(data, image_size, random, min_crop_scale)
        except Exception as error:  # Pillow's decoders raise all kinds of exceptions for damaged files
            unknown = isinstance(error, UnidentifiedImageError)  # its message is the address of a buffer
            reasons.append("of no known format" if unknown else str(error) or type(error).__name__)
    if reasons:
        _log.warning("%s: %d photographs are left out, the first: %s", uri, len(reasons), " ".join(reasons[0].split()))


def _images(uri: str, row_group: int, rows: Sequence[int], storage: Storage) -> Iterator[bytes | None]:
    """Yield the encoded photographs of some rows of a row group, whose numbers rise."""
    first, last, wanted = rows[0], rows[-1], np.array(rows)
    position = 0
    try:
        with open_parquet(uri, storage) as file:
            # A batch ends about where the slice ends, so that few rows after it are read.
            for batch in file.iter_batches(batch_size=last + 1 - first, row_groups=[row_group], columns=["image"]):
                here = wanted[(wanted >= position) & (wanted < position + len(batch))]
                yield from batch.column(0).take(here - position).to_pylist()
                position += len(batch)
                if position > last:
                    return
    except OSError as error:  # pyarrow's own errors about damaged files are OSErrors or ValueErrors
        raise StorageError(f"{uri}: row group {row_group}: {error}") from error


def crop(
    data: bytes | None, image_size: int, random: np.random.Generator | None = None, least: float = 1.0
) -> np.ndarray:
    """Decode a photograph, crop it to a square, at random or centrally, and resize it.

    Args:
        data: an encoded picture that Pillow can read.
        image_size: S, pixels.
        random: decides on the crop, and on a horizontal flip; without it the crop is the largest central square.
        least: side of the smallest random crop, as a share of the shorter side; 1 for the whole side.

    Returns:
        (S, S, 3), sRGB uint8.

    Raises:
        Exception: of any kind, as Pillow's decoders do for damaged files.
    """
    if not data:
        raise ScanError("empty")
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
