"""Kinds of photographs, such as scene or people, and weights by which each kind counts the same."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from colornet.errors import SettingsError

OTHER = "other"
"""The kind of photographs of which nobody says what they show."""


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """Turn `SOURCE=KIND`, as a command line has it, into kinds by source; raises SettingsError if it is no such."""
    kinds: dict[str, str] = {}
    for pair in pairs:
        source, equals, kind = pair.rpartition("=")
        if not (source and equals and kind):
            raise SettingsError(f"kind must be written as SOURCE=KIND, not {pair!r}")
        if kinds.setdefault(source, kind) != kind:
            raise SettingsError(f"kind: the source {source!r} has two kinds, {kinds[source]!r} and {kind!r}")
    return kinds


def kind_of(kind: str | None, source: str | None, kinds: Mapping[str, str]) -> str:
    """Return a photograph's own kind, or that of its source, or `OTHER`."""
    return kind or kinds.get(source or "", OTHER)


def equal_weights(kinds: Sequence[str]) -> NDArray[np.float64]:
    """Weigh photographs so that all kinds have the same share: kinds (N,) to (N,), with mean 1; 1 for a single kind."""
    names, index, counts = np.unique(np.asarray(kinds, str), return_inverse=True, return_counts=True)
    return len(index) / (len(names) * counts[index])
