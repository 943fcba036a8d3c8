"""The photographs of a worker: batches of the groups that it is dealt, and where it stands among them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from colornet.datasets import photographs
from colornet.datasets.dealing import Position, in_batches
from colornet.training.run import TrainingRun

Groups = Callable[[Position], Iterator[np.ndarray]]
"""Yields a worker's groups, (GROUP, S, S, 3) sRGB uint8, from the one that it stands in at a position."""


class WorkerPhotographs:
    """The photographs of one worker of a run, which knows where it stands."""

    def __init__(self, run: TrainingRun, groups: Groups, rank: int = 0, workers: int = 1) -> None:
        """Take the share of worker number `rank`, from 0, of so many; all of them start from the same position."""
        self._run, self._groups, self._rank, self._workers = run, groups, rank, workers
        self.position = Position()

    def stage(self, number: int) -> Iterator[Tensor]:
        """Yield batches of sRGB uint8, (B, 3, S, S), from where the run stands."""
        if number != self.position.stage:
            self.position = Position(stage=number)
        size = self._run.recipe.stages[number].share(self._workers)
        for batch in in_batches(self._groups(self.position), size, skip=self.position.row):
            self.position = self.position.after(size, self._workers)
            yield torch.from_numpy(batch).permute(0, 3, 1, 2)

    def held_out(self, image_size: int) -> Tensor:
        """Return this worker's share of the held-out photographs, (N, 3, S, S), sRGB uint8."""
        limit = self._run.recipe.held_out_photographs
        rows = photographs.read_held_out(self._run.data.held_out, image_size, limit, self._run.storage)
        return torch.from_numpy(rows[self._rank :: self._workers]).permute(0, 3, 1, 2)
