"""The stages of the archive job: plain callables over batches, each safe to run again.

Two layouts of the same steps. *Fused*: one callable does everything for a batch, reading ahead and writing behind in
threads. *Split*: prepare, predict and render are callables of their own, for predicting on GPUs; between them travel
the uri and small tensors, never a full-size picture. Both give the same bytes.

A batch is a table of `inventory.SCHEMA`; what comes out is a table of `ledger.SCHEMA`, whose rows are already durable
in the ledger. What is wrong with a scan becomes a row with its reason, never an exception.
"""

import hashlib
import logging
import platform
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from colornet import bundle as bundles
from colornet import storage
from colornet.archive import inventory, ledger
from colornet.content_credentials import Credentials
from colornet.errors import BundleError, ColornetError, InColourError, ScanError
from colornet.frame import prepare
from colornet.predict import Precision, Predictor
from colornet.render import ColourOf, Rendered, RenderSettings, is_in_colour, render
from colornet.scans import MEDIA_TYPES, Scan, Source

log = logging.getLogger(__name__)

Row = dict[str, Any]
READ_AHEAD = 4
"""Scans whose bytes are fetched before their turn comes: a bound on memory, and enough to hide a store's latency."""

_OUTCOME = (pa.field("status", pa.string()), pa.field("reason", pa.string()))
PREPARED = pa.schema([*inventory.SCHEMA, pa.field("lightness", pa.binary()), *_OUTCOME])
"""Between prepare and predict: scaled L* (pages, S, S) float16 as bytes, or what became of it."""
PREDICTED = pa.schema([*inventory.SCHEMA, pa.field("ab", pa.binary()), *_OUTCOME])
"""Between predict and render: a*, b* (pages, 2, S, S) float16 as bytes, or what became of it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every stage of one run must know. Small, and plain data: it travels to every worker."""

    output: str
    """Folder or prefix of the output archive."""
    model: str
    """Folder or prefix of the bundle."""
    bundle_digest: str
    """Of the bundle that the run was planned with."""
    render: RenderSettings
    """What else decides what an output looks like; its size is not 0."""
    credentials: Credentials | None = None
    """With which C2PA manifests are signed; the files must be at these paths on every node."""
    device: str = "cpu"
    """Where the generator runs."""
    precision: Precision = "auto"
    """In which arithmetic the generator runs."""

    @property
    def settings_digest(self) -> str:
        """SHA-256, hexadecimal, of all settings that decide what an output looks like."""
        return self.render.digest

    def colorize(self, row: Row, source: Source, colour_of: ColourOf) -> Rendered:
        """Give an opened scan its colour."""
        origin = self.render.origin(row["key"], source.data, self.bundle_digest)
        return render(source, colour_of, self.render, origin, self.credentials)


# --- steps: one scan each --------------------------------------------------------------------------------------------


def fetch(row: Row) -> storage.StoredObject:
    """Read a scan's bytes; raises StorageError, also if they are no longer those that the inventory speaks of."""
    found = storage.read(row["source_uri"])
    if row["source_version"] not in (None, found.version):
        raise ScanError("the source has changed since it was listed")
    return found


def store(work: Work, row: Row, source_form: str, rendered: Rendered) -> Row:
    """Write the finished picture under the source's key and return what the ledger says of it."""
    output_uri = storage.join(work.output, row["key"] + rendered.extension)
    if output_uri == row["source_uri"]:  # an inventory can name anything
        raise ScanError("its output would take its own place: sources are never touched")
    storage.write(output_uri, rendered.data, MEDIA_TYPES[rendered.form])
    return {
        "output_uri": output_uri,
        "output_size": len(rendered.data),
        "output_sha256": hashlib.sha256(rendered.data).hexdigest(),
        "status": "done",
        "reason": rendered.note,
        "width": rendered.width,
        "height": rendered.height,
        "pixels": rendered.pixels,
        "pages": rendered.pages,
        "format": source_form,
    }


def failure(reason: str) -> Row:
    """What the ledger says of a scan that could not be colorized."""
    return {"status": "failed", "reason": reason}


def outcome_of(error: Exception, row: Row) -> Row:
    """Put an error into the words of the ledger, and into the log if nobody foresaw it."""
    if isinstance(error, InColourError):
        return {"status": "skipped", "reason": str(error)}
    if isinstance(error, ColornetError):
        return failure(str(error))
    log.error("unexpected error at %s", row["source_uri"], exc_info=error)
    return failure(f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def complete(work: Work, row: Row, outcome: Row, seconds: float) -> Row:
    """Make a row of ledger.SCHEMA of an inventory row and what became of it."""
    return {
        "source_uri": row["source_uri"],
        "source_size": row["source_size"],
        "source_version": row["source_version"],
        "seconds": seconds,
        "finished_at": datetime.now(UTC),
        "host": platform.node(),
        "bundle_digest": work.bundle_digest,
        "settings_digest": work.settings_digest,
        **outcome,
    }


def record(work: Work, rows: list[Row]) -> pa.Table:
    """Append finished rows to the ledger and return them as a table of ledger.SCHEMA."""
    ledger.append(work.output, rows)
    return pa.Table.from_pylist(rows, ledger.SCHEMA)


# --- the fused layout ------------------------------------------------------------------------------------------------


class Colorize:
    """Fused layout: an inventory batch in, its ledger rows out."""

    def __init__(self, work: Work, io_threads: int = 8) -> None:
        """Load the generator once; raises BundleError."""
        self.work = work
        self.predictor = _load_predictor(work)
        self.threads = ThreadPoolExecutor(io_threads, thread_name_prefix="storage")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Colorize every scan of the batch, reading ahead and writing behind."""
        stored = [self._colorize(row, reading) for row, reading in self._read_ahead(batch.to_pylist())]
        return record(self.work, [finish() for finish in stored])

    def _read_ahead(self, rows: list[Row]) -> Iterator[tuple[Row, "Future[storage.StoredObject]"]]:
        readings = [self.threads.submit(fetch, row) for row in rows[:READ_AHEAD]]
        for position, row in enumerate(rows):
            yield row, readings[position]
            readings[position] = Future()  # let go of the bytes
            if position + READ_AHEAD < len(rows):
                readings.append(self.threads.submit(fetch, rows[position + READ_AHEAD]))

    def _colorize(self, row: Row, reading: "Future[storage.StoredObject]") -> "_Finish":
        started = time.perf_counter()
        try:
            found = reading.result()
            row = {**row, "source_size": len(found.data), "source_version": found.version}
            source = self.work.render.open(found.data)
            rendered = self.work.colorize(row, source, self._predict)
        except Exception as error:
            return _Finish(self.work, row, started, outcome_of(error, row))
        return _Finish(self.work, row, started, self.threads.submit(store, self.work, row, source.form, rendered))

    def _predict(self, _: int, scan: Scan) -> NDArray[np.float16]:
        return self.predictor(prepare(scan, self.work.render.size)[None])[0]


@dataclass(frozen=True)
class _Finish:
    """A scan whose outcome is known, or will be once it is stored."""

    work: Work
    row: Row
    started: float
    outcome: "Row | Future[Row]"

    def __call__(self) -> Row:
        try:
            outcome = self.outcome.result() if isinstance(self.outcome, Future) else self.outcome
        except Exception as error:
            outcome = outcome_of(error, self.row)
        return complete(self.work, self.row, outcome, time.perf_counter() - self.started)


# --- the split layout ------------------------------------------------------------------------------------------------


class Prepare:
    """Split layout, first: an inventory batch in, a batch of PREPARED out."""

    def __init__(self, work: Work, io_threads: int = 8) -> None:
        """Make ready; `io_threads` reads go on at once."""
        self.work = work
        self.threads = ThreadPoolExecutor(io_threads, thread_name_prefix="storage")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Reduce every scan of the batch to what the network sees."""
        return pa.Table.from_pylist(list(self.threads.map(self._prepare, batch.to_pylist())), PREPARED)

    def _prepare(self, row: Row) -> Row:
        try:
            found = fetch(row)
            source = self.work.render.open(found.data)
            small = self._reduce(source)
        except Exception as error:
            return {**row, **outcome_of(error, row)}
        return {**row, "source_version": found.version, "lightness": small.tobytes()}

    def _reduce(self, source: Source) -> NDArray[np.float16]:
        """Stack what the network sees of each page; nothing of a scan that will be skipped or copied."""
        first, size = source.page(0), self.work.render.size
        if self.work.render.in_colour == "skip" and is_in_colour(first):
            raise InColourError("already in colour")
        return np.stack([prepare(source.page(index) if index else first, size) for index in range(source.page_count)])


class Predict:
    """Split layout, second: a batch of PREPARED in, a batch of PREDICTED out."""

    def __init__(self, work: Work) -> None:
        """Load the generator once; raises BundleError."""
        self.work = work
        self.predictor = _load_predictor(work)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict colour for all scans of the batch at once."""
        rows = batch.to_pylist()
        sound = [row for row in rows if row["status"] is None]
        if sound:
            pages = [_pages(row["lightness"], self.work.render.size) for row in sound]
            ab = self.predictor(np.concatenate(pages))
            ends = np.cumsum([len(each) for each in pages])
            for row, part in zip(sound, np.split(ab, ends[:-1]), strict=True):
                row["ab"] = part.tobytes()
        return pa.Table.from_pylist(rows, PREDICTED)


class Render:
    """Split layout, last: a batch of PREDICTED in, its ledger rows out."""

    def __init__(self, work: Work, io_threads: int = 8) -> None:
        """Make ready; `io_threads` reads and writes go on at once."""
        self.work = work
        self.threads = ThreadPoolExecutor(io_threads, thread_name_prefix="storage")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Give every scan of the batch its colour at full size, and store it."""
        return record(self.work, list(self.threads.map(self._render, batch.to_pylist())))

    def _render(self, row: Row) -> Row:
        started = time.perf_counter()
        try:
            known = {"status": row["status"], "reason": row["reason"]}
            outcome = self._colour(row) if row["status"] is None else known
        except Exception as error:
            outcome = outcome_of(error, row)
        return complete(self.work, row, outcome, time.perf_counter() - started)

    def _colour(self, row: Row) -> Row:
        source = self.work.render.open(fetch(row).data)
        ab = np.frombuffer(row["ab"], np.float16).reshape(-1, 2, self.work.render.size, self.work.render.size)
        rendered = self.work.colorize(row, source, lambda index, _: ab[index])
        return store(self.work, row, source.form, rendered)


def _pages(lightness: bytes, size: int) -> NDArray[np.float16]:
    return np.frombuffer(lightness, np.float16).reshape(-1, size, size)


def _load_predictor(work: Work) -> Predictor:
    bundle = bundles.load(work.model)
    if bundle.digest != work.bundle_digest:
        raise BundleError(f"the bundle at {work.model} was exchanged while the job ran")
    return Predictor(bundle, device=work.device, precision=work.precision)
