"""A training run of Ray Train: where its checkpoints are, and how far it has come."""

import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs
import ray.train

from colornet.datasets.dealing import Position
from colornet.errors import ColornetError, TrainingError, one_line
from colornet.storage import Storage, storage_errors, uris
from colornet.training import same_run
from colornet.training.run import TrainingRun

from ..ray_private import UNREADABLE_CHECKPOINTS, checkpoint_place

CHECKPOINT = "training.pt"
"""The file of a checkpoint that holds the trainer's state; `random-RANK.pt` beside it hold those of the workers."""


@dataclass(frozen=True, kw_only=True)
class Run(TrainingRun):
    """A run of Ray Train."""

    @property
    def uri(self) -> str:
        """Where Ray Train keeps the run's checkpoints."""
        return uris.join(self.output, "_training", self.name)

    def check_place(self) -> None:
        """On a worker: raise `TrainingError` if this machine does not see the driver's place for checkpoints."""
        if not self.storage.exists(uris.join(self.uri, same_run.FILE)):
            raise TrainingError(f"{self.uri} is not the same on all machines: use s3:// or a shared folder as --output")

    def upload_checkpoint(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        """Upload a worker's files of a checkpoint, for `ray.train.report`; `StorageError` if that fails.

        Ray's own way goes through Arrow, which sends no checksums, and knows nothing of what a bucket's owner wants.
        """
        for file in Path(checkpoint.path).iterdir():
            self.storage.write(uris.join(self.uri, name, file.name), file.read_bytes())
        filesystem, path = self.place()
        return checkpoint_place(filesystem, f"{path}/{self.name}", name)

    def read_checkpoint(self, checkpoint: ray.train.Checkpoint, file: str) -> bytes:
        """Read a file of a checkpoint; `StorageError`, `NotFoundError` if there is no such file."""
        return self.storage.read(uris.join(self.uri, PurePosixPath(checkpoint.path).name, file)).data

    def best_checkpoint(self, measure: str | None) -> ray.train.Checkpoint:
        """Return the kept checkpoint with the best psnr or held_out_error, or the last one. Needs no Ray."""
        result = self._result()
        if measure is None:
            return result.checkpoint
        best = max if measure == "psnr" else min
        checkpoint, _ = best(result.best_checkpoints, key=lambda kept: kept[1][measure])
        return checkpoint

    def place(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return the file system and the folder in it where Ray Train keeps all runs of this output."""
        filesystem, path = self.storage.arrow_filesystem(uris.join(self.output, "_training"))
        return filesystem if uris.is_s3(self.output) else WholeFiles(), path

    def last_checkpoint(self) -> tuple[ray.train.Checkpoint | None, dict[str, Any]]:
        """Return the last checkpoint and what was measured at it, or None and nothing. Needs no Ray."""
        try:
            result = self._result()
        except RuntimeError:  # there is no run yet, or nothing that has been reported
            return None, {}
        return result.checkpoint, result.metrics or {}

    def _result(self) -> Any:
        filesystem, path = self.storage.arrow_filesystem(self.uri)
        try:
            with storage_errors(self.uri):
                return ray.train.Result.from_path(path, storage_filesystem=filesystem)
        except (ColornetError, RuntimeError):
            raise
        except UNREADABLE_CHECKPOINTS as error:
            reason = one_line(error)
            raise TrainingError(f"{self.uri}: its checkpoints cannot be read: {reason}") from error

    def position(self) -> Position:
        """Where the workers stood at the last checkpoint."""
        _, metrics = self.last_checkpoint()
        return Position(**metrics["position"]) if metrics else Position()


class WholeFiles(pyarrow.fs.LocalFileSystem):
    """Arrow's file system of this machine, whose new files take the place of old ones when they are whole.

    Ray Train writes its list of checkpoints anew after each. As it is, one that was killed meanwhile would leave half a
    list, and the run could not go on.
    """

    def open_output_stream(self, path: str, *_arguments: Any, **_options: Any) -> io.BytesIO:
        """Return what writes the file when it is closed; it must fit into memory."""
        return _WholeFile(path)

    def __reduce__(self) -> Any:
        """Arrow's own would restore one of Arrow's."""
        return WholeFiles, ()


class _WholeFile(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            Storage().write(self._path, self.getvalue())
        super().close()
