"""The second step from files to shards: which photographs go into which shard.

`plan` decides that from the whole manifest, which is small; `write_shard` writes one shard from the parts. How many
rows a part has is up to the job. The shards depend on the listing only: the same input gives the same shards, however
the work is divided.
"""

import io
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colornet.datasets.parquet import open_parquet
from colornet.datasets.parts import ENCODING, PART_ROW_GROUP, SCHEMA
from colornet.storage import Storage

ROW_GROUP = 64
"""Photographs of one row group of a shard: what a reader reads at once."""
SHARD_BYTES = 128_000_000
"""Most bytes of photographs in one shard; a larger photograph gets a shard of its own."""
TRAIN, HELD_OUT = "train", "val"

REJECTED = pa.schema([pa.field("uri", pa.string()), pa.field("reason", pa.string())])
"""Columns of the list of rejected files."""


@dataclass(frozen=True)
class ShardPlan:
    """What goes into the shards, and what was rejected."""

    shards: dict[str, pa.Table]
    """A shard's file name to its rows of the manifest, in order."""
    rejected: pa.Table
    """`REJECTED`, in the order of the listing."""

    def count(self, side: str) -> int:
        """How many photographs go to `TRAIN` or `HELD_OUT`."""
        return sum(table.num_rows for name, table in self.shards.items() if name.startswith(side))

    def kinds(self) -> dict[str, int]:
        """Photographs for training by kind, the most frequent first; those of no known kind are not counted."""
        tables = [table["kind"] for name, table in self.shards.items() if name.startswith(TRAIN)]
        counts = Counter(kind for table in tables for kind in table.to_pylist() if kind)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def reasons(self) -> dict[str, int]:
        """Rejected files by category, the most frequent first."""
        categories = pc.list_element(pc.split_pattern(self.rejected["reason"], ": ", max_splits=1), 0)
        counts = {str(each["values"]): int(each["counts"]) for each in categories.value_counts().to_pylist()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def plan(manifest: pa.Table, held_out: float, shard_bytes: int = SHARD_BYTES, *, keep_gray: float = 0.0) -> ShardPlan:
    """Decide which file goes into which shard.

    Of files with the same content the first is kept. A photograph is held out if its digest, read as a number in
    [0, 1), is below `held_out`, whatever other files there are. If no digest is that low, the
    photograph with the lowest is held out.

    Nearly gray photographs are rejected, but for a share of all that are kept; which ones follows from their content.

    Args:
        manifest: tables of `MANIFEST` for the whole listing, in any order.
        held_out: share of photographs to hold out, in [0, 1).
        shard_bytes: bytes of photographs in one shard, at most.
        keep_gray: share of nearly gray photographs among those that are kept, at most; in [0, 1).

    Returns:
        The plan; it depends on what was listed, not on how it was cut into parts.
    """
    manifest = _reject_gray(_reject_duplicates(manifest.sort_by("row")), keep_gray)
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
    return ShardPlan(shards, rejected)


def _reject_duplicates(manifest: pa.Table) -> pa.Table:
    first: dict[bytes, str] = {}
    reasons = manifest["reason"].to_pylist()
    uris, digests = manifest["uri"].to_pylist(), manifest["digest"].to_pylist()
    for row, (uri, digest, reason) in enumerate(zip(uris, digests, reasons, strict=True)):
        if reason is None and first.setdefault(digest, uri) is not uri:
            reasons[row] = f"duplicate: the same as {first[digest]}"
    return _with_reasons(manifest, reasons)


def _reject_gray(manifest: pa.Table, keep: float) -> pa.Table:
    reasons, why = manifest["reason"].to_pylist(), manifest["gray"].to_pylist()
    kept = [row for row, reason in enumerate(reasons) if reason is None]
    gray = [row for row in kept if why[row] is not None]
    most = int((len(kept) - len(gray)) * keep / (1 - keep) + 1e-9)
    digests = manifest["digest"].to_pylist()
    gray.sort(key=lambda row: digests[row][6:])  # the first bytes say which photographs are held out
    for row in gray[most:]:
        reasons[row] = why[row]
    return _with_reasons(manifest, reasons)


def _with_reasons(manifest: pa.Table, reasons: list[str | None]) -> pa.Table:
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


def write_shard(uri: str, rows: pa.Table, storage: Storage = Storage()) -> int:
    """Write a shard, and return its size in bytes.

    Args:
        uri: of the shard.
        rows: table of `MANIFEST`: the photographs, in order.
        storage: with what parts and shard are reached.

    Raises:
        StorageError: if a part cannot be read or the shard cannot be stored.
    """
    target = io.BytesIO()
    with pq.ParquetWriter(target, SCHEMA, **ENCODING) as writer:
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


def _pieces(rows: pa.Table, storage: Storage) -> Iterator[pa.Table]:
    """Yield the photographs of a shard as tables of `SCHEMA`, the share of one part at a time."""
    parts, places = rows["part"].to_pylist(), np.array(rows["place"].to_pylist())
    starts = [0, *(i for i in range(1, len(parts)) if parts[i] != parts[i - 1]), len(parts)]
    for start, stop in itertools.pairwise(starts):
        wanted, within = np.divmod(places[start:stop], PART_ROW_GROUP)
        groups, order = np.unique(wanted, return_inverse=True)
        with open_parquet(parts[start], storage) as file:
            table = file.read_row_groups(groups.tolist(), columns=SCHEMA.names)
        yield table.take(pa.array(order * PART_ROW_GROUP + within))


def _write_full_groups(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> list[pa.Table]:
    """Write what fills whole row groups; returns the rest."""
    if sum(table.num_rows for table in waiting) < ROW_GROUP:
        return waiting
    table = pa.concat_tables(waiting)
    full = table.num_rows // ROW_GROUP * ROW_GROUP
    writer.write_table(table.slice(0, full), row_group_size=ROW_GROUP)
    return [table.slice(full)] if full < table.num_rows else []
