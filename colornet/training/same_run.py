"""Whether a run may go on where an earlier one stopped: its recipe is noted beside its checkpoints."""

import json
from typing import Any

from colornet.errors import NotFoundError, SettingsError
from colornet.storage import Storage, uris
from colornet.training.recipe import Recipe
from colornet.training.start import Start

FILE = "recipe.json"
START = "start.json"


def note(recipe: Recipe, start: Start | None, run: str, storage: Storage = Storage()) -> None:
    """Keep the recipe at a run's place, and where it starts, or compare both with those that are there.

    A run may become longer: its last stage may have more epochs than before, and stages may follow it. Then the recipe
    takes the place of the one that was there.

    Args:
        recipe: of the run now.
        start: the bundle that it starts from; none, if it starts anew.
        run: folder or s3:// prefix of its checkpoints; the last part is its name.
        storage: with what it is reached.

    Raises:
        SettingsError: if the run was begun with another recipe or from another bundle; the message names the fields.
    """
    place, now = uris.join(run, FILE), recipe.to_dict()
    before = _read(place, storage)
    _note_start(start, is_new=before is None, run=run, storage=storage)
    if before is not None and (changes := _changes(_grown(before, now), now)):
        changed = ", ".join(f"{key} was {value!r}" for key, value in changes)
        raise SettingsError(
            f"the run {uris.name(run)!r} in {run} has another recipe ({changed}): give another --name or --output. "
            "Only its last stage may have more epochs, and more stages may follow"
        )
    if before != now:
        storage.write(place, (json.dumps(now, indent=2) + "\n").encode(), "application/json")


def _note_start(start: Start | None, is_new: bool, run: str, storage: Storage) -> None:
    place = uris.join(run, START)
    if is_new and start:
        storage.write(place, (json.dumps(start.describe(), indent=2) + "\n").encode(), "application/json")
    if is_new:
        return
    before = _read_json(place, storage) or {}
    if before.get("digest") != (start and start.digest):
        told = f"started from {before['uri']} of digest {before['digest'][:12]}" if before else "started anew"
        raise SettingsError(
            f"the run {uris.name(run)!r} in {run} {told}, and --start-from says otherwise: give another --name or "
            "--output"
        )


def _grown(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with as many epochs in its last stage as it has now, and the stages that follow it now."""
    *earlier, last = before["stages"]
    if len(now["stages"]) <= len(earlier):
        return before
    epochs = max(last["epochs"], now["stages"][len(earlier)]["epochs"])
    return {**before, "stages": [*earlier, {**last, "epochs": epochs}, *now["stages"][len(earlier) + 1 :]]}


def _read(uri: str, storage: Storage) -> dict[str, Any] | None:
    data = _read_json(uri, storage)
    return None if data is None else Recipe.from_dict(data).to_dict()  # younger fields have their defaults


def _read_json(uri: str, storage: Storage) -> Any:
    try:
        return json.loads(storage.read(uri).data)
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
