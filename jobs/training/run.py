"""A training run: its recipe, its data, its places, and how far it has come."""

from dataclasses import dataclass
from typing import Any

import ray.train

from colornet import storage
from colornet.training.photographs import Collection
from colornet.training.recipe import Recipe

CHECKPOINT = "training.pt"
"""The file of a checkpoint that holds the trainer's state; `random-RANK.pt` beside it hold those of the workers."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run and its places. Can be pickled."""

    recipe: Recipe
    data: Collection
    data_uri: str
    output: str
    """Folder or s3:// prefix of the bundle, the report and the checkpoints."""
    name: str
    workers: int
    """How many processes train."""

    @property
    def uri(self) -> str:
        """Where Ray Train keeps the run's checkpoints."""
        return storage.join(self.output, "_training", self.name)

    def report_uri(self, name: str) -> str:
        """Where a file of the report lies."""
        return storage.join(self.output, "report", name)

    def last_checkpoint(self) -> tuple[ray.train.Checkpoint | None, dict[str, Any]]:
        """Return the last checkpoint and what was measured at it, or None and nothing. Needs no Ray."""
        filesystem, path = storage.arrow_filesystem(self.uri)
        try:
            result = ray.train.Result.from_path(path, storage_filesystem=filesystem)
        except RuntimeError:  # there is no run yet, or nothing that has been reported
            return None, {}
        return result.checkpoint, result.metrics or {}
