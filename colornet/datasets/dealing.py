"""How the groups of a stream are dealt out to the workers of a run: in turn, each cut into batches by its worker."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colornet.datasets.plan import GROUP


@dataclass(frozen=True)
class Position:
    """Where the workers stand in the stream of a stage.

    Groups of photographs are dealt out to the workers in turn. All workers have used up equally many photographs, so
    one number says it for all.
    """

    stage: int = 0
    """Number of the stage, from 0."""
    group: int = 0
    """The group that the first worker goes on with; the next ones go to the workers after it."""
    row: int = 0
    """How many photographs of its group each worker has used up."""

    def after(self, photographs: int, workers: int) -> "Position":
        """Return the position after each of so many workers has used up so many more photographs."""
        rounds, row = divmod(self.row + photographs, GROUP)
        return Position(self.stage, self.group + rounds * workers, row)


def in_batches(groups: Iterator[np.ndarray], size: int, skip: int) -> Iterator[np.ndarray]:
    """Cut groups of rows into batches of one size, without the first `skip` rows and what is left at the end."""
    parts: list[np.ndarray] = []
    have = -skip
    for group in groups:
        rows = group[max(0, -have) :]
        have += len(group)
        while have >= size:
            missing = size - sum(map(len, parts))
            yield np.concatenate([*parts, rows[:missing]])
            parts, rows, have = [], rows[missing:], have - size
        parts.append(rows)
