"""A command line's defaults from a file: its keys are the fields of a settings class, its tables nested ones."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import tyro

from colornet.errors import SettingsError
from colornet.settings import from_dict

T = TypeVar("T")


def overlay(cls: type[T], base: T | None, data: Mapping[str, Any], file: str, inside: str = "") -> T:
    """Return settings that tyro takes for defaults: `data` over those of `base`, or over the class's own.

    What neither has is `tyro.MISSING`. The settings are not checked as a whole, since flags are still to come.

    Args:
        cls: the settings class.
        base: settings of this class.
        data: fields by name, with - or _ between words.
        file: where `data` is from.
        inside: the name of the table that `data` is, with a dot behind it; empty for the whole file.

    Raises:
        SettingsError: if there is no such field, or a value does not fit it; the message names it by its path.
    """
    values = {name.replace("-", "_"): value for name, value in data.items()}
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise SettingsError(f"{file}: there is no setting {inside}{name}; there are {', '.join(sorted(fields))}")
    hints = typing.get_type_hints(cls, include_extras=True)
    made: T = object.__new__(cls)
    for name, field in fields.items():
        before = _default(field) if base is None else getattr(base, name)
        value = _value(hints[name], before, values[name], file, f"{inside}{name}") if name in values else before
        object.__setattr__(made, name, value)
    return made


def _value(hint: Any, before: Any, value: Any, file: str, path: str) -> Any:
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return overlay(kind, None if before is tyro.MISSING else before, value, file, f"{path}.")
    try:
        return from_dict(hint, value)
    except SettingsError as error:
        words = str(error)
        raise SettingsError(f"{file}: {path}{words if words.startswith(' ') else f'.{words}'}") from error
    except TypeError as error:  # TOML has dates, and no setting is one
        raise SettingsError(f"{file}: {path} must not be {value!r}") from error


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return tyro.MISSING if field.default_factory is dataclasses.MISSING else field.default_factory()
