"""A recipe by a preset's name, from JSON and TOML, and from a model bundle; and what is said of one that is wrong."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from colornet import shipped
from colornet.errors import BundleError, SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import SHIPPED, Bundle
from colornet.training.presets import PRESETS, preset
from colornet.training.recipe import GENERATOR, Recipe, Stage
from colornet.training.recipe_files import RENAMED, load_recipe, recipe_flag

SMOKE = dataclasses.replace(preset("smoke"), name="small", seed=7)
TOML = """
ema_decay = 0.9
betas = [0.5, 0.9]
generator = { width = 8 }

[[stages]]
trains = "generator"
epochs = 2
batch_size = 4

[degradation]
grain = 0.5
"""


def write(place: Path, text: str) -> str:
    place.write_text(text)
    return str(place)


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_stands_for_a_preset(name):
    assert load_recipe(name) is preset(name)


def test_json(tmp_path):
    assert load_recipe(write(tmp_path / "recipe.json", json.dumps(SMOKE.to_dict()))) == SMOKE


def test_toml_where_what_is_missing_takes_its_default(tmp_path):
    made = load_recipe(write(tmp_path / "mine.toml", TOML))
    assert made.name == "mine" and made.stages == (Stage(trains=GENERATOR, epochs=2, batch_size=4),)
    assert (made.generator.width, made.degradation.grain, made.betas) == (8, 0.5, (0.5, 0.9))
    assert dataclasses.replace(made, name="standard", stages=Recipe().stages) == Recipe.from_dict(
        {"generator": {"width": 8}, "ema_decay": 0.9, "betas": [0.5, 0.9], "degradation": {"grain": 0.5}}
    )


def test_a_bundle_and_its_description(tmp_path):
    generator = SMOKE.build_generator()
    saved = Bundle(
        generator=generator,
        network="unet",
        settings=SMOKE.generator.settings,
        image_size=SMOKE.image_size,
        recipe=SMOKE.to_dict(),
    )
    bundles.save(saved, str(tmp_path))
    assert load_recipe(str(tmp_path / "bundle.json")) == load_recipe(str(tmp_path)) == SMOKE


def test_the_bundle_that_comes_with_colornet():
    made = load_recipe(SHIPPED)
    assert made == load_recipe(str(Path(shipped.__path__[0]) / "bundle.json")) == preset("shipped")


@pytest.mark.parametrize("old", RENAMED)
@pytest.mark.parametrize("inside", ["", "stages.0.", "generator."])
def test_names_of_release_0_1_are_hinted_at(tmp_path, old, inside):
    fields: dict = {old: 0.5}
    if inside:
        fields = {"stages": [fields]} if inside.startswith("stages") else {"generator": fields}
    place = write(tmp_path / "old.json", json.dumps(fields))
    told = f"{place}: {inside}{old}: there is no such field; since release 0.1 it is called {RENAMED[old]}"
    with pytest.raises(SettingsError, match=f"^{re.escape(told)}$"):
        load_recipe(place)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"epochs": 3}', "epochs: there is no such field"),
        ("a.toml", "[[stages]]\nepochs = 0", r"stages\.0\.epochs should be greater than or equal to 1, not 0"),
        ("a.toml", "seed = 2001-01-01", "numbers and words only: .*date"),
        ("a.toml", "seed = ", "Invalid value"),
        ("a.json", "[]", "not a table"),
        ("a.json", '{"format": 1, "recipe": {}}', "there is no recipe in it"),
        ("a.json", '{"format": 1, "recipe": 3}', "a recipe must have fields, and this is 3"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(tmp_path, name, text, message):
    place = write(tmp_path / name, text)
    with pytest.raises(SettingsError, match=f"^{re.escape(place)}: .*{message}"):
        load_recipe(place)


def test_what_is_nowhere_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"^no recipe is called 'best'; there are: standard, .* A \.json or \.toml"):
        load_recipe("best")
    with pytest.raises(SettingsError, match=r"nowhere\.json: No such file"):
        load_recipe(str(tmp_path / "nowhere.json"))
    with pytest.raises(BundleError, match="is not a model bundle"):
        load_recipe(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        ([], "standard"),
        (["--data", "a"], "standard"),
        (["--recipe", "smoke", "--data", "a"], "smoke"),
        (["--recipe=mine.toml"], "mine.toml"),
        (["--recipe", "smoke", "--recipe", "laptop"], "laptop"),
        (["--recipe"], "standard"),
    ],
)
def test_the_last_flag_counts(arguments, source):
    assert recipe_flag(arguments, otherwise="standard") == source
