"""The order in which a run reads its photographs.

At the end of each pass over its input, a streaming data set waits for several seconds. So a stage of a run is a single
stream: a `Plan` is an endless sequence of groups of photographs. Any process can read any group, with the same result.
All groups have the same size, so that the position of a run in its stream is a count of photographs, and a run that is
continued goes on with the very next one.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from colornet.datasets.collection import Shard

GROUP = 256
"""Photographs that are read together and shuffled among themselves."""
SLICE = 64
"""Row groups with more rows than this are read in slices, so that a group mixes photographs from several places."""
SLICES = 4
"""Most slices of a row group: to read one, those before it must be read too."""


@dataclass(frozen=True)
class Slice:
    """Some rows of a row group, in one of the passes over all photographs."""

    uri: str
    row_group: int
    start: int
    stop: int
    pass_number: int


class Plan:
    """Pass after pass over all slices, each pass in a random order of its own, cut into groups of `GROUP` photographs.

    Groups are numbered from 0 without end. A plan is small, depends on nothing but its arguments, and can be pickled.
    """

    def __init__(self, shards: tuple[Shard, ...], seed: int) -> None:
        """Plan for shards with at least one row."""
        self.seed = seed
        self._slices = [
            (shard.uri, row_group, start, stop)
            for shard in shards
            for row_group, rows in enumerate(shard.row_groups)
            for start, stop in _cut(rows)
        ]
        self._sizes = tuple(stop - start for _, _, start, stop in self._slices)
        self._rows = sum(self._sizes)

    def group(self, number: int) -> list[Slice]:
        """Return the slices of a group; the first and the last may be parts of longer ones."""
        pieces, place, missing = [], number * GROUP, GROUP
        while missing:
            piece = self._from(place, missing)
            pieces.append(piece)
            place, missing = place + piece.stop - piece.start, missing - (piece.stop - piece.start)
        return pieces

    def _from(self, place: int, most: int) -> Slice:
        """Return up to `most` photographs from a place in the endless sequence, all of one slice."""
        pass_number, row = divmod(place, self._rows)
        order, ends = _order(self._sizes, self.seed, pass_number)
        position = int(np.searchsorted(ends, row, side="right"))
        uri, row_group, _, stop = self._slices[order[position]]
        first = stop - (int(ends[position]) - row)
        return Slice(uri, row_group, first, min(stop, first + most), pass_number)


def _cut(rows: int) -> list[tuple[int, int]]:
    """Cut a row group into equal slices, as (start, stop)."""
    count = min(SLICES, max(1, rows // SLICE))
    bounds = [rows * number // count for number in range(count + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if start < stop]


@functools.lru_cache(maxsize=4)
def _order(sizes: tuple[int, ...], seed: int, pass_number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the slices of a pass by their index, in its order, and after how many photographs each of them ends."""
    order = np.random.default_rng((seed, 0, pass_number)).permutation(len(sizes))
    return order, np.cumsum(np.array(sizes)[order])
