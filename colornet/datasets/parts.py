"""The first step from files to shards: screened photographs, in parts.

`Screen` is a callable over a table, as `map_batches` of Ray Data takes it. It reads some rows of the listing, screens
their files, and stores the photographs in a *part*, a Parquet file whose name does not end in .parquet, so that no
training reads it. It returns a *manifest*: for each file, whether it was rejected and why, or where its photograph is.

A part that exists is not made again, so that a job that is restarted continues where it stopped.
"""

import functools
import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colornet.datasets import sources
from colornet.datasets.parquet import open_parquet
from colornet.datasets.screening import Photograph, RejectedError, Screening, examine
from colornet.errors import ColornetError, NotFoundError
from colornet.storage import Storage, uris

MAX_FILE_BYTES = 256_000_000
"""Larger files are rejected before they are fetched, because several are in memory at once."""
FETCH_THREADS = 8
"""Files that a worker fetches at the same time, and that it holds at the same time before they are screened."""
NOT_FETCHED = "not fetched"
"""Category of files that could not be fetched. Unlike other reasons, it may not occur the next time."""

SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary()),  # encoded: JPEG; shapes are PNG
        pa.field("name", pa.string()),  # place relative to the input
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),  # pixels
        pa.field("kind", pa.string()),  # of what it shows: scene, people, …; of shape; empty if nobody said
    ]
)
"""Columns of a shard."""

MANIFEST = pa.schema(
    [
        pa.field("row", pa.int64()),  # position in the listing
        pa.field("uri", pa.string()),
        pa.field("digest", pa.binary()),  # SHA-256 of the file as found; null if it was rejected
        pa.field("reason", pa.string()),  # why it was rejected; null if it was kept
        pa.field("bytes", pa.int64()),  # of the photograph; 0 if rejected
        pa.field("gray", pa.string()),  # why it is nearly gray; null if it is not
        pa.field("kind", pa.string()),  # as in the shard
        pa.field("part", pa.string()),  # uri of the part
        pa.field("place", pa.int32()),  # row in the part
    ]
)
"""Columns of a manifest: a row for each file."""

PART = pa.unify_schemas([SCHEMA, MANIFEST])
"""Columns of a part."""
PART_ROW_GROUP = 16
"""Photographs of one row group of a part."""

ENCODING: dict[str, Any] = {
    "compression": {name: "none" if name == "image" else "zstd" for name in PART.names},
    "use_dictionary": ["source", "license", "kind"],
    "write_statistics": False,
}
"""How parts and shards are written: photographs are compressed already, and the texts beside them repeat."""

Row = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Work:
    """The settings of `Screen`. Small, and plain data: every worker gets them."""

    parts: str
    """Folder or prefix for the parts; another one for other settings or input."""
    screening: Screening
    """Which photographs are kept, and at what size."""
    license: str
    """What to write in the column `license`."""
    kind: str = ""
    """What to write in the column `kind`."""
    kind_from_folder: bool = False
    """Write there the name of the folder of the input that a photograph lies in, where it lies in one."""
    storage: Storage = Storage()
    """With what files and parts are reached."""


class Screen:
    """Screens some rows of the listing, stores their photographs in a part, and returns their manifest."""

    def __init__(self, work: Work) -> None:
        """Prepare a callable that can be pickled."""
        self.work = work

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Screen a table of `sources.SCHEMA`, contiguous rows of the listing; returns a table of `MANIFEST`.

        Raises:
            StorageError: if the part cannot be stored.
        """
        first = batch["row"][0].as_py()
        part = uris.join(self.work.parts, f"{first:010d}-{batch.num_rows:06d}.part")
        manifest = _read_manifest(part, self.work.storage)
        if manifest is None:
            manifest = self._make(part, batch)
        return manifest

    def _make(self, part: str, batch: pa.Table) -> pa.Table:
        rows = [self._row(item, data) for item, data in _fetched(batch.to_pylist(), self.work.storage)]
        # Photographs with low digests are held out. Sorted, they are neighbours, and their shards are written without
        # reading the others.
        rows.sort(key=lambda row: row.get("digest") or b"")
        for place, row in enumerate(rows):
            row |= {"part": part, "place": place}
        table = pa.Table.from_pylist(rows, PART)
        self.work.storage.write(part, _encode(table), "application/vnd.apache.parquet")
        return table.select(MANIFEST.names)

    def _row(self, item: Row, data: bytes | ColornetError) -> Row:
        row: Row = {**item, "bytes": 0, "kind": self._kind(item), "license": self.work.license}
        try:
            digest, photograph, shape = self._photograph(item, data)
        except ColornetError as error:
            return row | {"reason": _reason(error)}
        size = {"width": photograph.width, "height": photograph.height, "bytes": len(photograph.image)}
        found = {"image": photograph.image, "digest": digest, "gray": photograph.gray, "kind": shape or row["kind"]}
        return row | size | found

    def _kind(self, item: Row) -> str:
        folder, inside, _ = item["name"].partition("/")
        return folder if self.work.kind_from_folder and inside else self.work.kind

    def _photograph(self, item: Row, data: bytes | ColornetError) -> tuple[bytes, Photograph, str]:
        """Return the digest of the content, the photograph, and for a shape its kind."""
        if isinstance(data, ColornetError):
            raise data
        if sources.is_shapes(item["uri"]):
            photograph, kind = sources.draw(item["uri"])
            return hashlib.sha256(photograph.image).digest(), photograph, kind
        return hashlib.sha256(data).digest(), examine(data, self.work.screening), ""


def lost(batch: pa.Table, reason: str) -> pa.Table:
    """Return the manifest, a table of `MANIFEST`, of files that were rejected for the same reason."""
    return pa.Table.from_pylist([{**row, "reason": reason, "bytes": 0} for row in batch.to_pylist()], MANIFEST)


def _reason(error: ColornetError) -> str:
    if isinstance(error, NotFoundError):
        return "gone: it was listed and is not there any more"
    return str(error) if isinstance(error, RejectedError) else f"{NOT_FETCHED}: {error}"


def _fetched(items: Sequence[Row], storage: Storage) -> Iterator[tuple[Row, bytes | ColornetError]]:
    with ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="storage") as threads:
        yield from zip(items, _ahead(threads, functools.partial(_fetch, storage), items), strict=True)


def _fetch(storage: Storage, item: Row) -> bytes | ColornetError:
    if sources.is_shapes(item["uri"]):
        return b""  # it is drawn later
    if item["size"] > MAX_FILE_BYTES:
        return RejectedError(f"too large: {item['size']} bytes, the bound is {MAX_FILE_BYTES}")
    try:
        return storage.read(item["uri"]).data
    except ColornetError as error:
        return error


def _ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in threads, in order, at most `FETCH_THREADS` results ahead of the one that is consumed."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > FETCH_THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read_manifest(part: str, storage: Storage) -> pa.Table | None:
    """Read the manifest in a part; None if there is no part, or one with files that should be fetched again."""
    if not storage.exists(part):
        return None
    with open_parquet(part, storage) as file:
        manifest = file.read(columns=MANIFEST.names)
    retry = pc.any(pc.starts_with(manifest["reason"], NOT_FETCHED)).as_py()
    return None if retry else manifest


def _encode(part: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(part, target, row_group_size=PART_ROW_GROUP, **ENCODING)
    return target.getvalue()
