"""The history of a run, whatever its epochs did not record: as columns of numbers, and as stretches of epochs."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

History = Sequence[Mapping[str, Any]]
"""One mapping an epoch; its values are text and numbers."""


@dataclass(frozen=True)
class Stretch:
    """Epochs one after the other that have the same value, such as those of a stage."""

    value: str
    """Empty where there is none."""
    history: History
    first: int
    """Number of the first epoch."""
    last: int

    @property
    def title(self) -> str:
        """Say which epochs these are."""
        return f"epoch {self.first}" if self.first == self.last else f"epochs {self.first} to {self.last}"


def number(value: object) -> float:
    """Return a number, and NaN for what is none or not finite."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def numbers(history: History, name: str) -> list[float]:
    """Return what was measured under this name, epoch by epoch; NaN where nothing was."""
    return [number(each.get(name)) for each in history]


def is_measured(history: History, *names: str) -> bool:
    """Say whether some epoch has a number under one of these names."""
    return any(not math.isnan(value) for name in names for value in numbers(history, name))


def epochs(history: History) -> list[int]:
    """Return the epochs' numbers; for an epoch without one its place in the history, from 1."""
    recorded = numbers(history, "epoch")
    return [place if math.isnan(epoch) else int(epoch) for place, epoch in enumerate(recorded, start=1)]


def stretches(history: History, name: str) -> list[Stretch]:
    """Merge epochs that follow one another and have the same text under this name."""
    numbered = zip(epochs(history), history, strict=True)
    merged = []
    for value, group in itertools.groupby(numbered, key=lambda pair: str(pair[1].get(name) or "")):
        pairs = list(group)
        merged.append(Stretch(value, [each for _, each in pairs], pairs[0][0], pairs[-1][0]))
    return merged


def words(name: str) -> str:
    """Return a name of the history as people write it."""
    return name.replace("_", " ")


def table(history: History) -> bytes:
    """Write the history as JSON: a list with one object an epoch; null for what is not finite, which JSON has not."""
    return (json.dumps([_finite(each) for each in history], indent=2, allow_nan=False) + "\n").encode()


def _finite(epoch: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in epoch.items()
    }
