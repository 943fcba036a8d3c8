"""Command lines with a recipe: `--recipe` says what the other flags override."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import tyro

from colornet.cli.command import Command, Line, value_of
from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.training.recipe_files import load_recipe, recipe_flag
from colornet.training.start import generator_of

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class RecipeCommand(Command[Settings], Generic[Settings]):
    """A command whose settings have a `recipe`, besides a `data` and an `output` that must be given.

    The recipe may be called by its place; in the end it has the name that it gives itself.
    """

    def parse(self, arguments: list[str], program: str) -> Line[Settings]:
        """Return what a command line says; as `Command`."""
        line: Line[Any] = super().parse(arguments, program)
        source = recipe_flag(arguments, otherwise="")
        if not source:
            return line
        recipe = replace(line.settings.recipe, name=load_recipe(source).name)
        return replace(line, settings=replace(line.settings, recipe=recipe))


def recipe_defaults(settings: Callable[..., Settings]) -> Callable[[list[str]], Settings]:
    """Return what makes the settings that flags override: those with the recipe that --recipe names.

    With --start-from the recipe's generator is the bundle's, and the recipe is `fine-tune` unless another is named.
    """

    def defaults(arguments: list[str]) -> Settings:
        start = value_of("--start-from", arguments)
        recipe = load_recipe(recipe_flag(arguments, otherwise="fine-tune" if start else "standard"))
        if start:
            try:
                recipe = replace(recipe, generator=generator_of(bundles.load(start)))
            except SettingsError as error:
                raise SettingsError(f"--start-from {start}: {error}: choose a --recipe for its generator") from error
        return settings(data=tyro.MISSING, output=tyro.MISSING, recipe=recipe)

    return defaults
