"""Recipes: presets, checks that name the field, and the way to JSON and back."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colornet.errors import SettingsError
from colornet.training import recipe
from colornet.training.recipe import PRESETS, DiscriminatorRecipe, GeneratorRecipe, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_built_and_kept_whole_by_json(name):
    preset = recipe.preset(name)
    assert preset.name == name
    preset.check_networks()
    assert recipe.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


@given(
    epochs=st.integers(1, 10**6),
    rate=st.floats(1e-9, 10),
    betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    width=st.integers(1, 512),
    kind=st.sampled_from(recipe.RECONSTRUCTIONS),
)
def test_json_round_trip(epochs, rate, betas, width, kind):
    made = Recipe(
        epochs=epochs,
        generator_learning_rate=rate,
        betas=betas,
        generator=GeneratorRecipe(width=width),
        discriminator=DiscriminatorRecipe(width=width),
        reconstruction=kind,
    )
    assert recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_reference_is_the_pure_adversarial_game():
    reference = recipe.preset("reference")
    assert reference.reconstruction_weight == 0 and reference.adversarial_weight == 1
    assert reference.generator_learning_rate == 10 * reference.discriminator_learning_rate
    assert (reference.generator.width, reference.discriminator.width, reference.image_size) == (64, 32, 256)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", "3"),
        ("epochs", True),
        ("batch_size", -1),
        ("image_size", 8),
        ("warmup_steps", -1),
        ("seed", 0.5),
        ("generator_learning_rate", 0),
        ("discriminator_learning_rate", float("nan")),
        ("reconstruction_weight", float("inf")),
        ("betas", (0.5, 1.0)),
        ("betas", (0.5,)),
        ("reconstruction", "l2"),
        ("precision", "half"),
        ("retrain_below", 1.5),
        ("decay", -0.1),
        ("generator", {"width": 4}),
    ],
)
def test_wrong_values_are_named(field, value):
    with pytest.raises(SettingsError, match=rf"{field} must be .*, not "):
        dataclasses.replace(recipe.preset("smoke"), **{field: value})


def test_a_generator_without_any_loss_is_refused():
    with pytest.raises(SettingsError, match="adversarial_weight"):
        Recipe(adversarial_weight=0, reconstruction_weight=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "recipe has no field 'epoch'"),
        ({"generator": {"depth": 3}}, "generator has no field 'depth'"),
        ({"generator": 3}, "generator must be a mapping"),
        ({"generator": {"width": "wide"}}, "generator.width must be of type int"),
    ],
)
def test_plain_data_that_does_not_fit_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        recipe.from_dict(recipe.preset("smoke").to_dict() | change)


def test_missing_fields_take_their_defaults():
    assert recipe.from_dict({}) == Recipe()


def test_networks_that_do_not_exist_are_named_without_building_them():
    with pytest.raises(SettingsError, match=r"no generator is called 'vgg'; there are: unet"):
        Recipe(generator=GeneratorRecipe(network="vgg")).check_networks()
    with pytest.raises(SettingsError, match=r"image_size must be a multiple of 16, not 40"):
        Recipe(image_size=40).check_networks()


def test_unknown_presets_are_named():
    with pytest.raises(SettingsError, match="no recipe is called 'best'; there are: standard, reference"):
        recipe.preset("best")


def test_photographs_count_every_step_of_every_worker():
    made = dataclasses.replace(
        recipe.preset("smoke"), warmup_steps=3, epochs=2, steps_per_epoch=10, retrain_steps=5, batch_size=4
    )
    assert made.photographs(workers=2) == (3 + 2 * (10 + 5)) * 4 * 2
