"""The order in which a run reads its photographs.

At the end of each pass over its input, a streaming data set waits for several seconds. So a stage of a run is a single
stream: a `Plan` is an endless sequence of groups of photographs. Any process can read any group, with the same result.
All groups have the same size, so that the position of a run in its stream is a count of photographs, and a run that is
continued goes on with the very next one.

Photographs may be drawn at different rates. Then a pass has some of them only: one of rate 1/3 is in every third pass,
on the average.
"""

import itertools
from collections.abc import Iterable
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
    rows: tuple[int, ...]
    """Their numbers within the row group, rising."""
    pass_number: int


@dataclass(frozen=True)
class _Pass:
    """A pass: which rows are drawn, and in which order their slices come."""

    start: int
    """How many photographs the passes before it have."""
    drawn: np.ndarray
    """(rows,) bool."""
    order: np.ndarray
    """The slices by their index, in the order of the pass."""
    ends: np.ndarray
    """After how many photographs each of them ends."""


class Plan:
    """Pass after pass over all slices, each pass in a random order of its own, cut into groups of `GROUP` photographs.

    Groups are numbered from 0 without end. A plan depends on nothing but its arguments, and can be pickled.
    """

    def __init__(self, shards: tuple[Shard, ...], seed: int) -> None:
        """Plan for shards with at least one row of a weight above 0."""
        self.seed = seed
        self._slices = [
            (shard.uri, row_group, start, stop)
            for shard in shards
            for row_group, rows in enumerate(shard.row_groups)
            for start, stop in _cut(rows)
        ]
        self._bounds = np.cumsum([0, *(stop - start for _, _, start, stop in self._slices)])
        weights = np.concatenate([shard.weights or np.ones(shard.rows) for shard in shards])
        self._rates = weights / weights.max()
        # Where a row of rate r is in its cycle of 1/r passes. Sums with such coarse numbers are exact.
        self._phases = np.random.default_rng((seed, 3)).integers(0, 2**20, len(weights)) / 2**20
        self._passes: dict[int, _Pass] = {}

    def group(self, number: int) -> list[Slice]:
        """Return the slices of a group; the first and the last may be parts of longer ones."""
        pieces: list[Slice] = []
        place, missing = number * GROUP, GROUP
        while missing:
            piece = self._from(place, missing)
            pieces.append(piece)
            place, missing = place + len(piece.rows), missing - len(piece.rows)
        return pieces

    def counts(self, photographs: int) -> np.ndarray:
        """Return how often each row is among the first so many photographs: (rows,) int64, in the order of the shards.

        Those of the slice in which they end are not counted.
        """
        number = self._pass_at(photographs)
        now = self._pass(number)
        begun = np.repeat(now.ends[np.argsort(now.order)], np.diff(self._bounds)) <= photographs - now.start
        return self._drawn_before(number) + (now.drawn & begun)

    def _from(self, place: int, most: int) -> Slice:
        """Return up to `most` photographs from a place in the endless sequence, all of one slice."""
        number = self._pass_at(place)
        now = self._pass(number)
        position = int(np.searchsorted(now.ends, place - now.start, side="right"))
        index = int(now.order[position])
        uri, row_group, start, _ = self._slices[index]
        drawn = now.drawn[self._bounds[index] : self._bounds[index + 1]].nonzero()[0] + start
        left = int(now.ends[position]) - (place - now.start)
        rows = drawn[len(drawn) - left :][:most]
        return Slice(uri, row_group, tuple(rows.tolist()), number)

    def _pass_at(self, place: int) -> int:
        """Return the number of the pass that a place of the sequence is in."""
        number = int(place / self._rates.sum())
        while self._pass(number).start > place:
            number -= 1
        while self._pass(number + 1).start <= place:
            number += 1
        return number

    def _pass(self, number: int) -> _Pass:
        if number not in self._passes:
            for old in list(self._passes)[:-3]:
                del self._passes[old]
            self._passes[number] = self._make_pass(number)
        return self._passes[number]

    def _make_pass(self, number: int) -> _Pass:
        before = self._drawn_before(number)
        drawn = self._drawn_before(number + 1) > before
        order = np.random.default_rng((self.seed, 0, number)).permutation(len(self._slices))
        sizes = np.add.reduceat(drawn, self._bounds[:-1], dtype=np.int64)
        return _Pass(int(before.sum()), drawn, order, np.cumsum(sizes[order]))

    def _drawn_before(self, number: int) -> np.ndarray:
        """Return how often each row is drawn in the passes before that of this number: (rows,) int64."""
        return np.floor(number * self._rates + self._phases).astype(np.int64)


def shares_drawn(shards: tuple[Shard, ...], read: Iterable[tuple[Plan, int]]) -> dict[str, float]:
    """Return the share of each label among the photographs that were drawn, the largest first.

    Args:
        shards: the plans' own.
        read: plans, and how many photographs were read of each.

    Returns:
        Shares that add up to 1; nothing if the shards have no labels, as where all photographs are drawn alike.
    """
    labels = np.array([label for shard in shards for label in shard.labels])
    counts = np.sum([plan.counts(photographs) for plan, photographs in read], axis=0)
    if not len(labels) or not np.any(counts):
        return {}
    names, rows = np.unique(labels, return_inverse=True)
    shares = np.bincount(rows, counts) / counts.sum()
    return {str(names[index]): round(float(shares[index]), 4) for index in np.argsort(-shares, kind="stable")}


def _cut(rows: int) -> list[tuple[int, int]]:
    """Cut a row group into equal slices, as (start, stop)."""
    count = min(SLICES, max(1, rows // SLICE))
    bounds = [rows * number // count for number in range(count + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(bounds) if start < stop]
