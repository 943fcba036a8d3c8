"""A run on this machine: how it is trained, and its one checkpoint, which is whole at any time."""

from dataclasses import dataclass
from typing import Any

import torch

from colornet.errors import NotFoundError
from colornet.storage import uris
from colornet.training import checkpoints
from colornet.training.run import TrainingRun

CHECKPOINT = "training.pt"
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class LocalRun(TrainingRun):
    """A run whose workers, `most_workers` of them, are processes of this machine, each on a GPU if `device` is cuda."""

    threads: int = 1
    """Of each worker, for its networks."""
    readers: int = 0
    """Processes of each worker that read photographs; 0: a thread of the worker."""
    device: str = "cpu"
    """cpu or cuda."""
    checkpoint_every: float = 600.0
    """Seconds between two checkpoints, within an epoch too."""
    deadline: float | None = None
    """Unix time, seconds: stop then, with a checkpoint."""

    @property
    def uri(self) -> str:
        """Where the checkpoint is."""
        return uris.join(self.output, "_local", self.name)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint in place of the last one, all or nothing; `StorageError` if that fails."""
        self.storage.write(uris.join(self.uri, CHECKPOINT), checkpoints.dump(state), "application/octet-stream")

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint, on the CPU; None if there is none yet. Raises `StorageError`."""
        try:
            data = self.storage.read(uris.join(self.uri, CHECKPOINT)).data
        except NotFoundError:
            return None
        state: dict[str, Any] = checkpoints.load(data, _CPU)
        return state
