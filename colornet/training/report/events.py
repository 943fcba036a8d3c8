"""TensorBoard's files of a run, at its output: appended to where that is a folder, uploaded anew where it is S3."""

import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

from colornet.errors import NotFoundError
from colornet.storage import Storage, storage_errors, uris
from colornet.training.report import EventFile

PANEL_EVERY = 10
"""Epochs between two panels; the first is there too."""

_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.colornet")


class EventLog:
    """Appends every epoch to a file that is new since the run was started or went on.

    Objects of S3 cannot be appended to: there the file grows on this machine, and is uploaded after each epoch.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        """Take the folder or prefix of the files; nothing is written before the first epoch."""
        self._storage, self._folder = storage, folder
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._file: EventFile | None = None

    def add(self, history: list[dict[str, Any]], panel: bytes | None, panel_uri: str) -> None:
        """Append the last epoch of a history.

        Args:
            history: all epochs of the run, also those before it went on.
            panel: of the last epoch (PNG); None if there are no held-out photographs.
            panel_uri: where that of the epoch before lies; it is read if the run has just gone on.

        Raises:
            StorageError: if that fails.
        """
        with storage_errors(self._folder):
            if self._file is None:
                self._begin(history[:-1], panel_uri)
            assert self._file is not None
            self._file.add(history, panel if _is_shown(history) else None)
        self._upload()

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _begin(self, resumed: list[dict[str, Any]], panel_uri: str) -> None:
        numbers = [int(name[1]) for each in self._listing() if (name := _NAME.fullmatch(each))]
        self._name = f"events.out.tfevents.{max(numbers, default=-1) + 1:05}.colornet"
        panel = None
        if resumed and _is_shown(resumed):
            with contextlib.suppress(NotFoundError):
                panel = self._storage.read(panel_uri).data
        if uris.is_s3(self._folder):
            self._scratch = tempfile.TemporaryDirectory(prefix="colornet-events-")
        folder = Path(self._scratch.name if self._scratch else self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / self._name
        self._file = EventFile(self._path, resumed, panel)

    def _listing(self) -> list[str]:
        try:
            return [file.key for file in self._storage.listing(self._folder)]
        except NotFoundError:
            return []

    def _upload(self) -> None:
        if self._scratch:
            self._storage.write(
                uris.join(self._folder, self._name), self._path.read_bytes(), "application/octet-stream"
            )


def _is_shown(history: list[dict[str, Any]]) -> bool:
    """Say whether the panel of the last epoch goes into the file."""
    epoch = history[-1]["epoch"]
    return bool(epoch == 1 or epoch % PANEL_EVERY == 0)
