"""The report beside a run's checkpoints, written while the run goes on."""

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from colornet.datasets.dealing import Position
from colornet.training import report
from colornet.training.report.events import EventLog
from colornet.training.run import TrainingRun

PAGE_EVERY = 60.0
"""Seconds between two drawings of the page and the plot, which take a second or two."""

_PANEL = re.compile(r"panel-epoch-(\d+)\.png")


@dataclass(frozen=True)
class Panel:
    """Held-out photographs, and what the generator makes of them."""

    photographs: Tensor
    """(N, 3, S, S), sRGB uint8."""
    predicted: Tensor
    """(N, 2, S, S), scaled a*b*."""


class ReportWriter:
    """Writes the report in a thread of its own: the workers wait for the one that writes it at no time."""

    def __init__(self, run: TrainingRun, hardware: dict[str, Any], *, tensorboard: bool = True) -> None:
        """Report on a run, on machines of which `hardware` tells in words and numbers; for TensorBoard, too."""
        self._run, self._hardware = run, hardware
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._pending: Future[None] | None = None
        self._drawn = time.monotonic()
        self._events = EventLog(run.storage, run.report_uri("tensorboard")) if tensorboard else None

    def note(self, history: list[dict[str, Any]], panel: Panel, position: Position) -> None:
        """Write what is known after an epoch, when the workers stand at `position`.

        Raises:
            StorageError: if the report on the epoch before could not be written.
        """
        self._wait()
        self._pending = self._thread.submit(self._write, list(history), panel, position)

    def close(self, history: list[dict[str, Any]], position: Position) -> None:
        """Write the page and the plot, and wait for all that is being written; `StorageError` as in `note`."""
        self._wait()
        if history:
            self._draw(history, position)
        self._thread.shutdown()
        if self._events:
            self._events.close()

    def _wait(self) -> None:
        if self._pending:
            self._pending.result()

    def _write(self, history: list[dict[str, Any]], panel: Panel, position: Position) -> None:
        epoch = history[-1]["epoch"]
        self._put("metrics.json", report.table(history), "application/json")
        picture = None
        if len(panel.photographs):
            picture = report.panel(panel.photographs, panel.predicted)
            self._put(_panel_name(epoch), picture, "image/png")
        if self._events:
            self._events.add(history, picture, self._run.report_uri(_panel_name(epoch - 1)))
        if time.monotonic() - self._drawn >= PAGE_EVERY:
            self._draw(history, position)

    def _draw(self, history: list[dict[str, Any]], position: Position) -> None:
        panels, run = self._panels(), self._run
        about = run.describe(position) | {"hardware": self._hardware}
        self._put("training.png", report.plot(history), "image/png")
        self._put("report.html", report.page(history, panels, about), "text/html")
        self._drawn = time.monotonic()

    def _panels(self) -> list[tuple[int, bytes]]:
        """Read the panels of all epochs, also of those before the run was interrupted."""
        found = []
        for file in self._run.storage.listing(self._run.report_uri()):
            name = _PANEL.fullmatch(file.key)
            if name:
                found.append((int(name[1]), self._run.storage.read(file.uri).data))
        return sorted(found)

    def _put(self, name: str, data: bytes, kind: str) -> None:
        self._run.storage.write(self._run.report_uri(name), data, kind)


def _panel_name(epoch: int) -> str:
    return f"panel-epoch-{epoch:04}.png"
