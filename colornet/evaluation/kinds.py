"""Kinds of photographs, such as scene or people, and weights by which each kind counts the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from tyro.constructors import PrimitiveConstructorSpec

OTHER = "other"
"""The kind of photographs of which nobody says what they show."""


def _parse(words: Iterable[str]) -> dict[str, str]:
    """Turn words of a command line into kinds by source; raises ValueError, which tyro prints."""
    kinds: dict[str, str] = {}
    for word in words:
        source, equals, kind = word.rpartition("=")
        if not (source and equals and kind):
            raise ValueError(f"each must be SOURCE=KIND, not {word!r}")
        if kinds.setdefault(source, kind) != kind:
            raise ValueError(f"the source {source!r} has two kinds, {kinds[source]!r} and {kind!r}")
    return kinds


KindsBySource = Annotated[
    Mapping[str, str],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="SOURCE=KIND",
        instance_from_str=_parse,
        is_instance=lambda instance: isinstance(instance, Mapping),
        str_from_instance=lambda instance: [f"{source}={kind}" for source, kind in instance.items()],
    ),
]
"""Kinds of photographs by where they are from, as a flag or a table of a file of settings."""


def kind_of(kind: str | None, source: str | None, kinds: Mapping[str, str]) -> str:
    """Return a photograph's own kind, or that of its source, or `OTHER`."""
    return kind or kinds.get(source or "", OTHER)


def equal_weights(kinds: Sequence[str]) -> NDArray[np.float64]:
    """Weigh photographs so that all kinds have the same share: kinds (N,) to (N,), with mean 1; 1 for a single kind."""
    names, index, counts = np.unique(np.asarray(kinds, str), return_inverse=True, return_counts=True)
    return len(index) / (len(names) * counts[index])
