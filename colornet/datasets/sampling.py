"""How often photographs are drawn, by what their columns say of them."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

import pyarrow as pa

from colornet.assignments import assignments
from colornet.errors import SettingsError
from colornet.settings import Field, settings

_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


Weights = Annotated[Mapping[str, _Weight], assignments("VALUE=WEIGHT", float, show="g")]
"""Values of a column, and how often photographs that have them are drawn."""


@settings
class Sampling:
    """How often a photograph is drawn, next to the others: the product of the weights of what its columns say.

    A value without a weight, and a column that a shard does not have, count 1. What weighs 0 is never drawn.
    """

    kind: Weights = field(default_factory=dict)
    """By what they show: scene=3 people=3 draws these three times as often as the others."""
    source: Weights = field(default_factory=dict)
    """By where they come from: flowers=0.2."""
    license: Weights = field(default_factory=dict)
    """By their licence."""
    other: Weights = field(default_factory=dict)
    """By any other column: decade:1920s=2 for the value 1920s in a column called decade."""

    def __post_init__(self) -> None:
        """Check that the weights of other columns name a column."""
        for place in self.other:
            if not place.partition(":")[0] or not place.partition(":")[2]:
                raise SettingsError(f"other: {place!r} should be COLUMN:VALUE")

    def __hash__(self) -> int:
        """Hash what is compared: mappings have no hash."""
        return hash(frozenset((column, frozenset(values.items())) for column, values in self.columns.items()))

    @property
    def columns(self) -> dict[str, dict[str, float]]:
        """The weights of each column that has some."""
        columns: dict[str, dict[str, float]] = {}
        for name in ("kind", "source", "license"):
            if weights := getattr(self, name):
                columns[name] = dict(weights)
        for place, weight in self.other.items():
            column, _, value = place.partition(":")
            columns.setdefault(column, {})[value] = weight
        return columns

    def weigh(self, table: pa.Table) -> list[float]:
        """Return the weight of each row."""
        weights = [1.0] * table.num_rows
        for column, by_value in self.columns.items():
            if column in table.column_names:
                values = table[column].to_pylist()
                weights = [
                    weight * by_value.get(str(value), 1.0) for weight, value in zip(weights, values, strict=True)
                ]
        return weights
