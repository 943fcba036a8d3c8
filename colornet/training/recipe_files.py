"""Recipes by name, from files, and from model bundles: what `--recipe` understands."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.settings import read_file
from colornet.storage import Storage
from colornet.training.presets import PRESETS, preset
from colornet.training.recipe import Recipe

RENAMED: Mapping[str, str] = {
    "average_decay": "ema_decay",
    "clip_norm": "max_grad_norm",
    "encoder_share": "encoder_lr_scale",
    "film": "degradation",
    "least_crop": "min_crop_scale",
    "ramp": "warmup",
}
"""Fields of recipes of release 0.1 that have another name now."""


def load_recipe(source: str, storage: Storage = Storage()) -> Recipe:
    """Return the recipe that a name or a place stands for.

    Args:
        source: a preset's name; a file `.json` or `.toml` with the fields of `Recipe`, where those that are missing
            take their defaults and `name` is the file's; the `bundle.json` of a model bundle; or a bundle itself, as a
            folder, an s3:// prefix or `shipped://default`.
        storage: with what a bundle is reached.

    Raises:
        SettingsError: if there is no such preset or file, or the recipe in it is wrong; the message names the field.
        BundleError: if a folder holds no model bundle.
        StorageError: if a bundle cannot be read.
    """
    if source in PRESETS:
        return preset(source)
    path = Path(source)
    if path.suffix.lower() in (".json", ".toml"):
        data = read_file(source)
        is_bundle = "recipe" in data and "format" in data
        return _recipe(data["recipe"] if is_bundle else {"name": path.stem, **data}, source)
    if "/" in source or path.is_dir():
        return _recipe(bundles.load(source, storage).recipe, source)
    raise SettingsError(
        f"no recipe is called {source!r}; there are: {', '.join(PRESETS)}. "
        "A .json or .toml file and a model bundle have one, too"
    )


def recipe_flag(arguments: Sequence[str], otherwise: str) -> str:
    """Return what the last `--recipe` among a command line's arguments says; `otherwise` if there is none."""
    source = otherwise
    for argument, following in itertools.pairwise([*arguments, otherwise]):
        if argument == "--recipe":
            source = following
        elif argument.startswith("--recipe="):
            source = argument.partition("=")[2]
    return source


def _recipe(data: Any, source: str) -> Recipe:
    if not data:
        raise SettingsError(f"{source}: there is no recipe in it")
    try:
        _check_names(data)
        return Recipe.from_dict(data)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error


def _check_names(data: Any, place: str = "") -> None:
    """Name the first field that has another name since release 0.1."""
    if isinstance(data, list):
        data = {str(number): each for number, each in enumerate(data)}
    for name, value in data.items() if isinstance(data, Mapping) else ():
        if name in RENAMED:
            raise SettingsError(
                f"{place}{name}: there is no such field; since release 0.1 it is called {RENAMED[name]}"
            )
        _check_names(value, f"{place}{name}.")
