"""Settings as data: dataclasses whose fields pydantic checks, and whose errors name the field.

    @settings
    class Degradation:
        grain: Annotated[float, Field(ge=0, le=1)] = 0.0
        '''Share of photographs with grain.'''

tyro makes flags of such classes: the text under a field is the flag's help.
"""

import dataclasses
import functools
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import pydantic
import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter

from colornet.errors import SettingsError

__all__ = ["Field", "from_dict", "read_file", "settings", "to_dict"]

T = TypeVar("T")

# Strict: a number that is a string, or a boolean that is a number, is a mistake of whoever wrote it.
_CONFIG = ConfigDict(strict=True, extra="forbid")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass with keyword arguments that are checked against its annotations.

    Values out of range or of another type raise `SettingsError`, whose message begins with the field's name. A
    `__post_init__` may check fields against each other, and raises `SettingsError` itself.
    """
    checked: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_CONFIG)(cls)
    validate = checked.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **fields: Any) -> None:  # noqa: N807  (it becomes the class's own)
        try:
            validate(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise SettingsError(_sentence(error)) from error

    checked.__init__ = __init__
    return checked


def from_dict(cls: type[T], data: Mapping[str, Any]) -> T:
    """Build settings from plain data, as `to_dict` returns it or JSON and TOML hold it; absent fields keep defaults.

    Raises:
        SettingsError: if a field is unknown, or its value is of another type or out of range; the message names it by
            its path, as "stages.0.epochs".
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(data))
    except pydantic.ValidationError as error:
        raise SettingsError(_sentence(error)) from error


def to_dict(value: Any) -> dict[str, Any]:
    """Return settings as plain data: dictionaries, lists, numbers and strings."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(value)))
    return plain


def read_file(file: str) -> dict[str, Any]:
    """Return what a file of settings holds. Raises SettingsError if it cannot be read."""
    path = Path(file)
    try:
        text = path.read_text("utf-8")
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                found = json.loads(text)
            case other:
                raise SettingsError(f"{file}: a file of settings is .toml or .json, not {other or 'without an ending'}")
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: this is not text in UTF-8") from error
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{file}: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{file}: this is not a table of settings")
    return found


def _sentence(error: pydantic.ValidationError) -> str:
    return "; ".join(_about(each) for each in error.errors())


def _about(found: Any) -> str:
    """Say what is wrong with one field. What a `__post_init__` raised is a sentence already."""
    own = found.get("ctx", {}).get("error")
    if own is not None:
        return str(own)
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "unexpected_keyword_argument":
        return f"{name}: there is no such field"
    if found["type"] == "missing":
        return f"{name} is missing"
    message = re.sub(r"^(Input|String|Tuple) ", "", found["msg"])
    return f"{name} {message}, not {found['input']!r}"
