"""The ledger: one row a scan and run, in Parquet parts under OUTPUT/_colornet/ledger/.

A part is written after the objects that its rows speak of are durable, and never changed. A run is a bundle and the
settings that decide what outputs look like; the *current* row of a source is its latest under the run.
"""

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from colornet import storage
from colornet.errors import NotFoundError

Status = Literal["done", "failed", "skipped"]
FINISHED = ("done", "skipped")
"""A source with one of these is not worked on again; a failed one is tried again by the next start of the job."""

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_size", pa.int64()),
        pa.field("source_version", pa.string()),
        pa.field("source_sha256", pa.string()),
        pa.field("output_uri", pa.string()),
        pa.field("output_size", pa.int64()),
        pa.field("output_sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixels", pa.int64()),
        pa.field("pages", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("mean_chroma", pa.float32()),
        pa.field("fetch_seconds", pa.float32()),
        pa.field("prepare_seconds", pa.float32()),
        pa.field("predict_seconds", pa.float32()),
        pa.field("render_seconds", pa.float32()),
        pa.field("store_seconds", pa.float32()),
        pa.field("seconds", pa.float32()),
        pa.field("finished_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("host", pa.string()),
        pa.field("code_version", pa.string()),
        pa.field("bundle_digest", pa.string(), nullable=False),
        pa.field("settings_digest", pa.string(), nullable=False),
    ]
)
"""`error` is the name of the error's class, for grouping, where `reason` is its text. `attempts` counts the tries of
this run up to this row. `mean_chroma` is the mean of sqrt(a*² + b*²) of the predicted colour. The stages' seconds are
wall time; `seconds` goes from the first stage to the last, waiting included."""


def place(output: str) -> str:
    """Where the ledger of an output lies."""
    return storage.join(output, "_colornet", "ledger")


def append(output: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as one new part.

    Args:
        output: the archive's output folder or prefix.
        rows: with the columns of SCHEMA; what a row lacks is null.

    Raises:
        StorageError: if the part could not be written; then nothing of it is there.
    """
    table = pa.Table.from_pylist(list(rows), SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}.parquet"
    storage.write(storage.join(place(output), name), buffer.getvalue(), "application/vnd.apache.parquet")


def read(output: str) -> pa.Table:
    """Read every row of every run, of SCHEMA; an empty table if nothing has been written yet."""
    parts = [pq.read_table(io.BytesIO(storage.read(uri).data), schema=SCHEMA) for uri in _parts(output)]
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def current(rows: pa.Table, bundle_digest: str, settings_digest: str) -> pa.Table:
    """Return the current row of each source under one run: exactly one for each source that has any."""
    run = (pc.field("bundle_digest") == bundle_digest) & (pc.field("settings_digest") == settings_digest)
    ordered = rows.filter(run).sort_by([("finished_at", "ascending")])
    numbered = ordered.append_column("_row", pa.array(range(ordered.num_rows), pa.int64()))
    latest = numbered.group_by("source_uri").aggregate([("_row", "max")])["_row_max"]
    return ordered.take(latest.take(pc.sort_indices(latest)))


def pending(inventory: pa.Table, now: pa.Table) -> pa.Table:
    """Return the inventory rows without a finished row for the same version of the source, in the order of their uris.

    Args:
        inventory: with at least `source_uri` and `source_version`; where the version is null, any will do.
        now: current rows of the run.
    """
    finished = now.filter(pc.field("status").isin(FINISHED)).select(["source_uri", "source_version"])
    unversioned = pc.field("source_version").is_null()
    rest = [
        inventory.filter(~unversioned).join(finished, ["source_uri", "source_version"], join_type="left anti"),
        inventory.filter(unversioned).join(finished.select(["source_uri"]), "source_uri", join_type="left anti"),
    ]
    return pa.concat_tables([part.select(inventory.column_names) for part in rest]).sort_by("source_uri")


def _parts(output: str) -> Iterator[str]:
    try:
        for part in storage.listing(place(output)):
            if part.key.endswith(".parquet"):
                yield part.uri
    except NotFoundError:
        return
