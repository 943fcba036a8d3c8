"""Flags and tables that give a value to each of several names: --kind caltech101=object tf-flowers=flower."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tyro.constructors import PrimitiveConstructorSpec

T = TypeVar("T")


def assignments(metavar: str, read: Callable[[str], T], show: str = "") -> PrimitiveConstructorSpec[Any]:
    """Let tyro read a mapping from words such as `metavar`; ValueError, which tyro prints, names a word that is wrong.

    Args:
        metavar: NAME=VALUE, in words of the flag.
        read: makes a value of its text; raises ValueError.
        show: format of a value in the help.
    """

    def parse(words: Iterable[str]) -> dict[str, T]:
        found: dict[str, T] = {}
        for word in words:
            name, equals, text = word.rpartition("=")
            if not (name and equals and text):
                raise ValueError(f"each must be {metavar}, not {word!r}")
            try:
                value = read(text)
            except ValueError as error:
                raise ValueError(f"{word!r}: {error}") from error
            if found.setdefault(name, value) != value:
                raise ValueError(f"{name!r} is given twice, as {found[name]!r} and {value!r}")
        return found

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda instance: isinstance(instance, Mapping),
        str_from_instance=lambda instance: [f"{name}={value:{show}}" for name, value in instance.items()],
    )
