"""Whether a run may go on where an earlier one stopped: its recipe is noted beside its checkpoints."""

import json
from typing import Any

from colornet.errors import NotFoundError, SettingsError
from colornet.storage import Storage, uris
from colornet.training.recipe import Recipe

FILE = "recipe.json"


def note_recipe(recipe: Recipe, run: str, storage: Storage = Storage()) -> None:
    """Keep the recipe at a run's place, or compare it with that which is there.

    A run may become longer: its last stage may have more epochs than before, and stages may follow it. Then the recipe
    takes the place of the one that was there.

    Args:
        recipe: of the run now.
        run: folder or s3:// prefix of its checkpoints; the last part is its name.
        storage: with what it is reached.

    Raises:
        SettingsError: if the run was begun with another recipe; the message names the fields.
    """
    place, now = uris.join(run, FILE), recipe.to_dict()
    before = _read(place, storage)
    if before is not None and (changes := _changes(_grown(before, now), now)):
        changed = ", ".join(f"{key} was {value!r}" for key, value in changes)
        raise SettingsError(
            f"the run {uris.name(run)!r} in {run} has another recipe ({changed}): give another --name or --output. "
            "Only its last stage may have more epochs, and more stages may follow"
        )
    if before != now:
        storage.write(place, (json.dumps(now, indent=2) + "\n").encode(), "application/json")


def _grown(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with as many epochs in its last stage as it has now, and the stages that follow it now."""
    *earlier, last = before["stages"]
    if len(now["stages"]) <= len(earlier):
        return before
    epochs = max(last["epochs"], now["stages"][len(earlier)]["epochs"])
    return {**before, "stages": [*earlier, {**last, "epochs": epochs}, *now["stages"][len(earlier) + 1 :]]}


def _read(uri: str, storage: Storage) -> dict[str, Any] | None:
    try:
        return Recipe.from_dict(json.loads(storage.read(uri).data)).to_dict()  # younger fields have their defaults
    except NotFoundError:
        return None
    except ValueError as error:
        raise SettingsError(f"{uri} cannot be understood: {error}") from error


def _changes(before: Any, now: Any, place: str = "") -> list[tuple[str, Any]]:
    """List the innermost fields of plain data that have another value now, and the value before."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(f"{place}.{key}".lstrip("."), before.get(key), now.get(key)) for key in {**now, **before}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{place}.{number}", *each) for number, each in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [(place, before)]
    return [change for name, old, new in pairs for change in _changes(old, new, name)]
