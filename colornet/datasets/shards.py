"""Training shards: Parquet files of encoded photographs, the same for the same input however the work is divided.

The work has two steps, each a plain callable over a table:

1. `Screen` reads a piece of the listing, makes photographs of it, and keeps them in a *part*, a Parquet file that is
   not called one, so that no training finds it; what it returns is a *manifest*, which says of each file what became of
   it and where its photograph lies.
2. `plan` looks at the whole manifest, which is small, and decides which photographs go into which shard;
   `write_shard` puts one shard together from the parts.

Parts are cut as it suits the work, shards follow from the listing alone. A part that is there already is not made
again, so a job that is started again goes on where it stopped.
"""

import functools
import hashlib
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colornet.datasets import sources
from colornet.datasets.screening import Photograph, RejectedError, Screening, examine
from colornet.errors import ColornetError, NotFoundError, StorageError, one_line
from colornet.storage import Storage, uris

ROW_GROUP = 64
"""Photographs of one row group: what a reader takes at once."""
SHARD_BYTES = 128_000_000
"""Bytes of photographs in one shard, at most (a photograph that is larger than this gets a shard of its own)."""
MAX_FILE_BYTES = 256_000_000
"""Larger files are rejected before they are fetched: several are in memory at once."""
FETCH_THREADS = 8
"""Files fetched at the same time by one worker, and held at the same time before their turn comes."""

TRAIN, HELD_OUT = "train", "val"
NOT_FETCHED = "not fetched"
"""Category of files that storage did not deliver: unlike other reasons, it may be gone the next time."""

SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary()),  # encoded: JPEG; shapes are PNG
        pa.field("name", pa.string()),  # place relative to the input
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),  # pixels
        pa.field("kind", pa.string()),  # of shape; empty for photographs
    ]
)
"""What a shard looks like."""

MANIFEST = pa.schema(
    [
        pa.field("row", pa.int64()),  # position in the listing
        pa.field("uri", pa.string()),
        pa.field("digest", pa.binary()),  # SHA-256 of the file as found; null if it was rejected
        pa.field("reason", pa.string()),  # why it was rejected; null if it was kept
        pa.field("bytes", pa.int64()),  # of the photograph; 0 if rejected
        pa.field("part", pa.string()),  # uri of the part
        pa.field("place", pa.int32()),  # row in the part
    ]
)
"""What became of a file."""

REJECTED = pa.schema([pa.field("uri", pa.string()), pa.field("reason", pa.string())])
"""What the list of rejected files looks like."""

_PART = pa.schema([*SCHEMA, *MANIFEST])
_PART_ROW_GROUP = 16

Row = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the workers of one run must know. Small, and plain data: it travels to every worker."""

    parts: str
    """Folder or prefix for the parts of this run, and of no run with other settings or input."""
    screening: Screening
    """What photographs are taken, and how large they are kept."""
    license: str
    """What to write in the column `license`."""
    storage: Storage = Storage()
    """With what files and parts are reached."""


# --- step 1: files to parts -------------------------------------------------------------------------------------------


class Screen:
    """A piece of the listing in, its manifest out; the photographs are stored in a part on the way."""

    def __init__(self, work: Work) -> None:
        """Make ready."""
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
        # Photographs that are held out are those of low digests: so they lie together, and shards of them are put
        # together without reading all the others.
        rows.sort(key=lambda row: row.get("digest") or b"")
        for place, row in enumerate(rows):
            row |= {"part": part, "place": place}
        table = pa.Table.from_pylist(rows, _PART)
        self.work.storage.write(part, _encode(table), "application/vnd.apache.parquet")
        return table.select(MANIFEST.names)

    def _row(self, item: Row, data: bytes | ColornetError) -> Row:
        row: Row = {**item, "bytes": 0, "kind": "", "license": self.work.license}
        try:
            digest, photograph, kind = self._photograph(item, data)
        except ColornetError as error:
            return row | {"reason": _reason(error)}
        size = {"width": photograph.width, "height": photograph.height, "bytes": len(photograph.image)}
        return row | size | {"image": photograph.image, "digest": digest, "kind": kind}

    def _photograph(self, item: Row, data: bytes | ColornetError) -> tuple[bytes, Photograph, str]:
        """Return the digest of the content, the photograph, and its kind."""
        if isinstance(data, ColornetError):
            raise data
        if sources.is_shapes(item["uri"]):
            photograph, kind = sources.draw(item["uri"])
            return hashlib.sha256(photograph.image).digest(), photograph, kind
        return hashlib.sha256(data).digest(), examine(data, self.work.screening), ""


def lost(batch: pa.Table, reason: str) -> pa.Table:
    """Return the manifest, a table of `MANIFEST`, of files that were given up, all for the same reason."""
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
        return b""  # drawn when its turn comes
    if item["size"] > MAX_FILE_BYTES:
        return RejectedError(f"too large: {item['size']} bytes, the bound is {MAX_FILE_BYTES}")
    try:
        return storage.read(item["uri"]).data
    except ColornetError as error:
        return error


def _ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in threads, in order, never more than `FETCH_THREADS` results ahead of the one that is asked for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > FETCH_THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read_manifest(part: str, storage: Storage) -> pa.Table | None:
    """Read what a part says of itself; None if there is no part, or the next try may bring more."""
    if not storage.exists(part):
        return None
    with _open(part, storage) as file:
        manifest = file.read(columns=MANIFEST.names)
    retry = pc.any(pc.starts_with(manifest["reason"], NOT_FETCHED)).as_py()
    return None if retry else manifest


# --- between: which photograph goes where ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What the shards will hold, and what they will not."""

    shards: dict[str, pa.Table]
    """File name to the rows of the manifest that go into that shard, in order."""
    rejected: pa.Table
    """`REJECTED`, in the order of the listing."""

    def count(self, side: str) -> int:
        """How many photographs go to `TRAIN` or `HELD_OUT`."""
        return sum(table.num_rows for name, table in self.shards.items() if name.startswith(side))

    def reasons(self) -> dict[str, int]:
        """Rejected files by category, the most frequent first."""
        categories = pc.list_element(pc.split_pattern(self.rejected["reason"], ": ", max_splits=1), 0)
        counts = {str(each["values"]): int(each["counts"]) for each in categories.value_counts().to_pylist()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def plan(manifest: pa.Table, held_out: float, shard_bytes: int = SHARD_BYTES) -> Plan:
    """Decide what becomes of every file.

    Of files with the same content the first is kept. A photograph is held out if its digest, read as a number in
    [0, 1), is below `held_out`: the same picture is always on the same side, whatever else is there. Only where this
    would hold out nothing, the one with the lowest digest is.

    Args:
        manifest: tables of `MANIFEST` for the whole listing, in any order.
        held_out: share of photographs to hold out, in [0, 1).
        shard_bytes: bytes of photographs in one shard, at most.

    Returns:
        The plan; it depends on what was listed, not on how it was cut into parts.
    """
    manifest = _reject_duplicates(manifest.sort_by("row"))
    kept = manifest.filter(pc.is_null(manifest["reason"]))
    rejected = manifest.filter(pc.is_valid(manifest["reason"])).select(REJECTED.names)
    fractions = np.array([int.from_bytes(digest[:6], "big") for digest in kept["digest"].to_pylist()]) / 2.0**48
    aside = fractions < held_out
    if held_out > 0 and len(aside) > 1 and not aside.any():
        aside[fractions.argmin()] = True
    shards: dict[str, pa.Table] = {}
    for side, chosen in ((TRAIN, ~aside), (HELD_OUT, aside)):
        tables = _cut(kept.filter(pa.array(chosen, pa.bool_())), shard_bytes)
        shards |= {f"{side}-{number:05d}.parquet": table for number, table in enumerate(tables)}
    return Plan(shards, rejected)


def _reject_duplicates(manifest: pa.Table) -> pa.Table:
    first: dict[bytes, str] = {}
    reasons = manifest["reason"].to_pylist()
    uris, digests = manifest["uri"].to_pylist(), manifest["digest"].to_pylist()
    for row, (uri, digest, reason) in enumerate(zip(uris, digests, reasons, strict=True)):
        if reason is None and first.setdefault(digest, uri) is not uri:
            reasons[row] = f"duplicate: the same as {first[digest]}"
    return manifest.set_column(manifest.schema.get_field_index("reason"), "reason", pa.array(reasons, pa.string()))


def _cut(rows: pa.Table, shard_bytes: int) -> Iterator[pa.Table]:
    """Cut rows into consecutive tables of at most `shard_bytes` bytes of photographs, or of one photograph."""
    start = size = 0
    for position, count in enumerate(rows["bytes"].to_pylist()):
        if position > start and size + count > shard_bytes:
            yield rows.slice(start, position - start)
            start, size = position, 0
        size += count
    if rows.num_rows > start:
        yield rows.slice(start)


# --- step 2: parts to shards ------------------------------------------------------------------------------------------


def write_shard(uri: str, rows: pa.Table, storage: Storage = Storage()) -> int:
    """Put a shard together and store it at `uri` in one write; returns its size in bytes.

    Args:
        uri: where to.
        rows: table of `MANIFEST`: the photographs, in order.
        storage: with what parts and shard are reached.

    Raises:
        StorageError: if a part cannot be read or the shard cannot be stored.
    """
    target = io.BytesIO()
    with pq.ParquetWriter(target, SCHEMA, **_ENCODING) as writer:
        waiting: list[pa.Table] = []
        for piece in _pieces(rows, storage):
            waiting.append(piece)
            waiting = _write_full_groups(writer, waiting)
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    data = target.getvalue()
    storage.write(uri, data, "application/vnd.apache.parquet")
    return len(data)


def rejected_file(rejected: pa.Table) -> bytes:
    """Encode the list of rejected files, a table of `REJECTED`, as Parquet."""
    target = io.BytesIO()
    pq.write_table(rejected.cast(REJECTED), target)
    return target.getvalue()


# Photographs are compressed already; the few words beside them repeat.
_ENCODING: dict[str, Any] = {
    "compression": {name: "none" if name == "image" else "zstd" for name in _PART.names},
    "use_dictionary": ["source", "license", "kind"],
    "write_statistics": False,
}


def _pieces(rows: pa.Table, storage: Storage) -> Iterator[pa.Table]:
    """Yield the photographs of a shard as tables of `SCHEMA`, the share of one part at a time."""
    parts, places = rows["part"].to_pylist(), np.array(rows["place"].to_pylist())
    starts = [0, *(i for i in range(1, len(parts)) if parts[i] != parts[i - 1]), len(parts)]
    for start, stop in itertools.pairwise(starts):
        wanted, within = np.divmod(places[start:stop], _PART_ROW_GROUP)
        groups, order = np.unique(wanted, return_inverse=True)
        with _open(parts[start], storage) as file:
            table = file.read_row_groups(groups.tolist(), columns=SCHEMA.names)
        yield table.take(pa.array(order * _PART_ROW_GROUP + within))


def _write_full_groups(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> list[pa.Table]:
    """Write what fills whole row groups; returns the rest."""
    if sum(table.num_rows for table in waiting) < ROW_GROUP:
        return waiting
    table = pa.concat_tables(waiting)
    full = table.num_rows // ROW_GROUP * ROW_GROUP
    writer.write_table(table.slice(0, full), row_group_size=ROW_GROUP)
    return [table.slice(full)] if full < table.num_rows else []


def _encode(part: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(part, target, row_group_size=_PART_ROW_GROUP, **_ENCODING)
    return target.getvalue()


def _open(uri: str, storage: Storage) -> pq.ParquetFile:
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        return pq.ParquetFile(path, filesystem=filesystem)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"{uri}: {one_line(error)}") from error
