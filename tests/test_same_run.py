"""What may change in the recipe of a run that goes on."""

import dataclasses
import json

import pytest

from colornet.errors import SettingsError
from colornet.training import presets
from colornet.training.recipe import Recipe, Stage
from colornet.training.same_run import FILE, note
from colornet.training.start import Start

SMOKE = presets.preset("smoke")


def with_stage(number: int, **changes) -> Recipe:
    stages = list(SMOKE.stages)
    stages[number] = dataclasses.replace(stages[number], **changes)
    return dataclasses.replace(SMOKE, stages=tuple(stages))


def noted(place) -> Recipe:
    return Recipe.from_dict(json.loads((place / FILE).read_text()))


LONGER = with_stage(-1, epochs=9)
FOLLOWED = dataclasses.replace(LONGER, stages=(*LONGER.stages, Stage(name="more", image_size=32)))


@pytest.mark.parametrize("later", [SMOKE, LONGER, FOLLOWED], ids=["same", "longer", "followed"])
def test_a_run_may_become_longer(tmp_path, later):
    note(SMOKE, None, str(tmp_path))
    note(later, None, str(tmp_path))
    assert noted(tmp_path) == later


@pytest.mark.parametrize(
    ("later", "changed"),
    [
        (with_stage(-1, epochs=1), r"\(stages.1.epochs was 2\)"),
        (with_stage(0, epochs=9), r"\(stages.0.epochs was 1\)"),
        (with_stage(-1, epochs=9, batch_size=9), r"\(stages.1.batch_size was 4\)"),
        (dataclasses.replace(FOLLOWED, seed=9), r"\(seed was 0\)"),
        (dataclasses.replace(SMOKE, stages=SMOKE.stages[1:]), r"\(stages was \[.*pre-training.*\)"),
    ],
)
def test_nothing_else_may_change(tmp_path, later, changed):
    note(SMOKE, None, str(tmp_path))
    with pytest.raises(SettingsError, match=f"has another recipe {changed}: give another --name or --output"):
        note(later, None, str(tmp_path))
    assert noted(tmp_path) == SMOKE


def test_a_run_of_an_older_release_goes_on(tmp_path):
    older = SMOKE.to_dict()
    del older["weight_decay"]
    (tmp_path / FILE).write_text(json.dumps(older))
    note(SMOKE, None, str(tmp_path))
    assert noted(tmp_path) == SMOKE
    heavier = dataclasses.replace(SMOKE, weight_decay=0.5)
    with pytest.raises(SettingsError, match=r"weight_decay was 0\.0"):
        note(heavier, None, str(tmp_path))


def test_a_run_starts_from_one_bundle_only(tmp_path):
    one, other = Start("/some/where/mine", "1" * 64), Start("s3://models/other", "2" * 64)
    note(SMOKE, one, str(tmp_path / "fine"))
    note(LONGER, one, str(tmp_path / "fine"))
    note(SMOKE, None, str(tmp_path / "anew"))
    for start in (None, other):
        with pytest.raises(
            SettingsError, match=r"'fine' .* started from mine of digest 111111111111, and --start-from"
        ):
            note(LONGER, start, str(tmp_path / "fine"))
    with pytest.raises(SettingsError, match=r"'anew' .* started anew, and --start-from says otherwise"):
        note(SMOKE, one, str(tmp_path / "anew"))
