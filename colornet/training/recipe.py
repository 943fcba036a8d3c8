"""A training run as data: presets, overridden field by field, checked here, and written into the bundle."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import torch
import tyro
from torch import nn

from colornet import networks
from colornet.errors import SettingsError

RECONSTRUCTIONS = ("l1", "smooth_l1")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """The network that colorizes."""

    network: str = "unet"
    """Its name in `colornet.networks`."""
    width: int = 64
    """Channels of its first convolution; the reference has 64. The work grows with the square."""

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments that build the network."""
        return {"width": self.width}


@dataclass(frozen=True, kw_only=True)
class DiscriminatorRecipe:
    """The network that tells real colour from made-up colour."""

    network: str = "reference"
    """Its name in `colornet.networks`."""
    width: int = 32
    """Channels of its first convolution; the reference has 32."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a run trains: the same recipe, data and number of workers give the same run.

    A run has two stages: the discriminator alone (`warmup_steps`), then the duel (`epochs` of `steps_per_epoch`). At
    the end of each epoch a discriminator that has fallen behind is retrained before the generator goes on.

    Raises `SettingsError`, with the field's name in it, if a value is out of range.
    """

    name: Annotated[str, tyro.conf.arg(name="recipe")] = "standard"
    """The preset to start from: standard, reference, shapes or smoke. All flags below override one field of it."""
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    """The network that colorizes."""
    discriminator: DiscriminatorRecipe = field(default_factory=DiscriminatorRecipe)
    """The network that tells real colour from made-up colour."""
    image_size: int = 256
    """Side of the square crops, pixels."""
    batch_size: int = 32
    """Photographs a step, per worker."""
    warmup_steps: int = 200
    """Steps of the discriminator alone, on real colour against noise and the untrained generator's first guesses."""
    epochs: int = 60
    """Epochs of the duel. An epoch is a number of steps, not a pass over the photographs."""
    steps_per_epoch: int = 500
    """Steps of the duel an epoch; each trains both networks once."""
    generator_learning_rate: float = 2e-4
    """Adam's step size for the generator."""
    discriminator_learning_rate: float = 2e-4
    """Adam's step size for the discriminator."""
    decay: float = 0.5
    """Share of the duel, at its end, over which both step sizes fall linearly to 0."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates of both optimisers."""
    reconstruction: str = "smooth_l1"
    """Distance between predicted and true a*b*: l1 or smooth_l1."""
    reconstruction_weight: float = 100.0
    """Weight of that distance in the generator's loss; 0 gives the pure adversarial game."""
    adversarial_weight: float = 1.0
    """Weight of the discriminator's verdict in the generator's loss."""
    held_out_photographs: int = 256
    """How many held-out photographs the discriminator's accuracy is measured on."""
    retrain_below: float = 0.6
    """Retrain the discriminator when its accuracy on held-out photographs is below this (0.5 is guessing, 0 never)."""
    retrain_steps: int = 100
    """At most so many steps of retraining at the end of an epoch."""
    precision: str = "auto"
    """float32, bfloat16 (autocast, channels-last), or auto: bfloat16 where the processor has it."""
    seed: int = 0
    """Seeds the networks' first weights, noise, dropout, and the order and crops of the photographs."""
    checkpoint_every: int = 1
    """Epochs between two checkpoints; the last epoch always has one."""
    panel_photographs: int = 8
    """Held-out photographs shown in the panel of each epoch."""

    def __post_init__(self) -> None:
        """Check every field."""
        _check_types(self)
        _check(self, "image_size", self.image_size >= 16, "at least 16")
        for name in ("batch_size", "epochs", "steps_per_epoch", "checkpoint_every", "held_out_photographs"):
            _check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "retrain_steps", "panel_photographs", "seed"):
            _check(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("generator_learning_rate", "discriminator_learning_rate"):
            _check(self, name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("reconstruction_weight", "adversarial_weight"):
            _check(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        _check(self, "adversarial_weight", self.adversarial_weight + self.reconstruction_weight > 0, "above 0")
        _check(self, "decay", 0 <= self.decay <= 1, "in [0, 1]")
        _check(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        _check(self, "reconstruction", self.reconstruction in RECONSTRUCTIONS, f"one of {', '.join(RECONSTRUCTIONS)}")
        _check(self, "precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        _check(self, "retrain_below", 0 <= self.retrain_below <= 1, "in [0, 1]")

    def photographs(self, workers: int) -> int:
        """How many photographs `workers` workers may use up in the whole run, all retraining included."""
        steps = self.warmup_steps + self.epochs * (self.steps_per_epoch + self.retrain_steps)
        return steps * self.batch_size * workers

    def build_generator(self) -> nn.Module:
        """Build the untrained generator; `SettingsError` if there is no such network."""
        return _build("generator", networks.build_generator, self.generator.network, self.generator.settings)

    def build_discriminator(self) -> nn.Module:
        """Build the untrained discriminator for crops of `image_size`; `SettingsError` if there is no such network."""
        settings = {"width": self.discriminator.width, "image_size": self.image_size}
        return _build("discriminator", networks.build_discriminator, self.discriminator.network, settings)

    def check_networks(self) -> None:
        """Build both networks without memory, so that a wrong setting is known before a cluster starts."""
        with torch.device("meta"):
            self.build_generator()
            self.build_discriminator()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; `from_dict` gives the same recipe back."""
        data = dataclasses.asdict(self)
        data["betas"] = list(self.betas)
        return data


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """Make a recipe of what `Recipe.to_dict` returned; fields that are missing take their defaults.

    Raises:
        SettingsError: if a field is unknown, of the wrong type or out of range; the message names it.
    """
    return _from_dict(Recipe, data, "recipe")


def preset(name: str) -> Recipe:
    """Return the preset of that name; `SettingsError` names those that there are."""
    if name not in PRESETS:
        raise SettingsError(f"no recipe is called {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def _from_dict(kind: type, data: object, place: str) -> Any:
    if not isinstance(data, Mapping):
        raise SettingsError(f"{place} must be a mapping, not {data!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise SettingsError(f"{place} has no field {unknown[0]!r}; there are: {', '.join(hints)}")
    values: dict[str, Any] = {}
    for name, value in data.items():
        if dataclasses.is_dataclass(hints[name]):
            value = _from_dict(hints[name], value, name)
        elif get_origin(hints[name]) is tuple and isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return kind(**values)


def _check(recipe: object, name: str, fine: bool, what: str) -> None:
    if not fine:
        raise SettingsError(f"{name} must be {what}, not {getattr(recipe, name)!r}")


def _check_types(recipe: object, prefix: str = "") -> None:
    for name, hint in get_type_hints(type(recipe)).items():
        value = getattr(recipe, name)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, hint):  # type: ignore[arg-type]
                raise SettingsError(f"{prefix}{name} must be a {hint}, not {value!r}")
            _check_types(value, f"{name}.")
        elif get_origin(hint) is tuple:
            kinds = get_args(hint)
            if not isinstance(value, tuple) or len(value) != len(kinds) or not all(map(_is_a, value, kinds)):
                raise SettingsError(f"{prefix}{name} must be {len(kinds)} numbers, not {value!r}")
        elif not _is_a(value, hint):
            raise SettingsError(f"{prefix}{name} must be of type {hint.__name__}, not {value!r}")


def _is_a(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _build(kind: str, build: Any, network: str, settings: Mapping[str, Any]) -> nn.Module:
    try:
        return build(network, settings)
    except ValueError as error:
        raise SettingsError(f"{kind}: {error}") from error


_STANDARD = Recipe()

PRESETS: Mapping[str, Recipe] = {
    "standard": _STANDARD,
    # As the original work: the adversarial term alone, on a*b*, the generator ten times faster than the discriminator.
    "reference": dataclasses.replace(
        _STANDARD,
        name="reference",
        reconstruction_weight=0.0,
        generator_learning_rate=1e-3,
        discriminator_learning_rate=1e-4,
        decay=0.0,
        warmup_steps=500,
        retrain_below=0.8,
        retrain_steps=200,
    ),
    # Simple shapes in the colour of their kind: a minute or so on two processor cores. The generator sees 55 pixels
    # around each: at 48 these hold a whole shape; at 64 they do not, and squares and triangles take far longer.
    "shapes": dataclasses.replace(
        _STANDARD,
        name="shapes",
        generator=GeneratorRecipe(width=16),
        discriminator=DiscriminatorRecipe(width=16),
        image_size=48,
        batch_size=16,
        warmup_steps=20,
        epochs=12,
        steps_per_epoch=80,
        generator_learning_rate=1.5e-3,
        discriminator_learning_rate=2e-4,
        held_out_photographs=64,
        retrain_steps=20,
        checkpoint_every=4,
    ),
    # A few steps of tiny networks: does everything hold together?
    "smoke": dataclasses.replace(
        _STANDARD,
        name="smoke",
        generator=GeneratorRecipe(width=4),
        discriminator=DiscriminatorRecipe(width=4),
        image_size=32,
        batch_size=4,
        warmup_steps=2,
        epochs=2,
        steps_per_epoch=4,
        held_out_photographs=8,
        retrain_steps=2,
        panel_photographs=3,
    ),
}
