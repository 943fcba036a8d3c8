"""The recipes that there are by name."""

import dataclasses
from collections.abc import Mapping

from colornet.datasets.sampling import Sampling
from colornet.errors import SettingsError
from colornet.training.degradation import DEGRADATIONS
from colornet.training.health import Thresholds
from colornet.training.recipe import BOTH, DISCRIMINATOR, GENERATOR, DiscriminatorRecipe, GeneratorRecipe, Recipe, Stage


def preset(name: str) -> Recipe:
    """Return the preset of that name; `SettingsError` names those that there are."""
    if name not in PRESETS:
        raise SettingsError(f"no recipe is called {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


# What the generator learns from true colour. Adversarial training keeps these losses and adds the discriminator's.
# Pixels weigh nearly the same, and errors count as squares up to 25 units: what is not known comes out pale, not wrong.
# Crops show things at all sizes.
_COLOUR = Stage(
    name="colour",
    trains=GENERATOR,
    epochs=24,
    steps_per_epoch=500,
    image_size=224,
    batch_size=128,
    min_crop_scale=0.4,
    generator_learning_rate=1e-3,
    encoder_lr_scale=0.3,
    warmup=0.05,
    decay=0.7,
    reconstruction_beta=25.0,
    reconstruction_weight=6.0,
    vividness=0.5,
    distribution_weight=0.1,
)
_FIRST_LOOK = Stage(
    name="pre-training",
    trains=DISCRIMINATOR,
    epochs=1,
    steps_per_epoch=500,
    image_size=224,
    batch_size=128,
    decay=0.0,
    adversarial="hinge",
)
_GENTLE_ADVERSARY = dataclasses.replace(
    _COLOUR,
    name="adversarial",
    trains=BOTH,
    epochs=6,
    generator_learning_rate=1e-4,
    discriminator_learning_rate=4e-4,
    adversarial="hinge",
    adversarial_weight=0.05,
)
_STANDARD = Recipe(
    name="standard",
    generator=GeneratorRecipe(
        network="backbone", width=32, encoder_weights="package", head="bins", context=True, hints=True
    ),
    discriminator=DiscriminatorRecipe(network="patch", width=64),
    stages=(_COLOUR, _FIRST_LOOK, _GENTLE_ADVERSARY),
    degradation=DEGRADATIONS["kept"],
    nearly_gray_kept=1.0,
    betas=(0.5, 0.99),
    weight_decay=0.01,
    max_grad_norm=10.0,
    ema_decay=0.999,
    rebalancing=1.0,
)


# True colour alone, at first in small pictures: an hour on two cores.
_SMALL = dataclasses.replace(_COLOUR, epochs=22, steps_per_epoch=100, image_size=128, batch_size=32)
_SHIPPED = (
    _SMALL,
    dataclasses.replace(
        _SMALL,
        name="finer",
        epochs=2,
        image_size=224,
        min_crop_scale=0.6,
        generator_learning_rate=2e-4,
        warmup=0.0,
        decay=1.0,
    ),
)
# Scenes, people, animals and streets are what archives hold; most of the photographs are objects and flowers.
_ARCHIVES = Sampling(
    kind={"scene": 5.0, "people": 2.0, "animal": 6.0, "street": 4.0, "object": 2.0, "food": 1.3, "cloth": 1.3},
    source={"tf-flowers": 0.8, "cid22": 3.0, "debian-wallpapers": 4.0, "clic2025": 4.0},
)
_ADVERSARIAL = Stage()
_PRE_TRAINING = Stage(name="pre-training", trains=DISCRIMINATOR, epochs=1, steps_per_epoch=200, decay=0.0)

# Most of what there is to learn is the true colour; vividness keeps the generator from the gray between the kinds.
_SHAPES_COLOUR = Stage(
    name="colour",
    trains=GENERATOR,
    epochs=10,
    steps_per_epoch=100,
    image_size=32,
    batch_size=16,
    generator_learning_rate=3e-3,
    warmup=0.1,
    decay=0.9,
    vividness=3.0,
)
_SHAPES = (
    _SHAPES_COLOUR,
    dataclasses.replace(
        _SHAPES_COLOUR,
        name="pre-training",
        trains=DISCRIMINATOR,
        epochs=1,
        discriminator_learning_rate=5e-4,
        warmup=0.0,
        decay=0.0,
    ),
    dataclasses.replace(
        _SHAPES_COLOUR,
        name="adversarial",
        trains=BOTH,
        epochs=4,
        generator_learning_rate=5e-4,
        discriminator_learning_rate=5e-4,
    ),
)


def _smoke(stage: Stage, steps: int) -> Stage:
    return dataclasses.replace(stage, image_size=32, batch_size=4, steps_per_epoch=steps)


PRESETS: Mapping[str, Recipe] = {
    # To start on eight GPUs and walk away from: an encoder that can see, true colour first, then a gentle adversary.
    "standard": _STANDARD,
    # True colour alone, for two processor cores: smaller crops and batches, and a quarter of an hour.
    "laptop": dataclasses.replace(
        _STANDARD,
        name="laptop",
        discriminator=DiscriminatorRecipe(network="patch", width=32),
        stages=(dataclasses.replace(_COLOUR, epochs=16, steps_per_epoch=100, image_size=128, batch_size=16),),
        ema_decay=0.99,
    ),
    # What made the bundle that comes with Colornet.
    "shipped": dataclasses.replace(
        _STANDARD,
        name="shipped",
        stages=_SHIPPED,
        sampling=_ARCHIVES,
        betas=(0.9, 0.99),
        weight_decay=0.02,
    ),
    # As the original work: the adversarial term alone, on a*b*, the generator ten times faster than the discriminator.
    # There, L* and a*b* are shuffled separately, which makes no difference to a discriminator of a*b* alone.
    "reference": Recipe(
        name="reference",
        stages=(
            dataclasses.replace(_PRE_TRAINING, steps_per_epoch=500, discriminator_learning_rate=1e-4),
            dataclasses.replace(
                _ADVERSARIAL,
                reconstruction_weight=0.0,
                generator_learning_rate=1e-3,
                discriminator_learning_rate=1e-4,
                decay=0.0,
            ),
        ),
        retrain_below=0.8,
        retrain_steps=200,
    ),
    # To start from a bundle with, on some hundred photographs or more: small steps, few of them.
    "fine-tune": dataclasses.replace(
        _STANDARD,
        name="fine-tune",
        generator=dataclasses.replace(_STANDARD.generator, encoder_weights="none"),
        discriminator=DiscriminatorRecipe(network="patch", width=32),
        stages=(
            dataclasses.replace(
                _COLOUR,
                name="fine-tuning",
                epochs=4,
                steps_per_epoch=100,
                image_size=192,
                batch_size=16,
                generator_learning_rate=1e-4,
                warmup=0.1,
                decay=0.9,
            ),
        ),
        ema_decay=0.99,
    ),
    # Simple shapes in the colour of their kind: a minute or two on two processor cores. The generator sees 55 pixels
    # around each: at 32 these hold a whole shape wherever it lies, and steps are cheap. Small batches make many steps.
    "shapes": Recipe(
        name="shapes",
        generator=GeneratorRecipe(width=16),
        discriminator=DiscriminatorRecipe(width=16),
        stages=_SHAPES,
        ema_decay=0.99,
        held_out_photographs=64,
        retrain_steps=20,
        thresholds=Thresholds(window=_SHAPES[-1].epochs),  # so that the last epoch has a verdict
        checkpoint_every=4,
    ),
    # A few steps of tiny networks: does everything hold together?
    "smoke": Recipe(
        name="smoke",
        generator=GeneratorRecipe(width=4),
        discriminator=DiscriminatorRecipe(width=4),
        stages=(_smoke(_PRE_TRAINING, 2), dataclasses.replace(_smoke(_ADVERSARIAL, 4), epochs=2)),
        held_out_photographs=8,
        retrain_steps=2,
        panel_photographs=3,
    ),
}
