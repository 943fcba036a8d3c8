"""Kinds of photographs, such as scene or people, and weights by which each kind counts the same."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from colornet.assignments import assignments

OTHER = "other"
"""The kind of photographs of which nobody says what they show."""


KindsBySource = Annotated[Mapping[str, str], assignments("SOURCE=KIND", str)]
"""Kinds of photographs by where they are from, as a flag or a table of a file of settings."""


def kind_of(kind: str | None, source: str | None, kinds: Mapping[str, str]) -> str:
    """Return a photograph's own kind, or that of its source, or `OTHER`."""
    return kind or kinds.get(source or "", OTHER)


def equal_weights(kinds: Sequence[str]) -> NDArray[np.float64]:
    """Weigh photographs so that all kinds have the same share: kinds (N,) to (N,), with mean 1; 1 for a single kind."""
    names, index, counts = np.unique(np.asarray(kinds, str), return_inverse=True, return_counts=True)
    return len(index) / (len(names) * counts[index])
