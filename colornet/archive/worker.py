"""The worker of the archive job: a plain callable over batches, safe to run again.

A batch is a table of `plan.SCHEMA`, of which all but `inventory.SCHEMA` may be missing; what comes out is a table of
`ledger.SCHEMA`, whose rows are already durable in the ledger. What is wrong with a scan becomes a row with its reason,
never an exception. If the ledger itself cannot be written, the rows come back as UNRECORDED.

One process does everything for a scan, so that a decoded picture never travels. The generator may be in that process
too, or in another, with a GPU: then small tensors travel.
"""

import contextlib
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from threading import BoundedSemaphore

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from colornet.archive import ledger
from colornet.archive.flow import Budget
from colornet.archive.steps import failure, fetch, opened, place_of, store, success
from colornet.archive.stopwatch import WAITING, Stopwatch
from colornet.archive.task import ColorizeTask, Row
from colornet.archive.version import code_version
from colornet.errors import (
    BundleError,
    ColornetError,
    ScanError,
)
from colornet.hints import Hint, from_json
from colornet.inference import bundle as bundles
from colornet.inference.hints import Cells
from colornet.inference.letterbox import Letterbox
from colornet.inference.page import PreparedPage, prepare
from colornet.inference.predictor import Prediction, Predictor
from colornet.rendering.render import Rendered, Rendering

log = logging.getLogger(__name__)

RemotePredictor = Callable[
    [NDArray[np.float16], Sequence[Letterbox], Sequence[Cells | None]], "Future[list[Prediction]]"
]
"""Asks another process for colour: what `Predictor.predict` takes in, a future of what it returns out. It is called
from several threads at once. What the future raises makes the scan a failed one, so whatever heals by itself is to be
tried again behind it."""

UNRECORDED = "unrecorded"
"""Status of rows that are not in the ledger, because it could not be written; their reason says why."""
SCANS_IN_HAND = 8
"""Scans that a worker has in hand for each of its cores: one is computed; the others are read ahead, wait for their
colour or are written away. Enough to hide a store's latency."""
BUDGET = 256 * 2**20
"""Bytes that a worker holds of scans read ahead, of scans that wait for their colour, and of outputs that wait to be
stored: so much of each."""


# --- rows ------------------------------------------------------------------------------------------------------------


def complete(task: ColorizeTask, row: Row, outcome: Row) -> Row:
    """Make a row of ledger.SCHEMA of a plan's row and what became of it."""
    own_digest = row.get("settings_digest")
    return {
        "key": row["key"],
        "source_uri": row["source_uri"],
        "source_size": row["source_size"],
        "source_version": row["source_version"],
        "attempts": (row.get("attempts") or 0) + task.attempt,
        "finished_at": datetime.now(UTC),
        "host": platform.node(),
        "code_version": code_version(),
        "bundle_digest": task.bundle_digest,
        "settings_digest": own_digest or task.run.settings_digest,
        "run_digest": task.run.settings_digest if own_digest else None,
        "hints": row.get("hints"),
        "hints_by": row.get("hints_by") or None,
        "strength": task.settings_of(row).strength,
        **outcome,
    }


def record(task: ColorizeTask, rows: list[Row]) -> pa.Table:
    """Append finished rows to the ledger and return them as a table of ledger.SCHEMA.

    If they could not be written they come back as UNRECORDED, with the error and its text, so that the caller knows
    which scans it concerns.
    """
    try:
        table = pa.Table.from_pylist(rows, ledger.SCHEMA)
        ledger.append(task.output, rows, task.storage)
        return table
    except Exception as error:
        trace = None if isinstance(error, ColornetError) else error
        log.error("%d rows could not be written into the ledger: %s", len(rows), error, exc_info=trace)
        outcome = {"status": UNRECORDED, "reason": str(error), "error": type(error).__name__}
        kept = ("source_uri", "attempts", "finished_at", "host", "bundle_digest", "settings_digest", "run_digest")
        return pa.Table.from_pylist([{name: row[name] for name in kept} | outcome for row in rows], ledger.SCHEMA)


def give_up(task: ColorizeTask, batch: pa.Table, reason: str) -> pa.Table:
    """Record as failed what took its worker process down, and return the rows as `record` does."""
    outcome = {"status": "failed", "reason": reason, "error": "WorkerDiedError"}
    return record(task, [complete(task, row, outcome) for row in batch.to_pylist()])


def load_predictor(task: ColorizeTask) -> Predictor:
    """Make the run's generator ready; raises BundleError, also if it is no longer the one that was planned with."""
    bundle = bundles.load(task.model, task.storage)
    if bundle.digest != task.bundle_digest:
        raise BundleError(f"the bundle at {task.model} was exchanged while the job ran, or is another on this node")
    return Predictor(bundle, device=task.device, precision=task.precision)


# --- the worker ------------------------------------------------------------------------------------------------------


class ColorizeWorker:
    """A worker: an inventory batch in, its ledger rows out.

    Each scan has a thread that takes it from its fetching to its storing, and only as many as there are cores compute
    at a time: while one is computed, others are fetched or stored. Called from two threads with two batches, the worker
    computes also while the end of one of them is stored and recorded. What it has in hand is bounded in bytes.
    """

    def __init__(
        self, task: ColorizeTask, predictor: RemotePredictor | None = None, *, cpus: int = 1, budget: int = BUDGET
    ) -> None:
        """Make ready.

        Args:
            task: what every worker of the run is told.
            predictor: asks another process for colour; while a scan waits for it, others are computed. With None the
                generator is loaded into this process.
            cpus: scans computed at a time.
            budget: bytes; see BUDGET.

        Raises:
            BundleError: if the generator is to be loaded and there is no sound bundle.
        """
        self.task = task
        self.remote = predictor
        self.local = load_predictor(task) if predictor is None else None
        torch.set_num_threads(1)  # `cpus` scans at a time, each on one core
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of damaged tags, a row's reason says
        self.cpus = BoundedSemaphore(cpus)
        in_hand = cpus * SCANS_IN_HAND
        self.scans = ThreadPoolExecutor(in_hand, thread_name_prefix="scan")
        # The C library gives each thread memory of its own: computing in few threads touches less of it.
        self.computing = ThreadPoolExecutor(cpus if predictor is None else in_hand, thread_name_prefix="compute")
        self.reading, self.away, self.storing = Budget(budget), Budget(budget), Budget(budget)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Colorize every scan of the batch; may be called from several threads at once."""
        return record(self.task, list(self.scans.map(self._row_of, batch.to_pylist())))

    def _row_of(self, row: Row) -> Row:
        """Colorize one scan, and say in a row what became of it."""
        watch, known = Stopwatch(), Row()
        try:
            outcome = self._colorize(row, known, watch)
        except Exception as error:
            outcome = failure(error, row)
        seconds = watch.stop()
        known |= {f"{step}_seconds": seconds.get(step) for step in ledger.STEPS} | {"seconds": sum(seconds.values())}
        return complete(self.task, row, known | outcome)

    def _colorize(self, row: Row, known: Row, watch: Stopwatch) -> Row:
        if row.get("problem"):
            raise ScanError(row["problem"])
        place_of(self.task, row)
        with watch.during("fetch"):
            size = row["source_size"]
            if size is None:
                size = self.task.storage.stat(row["source_uri"]).size
        with self.reading.holding(size):
            with watch.during("fetch"):
                data = self._fetch(row, known)
            rendered, outcome = self.computing.submit(self._compute, row, data, known, watch).result()
            del data
        try:
            with watch.during("store"):
                return {**outcome, "output_uri": store(self.task, row | known, rendered)}
        finally:
            self.storing.give_back(len(rendered.data))

    def _fetch(self, row: Row, known: Row) -> bytes:
        found = fetch(self.task, row)
        known |= {"source_size": len(found.data), "source_version": found.version}
        return found.data

    def _compute(self, row: Row, data: bytes, known: Row, watch: Stopwatch) -> tuple[Rendered, Row]:
        """Give a scan its colour, and take room for what has to be stored of it.

        The wait for room ends, though it holds a core and what was read: what is being stored needs neither.
        """
        with self.cpus:
            with watch.during("render"):
                rendered = self._render(row, data, known, watch)
                outcome = success(rendered)
            self.storing.take(len(rendered.data))
        return rendered, outcome

    def _render(self, row: Row, data: bytes, known: Row, watch: Stopwatch) -> Rendered:
        settings, credentials = self.task.settings_of(row), self.task.credentials
        origin = settings.origin(row["key"], data, self.task.bundle_digest, _hints_of(row))
        known["source_sha256"] = origin.source_sha256
        source = opened(row, data, settings)
        known["format"] = source.format
        rendering = Rendering(source, settings, origin)
        for number, scan in rendering.pages():
            with watch.during("prepare"):
                page = prepare(scan, settings.size, origin.hints_on(number))
            with watch.during("predict"):
                prediction = self._predict(page, number + 1, watch)
            rendering.add(page, prediction)
        return rendering.finish(credentials)

    def _predict(self, page: PreparedPage, number: int, watch: Stopwatch) -> Prediction:
        lightness, letterboxes, hints = page.seen[None], [page.letterbox], [page.hints]
        if self.remote is None:
            assert self.local is not None
            return self.local.predict(lightness, letterboxes, hints)[0]
        answer = self.remote(lightness, letterboxes, hints)
        held = 3 * page.scan.codes.nbytes * number  # the pages so far, in colour, as far as they are not compressed
        with self._stepping_aside(held, watch):
            return answer.result()[0]

    @contextlib.contextmanager
    def _stepping_aside(self, held: int, watch: Stopwatch) -> Iterator[None]:
        """Let another scan compute meanwhile, if there is room for what this one holds."""
        if not self.away.try_take(held):
            yield
            return
        self.cpus.release()
        try:
            yield
        finally:
            with watch.during(WAITING):
                self.cpus.acquire()
            self.away.give_back(held)


def _hints_of(row: Row) -> tuple[Hint, ...]:
    text = row.get("hints")
    return from_json(text) if text else ()
