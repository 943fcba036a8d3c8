"""The photographs that people are shown, beside what the colorizers make of them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from colornet.evaluation.comparison import Example
from colornet.evaluation.confidence import ERROR
from colornet.evaluation.contact_sheet import contact_sheet
from colornet.evaluation.measure import GRAY, EvaluationTask, Truth, load_colorizers
from colornet.evaluation.photographs import ITEMS, Photograph, read
from colornet.evaluation.summary import column

CHOSEN = 8
"""Photographs of each kind: chosen blindly, those with the largest difference, and so on."""


@dataclass(frozen=True)
class Shown:
    """A photograph, colorized again."""

    position: int
    """Among those that were measured."""
    name: str
    photograph: Photograph
    colorized: dict[str, NDArray[np.uint8]]
    """What gray and each model make of it, by name: (S, S, 3) sRGB."""


class Gallery:
    """Chooses photographs, and colorizes them again: they are few."""

    def __init__(self, task: EvaluationTask, measured: pa.Table) -> None:
        """Take the rows of `measure.ROWS` that have metrics, in the order of the photographs."""
        self.task = task
        self.items = measured.filter(pc.equal(measured["colorizer"], GRAY)).select(ITEMS.names)
        self.models = [model.name for model in task.models]
        self.errors = {name: column(measured, name, ERROR) for name in [GRAY, *self.models]}
        self.confidences = {name: column(measured, name, "confidence") for name in self.errors}

    def examples(self) -> Iterator[Example]:
        """Yield what the page shows."""
        chosen = self._chosen()
        for shown in self._colorize(chosen):
            title = f"{shown.name} ({chosen[shown.position]}; below each picture its mean a*b* distance)"
            pictures = {self._caption(name, shown.position): picture for name, picture in shown.colorized.items()}
            yield Example(title, {"photograph": shown.photograph, **pictures})

    def worst(self) -> bytes:
        """Show the photographs of which the first model errs most on a contact sheet, the worst first: a JPEG."""
        first = self.models[0]
        largest = np.argsort(-self.errors[first], kind="stable")[:CHOSEN].tolist()
        return contact_sheet(
            [(shown.colorized[GRAY], shown.colorized[first], shown.photograph) for shown in self._colorize(largest)]
        )

    def _chosen(self) -> dict[int, str]:
        """Choose the photographs of the page: their positions, and why each is shown."""
        first, *others = (self.errors[name] for name in self.models)
        differences = np.max([np.abs(other - first) for other in others], axis=0) if others else first
        blind, largest = choose(differences.tolist())
        why = "largest difference" if others else "largest error"
        chosen = dict.fromkeys(blind, "chosen blindly") | dict.fromkeys(largest, why)
        for position in self._least_confident():
            chosen[position] = f"{chosen[position]}, least confident" if position in chosen else "least confident"
        return chosen

    def _least_confident(self) -> list[int]:
        """Positions of the photographs of which the first model is least confident; none if it has no confidence."""
        confidence = self.confidences[self.models[0]]
        rising = np.argsort(confidence, kind="stable")[: np.isfinite(confidence).sum()]  # NaN comes last
        return rising[:CHOSEN].tolist()

    def _caption(self, name: str, position: int) -> str:
        error, confidence = self.errors[name][position], self.confidences[name][position]
        return f"{name}: {error:.1f}" + (f", confidence {confidence:.2f}" if math.isfinite(confidence) else "")

    def _colorize(self, positions: Iterable[int]) -> Iterator[Shown]:
        colorizers = load_colorizers(replace(self.task, device="cpu"))  # workers may have GPUs where this has none
        for position in positions:
            item, photograph = next(read(self.items.slice(position, 1), self.task.size, self.task.storage))
            if isinstance(photograph, str):
                continue  # it could be read before
            truth = Truth(np.stack([photograph]), torch.tensor(self.task.reference.weights))
            colorized = {name: truth.render(colorizers[name](truth.lightness))[0] for name in self.errors}
            yield Shown(position, item["photograph"], photograph, colorized)


def choose(differences: Sequence[float], seed: int = 0) -> tuple[list[int], list[int]]:
    """Choose photographs to show: `CHOSEN` blindly, and `CHOSEN` others whose number is the largest.

    Args:
        differences: one number a photograph, not NaN.
        seed: of the blind choice; the same for the same number of photographs, whatever was measured.

    Returns:
        The positions of both, the first in their order and the others by falling difference.
    """
    blind = sorted(np.random.default_rng(seed).permutation(len(differences))[:CHOSEN].tolist())
    falling = np.argsort(-np.asarray(differences), kind="stable").tolist()
    return blind, [index for index in falling if index not in set(blind)][:CHOSEN]
