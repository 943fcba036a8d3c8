"""A training run as data: stages, overridden field by field, checked here, and written into the bundle."""

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
from colornet.networks.backbone import HUB, BackboneGenerator, load_encoder_weights
from colornet.training.degradation import Degradation
from colornet.training.health import Policy, Thresholds
from colornet.training.losses import GAN_LOSSES

BOTH, GENERATOR, DISCRIMINATOR = "both", "generator", "discriminator"
TRAINED = (BOTH, GENERATOR, DISCRIMINATOR)
RECONSTRUCTIONS = ("l1", "smooth_l1")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """The network that colorizes."""

    network: str = "unet"
    """Its name in `colornet.networks`: unet, or backbone for an encoder that has learned to see elsewhere."""
    width: int = 64
    """Channels of the unet's first convolution (the reference has 64), or of the backbone's decoder at half size (32
    is plenty). The work grows with the square."""
    norm: str = "batch"
    """Normalisation: batch, or group where a worker sees few photographs at a time."""
    encoder: str = "tf_efficientnet_lite0"
    """For backbone: the encoder's name in timm."""
    encoder_weights: str = "none"
    """For backbone: what the encoder starts from: none, package (the extra pretrained installs it), hub (downloads what
    timm has), or a local file."""
    head: str = "ab"
    """For backbone: ab predicts a*b*; bins a distribution over them, which tells how sure it is."""

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments that build the network."""
        norm = {} if self.norm == "batch" else {"norm": self.norm}
        if self.network == "backbone":
            return {"encoder": self.encoder, "width": self.width, "head": self.head} | norm
        return {"width": self.width} | norm


@dataclass(frozen=True, kw_only=True)
class DiscriminatorRecipe:
    """The network that tells real colour from made-up colour."""

    network: str = "reference"
    """Its name in `colornet.networks`: reference sees a*b* alone and a whole picture; patch sees L* too, here and
    there."""
    width: int = 32
    """Channels of its first convolution; the reference has 32, patch usually 64."""

    def settings(self, image_size: int) -> dict[str, Any]:
        """The keyword arguments that build the network for crops of `image_size`."""
        return {"width": self.width} | ({"image_size": image_size} if self.network == "reference" else {})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run that trains the same networks in the same way.

    Raises `SettingsError`, with the field's name in it, if a value is out of range.
    """

    name: str = "adversarial"
    """What it is called in the report."""
    trains: str = BOTH
    """both networks, the generator alone, or the discriminator alone, on real colour against noise and the generator's
    guesses."""
    epochs: int = 60
    """Epochs of the stage. An epoch is a number of steps, not a pass over the photographs."""
    steps_per_epoch: int = 500
    """Steps an epoch; each trains each network once."""
    image_size: int = 256
    """Side of the square crops, pixels."""
    min_crop_scale: float = 1.0
    """Smallest square that is cut out of a photograph, as a share of its shorter side; each is drawn between this and
    1, the whole side."""
    batch_size: int = 32
    """Photographs a step, of all workers together: each takes an equal share, at least one."""
    micro_batch_size: int = 0
    """At most so many photographs go through a worker's networks at once; a larger share goes in pieces whose gradients
    are added up. 0: all at once."""
    generator_learning_rate: float = 2e-4
    """AdamW's step size for the generator."""
    encoder_share: float = 1.0
    """For backbone: the encoder's step size, as a share of the generator's. A small one keeps what the encoder has
    learned elsewhere, 0 leaves it as it is."""
    discriminator_learning_rate: float = 2e-4
    """AdamW's step size for the discriminator."""
    warmup: float = 0.0
    """Share of the stage, at its start, over which both step sizes rise linearly from 0."""
    decay: float = 0.5
    """Share of the stage, at its end, over which both step sizes fall linearly to 0."""
    reconstruction: str = "smooth_l1"
    """Distance between predicted and true a*b*: l1 or smooth_l1."""
    reconstruction_weight: float = 100.0
    """Weight of that distance in the generator's loss; 0 gives the pure adversarial game."""
    vividness: float = 0.0
    """How much more a saturated pixel weighs in that distance: one of chroma 50 weighs 1 + vividness, gray weighs 1."""
    distribution_weight: float = 0.0
    """Weight of the cross-entropy of the distribution over a*b*; for a generator with head bins."""
    perceptual_weight: float = 0.0
    """Weight of the distance between features of VGG16, from `perceptual_weights`."""
    adversarial: str = "bce"
    """Kind of the adversarial loss: bce, lsgan or hinge."""
    adversarial_weight: float = 1.0
    """Weight of the discriminator's verdict in the generator's loss."""
    gradient_penalty_weight: float = 0.0
    """Weight of R1 in the discriminator's loss."""

    def __post_init__(self) -> None:
        """Check every field."""
        _check_types(self)
        _check(self, "name", bool(self.name) and self.name.isprintable(), "a name")
        _check(self, "trains", self.trains in TRAINED, f"one of {', '.join(TRAINED)}")
        _check(self, "image_size", self.image_size >= 16, "at least 16")
        for name in ("batch_size", "epochs", "steps_per_epoch"):
            _check(self, name, getattr(self, name) >= 1, "at least 1")
        _check(self, "micro_batch_size", self.micro_batch_size >= 0, "at least 0")
        for name in ("generator_learning_rate", "discriminator_learning_rate"):
            _check(self, name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("vividness", "gradient_penalty_weight", *_WEIGHTS):
            _check(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        for name in ("warmup", "decay", "encoder_share"):
            _check(self, name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        _check(self, "min_crop_scale", 0 < self.min_crop_scale <= 1, "above 0 and up to 1")
        _check(self, "reconstruction", self.reconstruction in RECONSTRUCTIONS, f"one of {', '.join(RECONSTRUCTIONS)}")
        _check(self, "adversarial", self.adversarial in GAN_LOSSES, f"one of {', '.join(GAN_LOSSES)}")
        if self.trains == BOTH:
            _check(self, "adversarial_weight", self.adversarial_weight > 0, "above 0 where both networks train")
        if self.trains == GENERATOR and not any(getattr(self, name) for name in _WEIGHTS[:-1]):
            raise SettingsError("reconstruction_weight must be above 0, or another loss where the generator is alone")

    @property
    def steps(self) -> int:
        """All steps of the stage, without any retraining of the discriminator."""
        return self.epochs * self.steps_per_epoch

    def share(self, workers: int) -> int:
        """How many photographs of a step each of so many workers takes."""
        return max(1, round(self.batch_size / workers))

    def lr_scale(self, step: int) -> float:
        """Share of the full learning rates at a step of the stage, from 0."""
        rising = (step + 1) / (self.warmup * self.steps) if self.warmup else 1.0
        falling = (1 - step / self.steps) / self.decay if self.decay else 1.0
        return min(1.0, rising, falling)


_WEIGHTS = ("reconstruction_weight", "distribution_weight", "perceptual_weight", "adversarial_weight")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides how a run trains: the same recipe, data and number of workers give the same run.

    A run goes through its stages one after the other. At the end of each epoch of adversarial training a
    discriminator that has fallen behind is retrained before the generator goes on, and `health` judges whether the
    networks are balanced.

    Raises `SettingsError`, with the field's name in it, if a value is out of range.
    """

    name: Annotated[str, tyro.conf.arg(name="recipe")] = "standard"
    """The preset to start from: standard, laptop, shipped, reference, shapes or smoke. All flags below override its
    fields."""
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    """The network that colorizes."""
    discriminator: DiscriminatorRecipe = field(default_factory=DiscriminatorRecipe)
    """The network that tells real colour from made-up colour."""
    stages: tuple[Stage, ...] = field(default_factory=lambda: (Stage(),))
    """What is trained, one stage after the other."""
    degradation: Degradation = field(default_factory=Degradation)
    """What happens to the gray that the generator sees in training, as old film and time would do it."""
    betas: tuple[float, float] = (0.5, 0.999)
    """AdamW's decay rates of both optimisers."""
    weight_decay: float = 0.0
    """AdamW's weight decay of both optimisers."""
    max_grad_norm: float = 0.0
    """Gradients of a network with a 2-norm above this are scaled down to it; 0: never."""
    ema_decay: float = 0.0
    """The bundle has the moving average of the generator's weights over the steps, with this decay; 0: the last."""
    rebalancing: float = 0.5
    """For a generator with head bins: share of equal frequencies in those that rare colours are weighed by, above 0; 1
    weighs all alike."""
    perceptual_weights: str = ""
    """VGG16 for the perceptual loss: a local file, or torchvision to download it."""
    held_out_photographs: int = 256
    """How many held-out photographs the discriminator's accuracy and the generator's colour are measured on."""
    retrain_below: float = 0.6
    """Retrain the discriminator when its accuracy on held-out photographs is below this (0.5 is guessing, 0 never)."""
    retrain_steps: int = 100
    """At most so many steps of retraining at the end of an epoch."""
    health: Policy = field(default_factory=Policy)
    """What to do when the networks are out of balance."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """From where on a number is an alarm."""
    precision: str = "auto"
    """float32, bfloat16 (autocast, channels-last), or auto: bfloat16 where the processor has it."""
    compile: bool = False
    """Compile both networks with torch.compile: minutes at the start, faster steps on GPUs."""
    sync_batchnorm: bool = False
    """Normalise over the batches of all workers together; on GPUs only."""
    seed: int = 0
    """Seeds the networks' first weights, noise, dropout, degradation, and the order and crops of the photographs."""
    checkpoint_every: int = 1
    """Epochs between two checkpoints; the last epoch always has one."""
    panel_photographs: int = 8
    """Held-out photographs shown in the panel of each epoch."""

    def __post_init__(self) -> None:
        """Check every field."""
        _check_types(self)
        if all(stage.trains == DISCRIMINATOR for stage in self.stages):
            raise SettingsError("stages must have one that trains the generator")
        for name in ("checkpoint_every", "held_out_photographs"):
            _check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("retrain_steps", "panel_photographs", "seed"):
            _check(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("weight_decay", "max_grad_norm"):
            _check(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        _check(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        _check(self, "ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        _check(self, "rebalancing", 0 < self.rebalancing <= 1, "above 0 and up to 1")
        _check(self, "precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        _check(self, "retrain_below", 0 <= self.retrain_below <= 1, "in [0, 1]")
        for stage in self.stages:
            self._check_stage(stage)

    def _check_stage(self, stage: Stage) -> None:
        if stage.distribution_weight and (self.generator.network, self.generator.head) != ("backbone", "bins"):
            raise SettingsError(f"stage {stage.name!r}: distribution_weight is for a backbone with head bins only")
        if stage.perceptual_weight and not self.perceptual_weights:
            raise SettingsError(f"stage {stage.name!r}: perceptual_weight needs perceptual_weights, a file with VGG16")
        sizes = {each.image_size for each in self.stages if each.trains != GENERATOR}
        if self.discriminator.network == "reference" and len(sizes) > 1:
            raise SettingsError("image_size must be the same in all stages with a discriminator called 'reference'")

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def steps(self) -> int:
        """Steps of all stages, without any retraining of the discriminator."""
        return sum(stage.steps for stage in self.stages)

    @property
    def image_size(self) -> int:
        """Side of the crops of the last stage that trains the generator, pixels: what the generator is best at."""
        return [stage.image_size for stage in self.stages if stage.trains != DISCRIMINATOR][-1]

    def photographs(self, number: int, workers: int) -> int:
        """How many photographs up to `workers` workers may use up in a stage, numbered from 0, with all retraining."""
        stage = self.stages[number]
        # By accuracy, and once more where the policy says so.
        retraining = 2 * stage.epochs * self.retrain_steps if stage.trains == BOTH else 0
        most = max(stage.share(count) * count for count in range(1, workers + 1))
        return (stage.steps + retraining) * most

    def build_generator(self) -> nn.Module:
        """Build the untrained generator; `SettingsError` if there is no such network."""
        return _build("generator", networks.build_generator, self.generator.network, self.generator.settings)

    def build_discriminator(self) -> nn.Module:
        """Build the untrained discriminator; `SettingsError` if there is no such network."""
        size = next((stage.image_size for stage in self.stages if stage.trains != GENERATOR), self.image_size)
        settings = self.discriminator.settings(size)
        return _build("discriminator", networks.build_discriminator, self.discriminator.network, settings)

    def load_encoder(self, generator: nn.Module) -> None:
        """Give a new generator's encoder the weights that it starts from, if any; `SettingsError` if there are none."""
        if isinstance(generator, BackboneGenerator) and self.generator.encoder_weights != "none":
            load_encoder_weights(generator, self.generator.encoder_weights)

    def check_networks(self) -> None:
        """Try what the networks are built of, so that a wrong setting is known before a cluster starts."""
        with torch.device("meta"):
            generator, discriminator = self.build_generator(), self.build_discriminator()
            for stage in self.stages:
                if stage.trains != GENERATOR:
                    _try_size(discriminator, stage.image_size)
        if self.generator.encoder_weights not in ("none", HUB):
            self.load_encoder(generator.to_empty(device="cpu"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; `from_dict` gives the same recipe back."""
        data = dataclasses.asdict(self)
        return data | {"betas": list(self.betas), "stages": list(data["stages"])}


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """Make a recipe of what `Recipe.to_dict` returned; fields that are missing take their defaults.

    Raises:
        SettingsError: if a field is unknown, of the wrong type or out of range; the message names it.
    """
    return _from_dict(Recipe, data, "recipe")


def _from_dict(kind: type, data: object, place: str) -> Any:
    if not isinstance(data, Mapping):
        raise SettingsError(f"{place} must be a mapping, not {data!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise SettingsError(f"{place} has no field {unknown[0]!r}; there are: {', '.join(hints)}")
    values: dict[str, Any] = {}
    for name, value in data.items():
        hint, inner = hints[name], name if kind is Recipe else f"{place}.{name}"
        if dataclasses.is_dataclass(hint):
            value = _from_dict(hint, value, inner)  # type: ignore[arg-type]
        elif hint == tuple[Stage, ...] and isinstance(value, list):
            value = tuple(_from_dict(Stage, each, f"{inner}.{number}") for number, each in enumerate(value))
        elif get_origin(hint) is tuple and isinstance(value, list):
            value = tuple(value)
        _check_type(inner, hint, value)
        values[name] = value
    return kind(**values)


def _check(recipe: object, name: str, fine: bool, what: str) -> None:
    if not fine:
        place = f"stage {recipe.name!r}: " if isinstance(recipe, Stage) else ""
        raise SettingsError(f"{place}{name} must be {what}, not {getattr(recipe, name)!r}")


def _check_types(recipe: object) -> None:
    for name, hint in get_type_hints(type(recipe)).items():
        _check_type(name, hint, getattr(recipe, name))


def _check_type(name: str, hint: Any, value: Any) -> None:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, hint):  # type: ignore[arg-type]
            raise SettingsError(f"{name} must be a {hint}, not {value!r}")
        for inner, kind in get_type_hints(hint).items():
            _check_type(f"{name}.{inner}", kind, getattr(value, inner))
    elif hint == tuple[Stage, ...]:
        if not isinstance(value, tuple) or not all(isinstance(stage, Stage) for stage in value):
            raise SettingsError(f"{name} must be a tuple of stages, not {value!r}")
    elif get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple) or len(value) != len(kinds) or not all(map(_is_a, value, kinds)):
            raise SettingsError(f"{name} must be {len(kinds)} numbers, not {value!r}")
    elif not _is_a(value, hint):
        raise SettingsError(f"{name} must be of type {hint.__name__}, not {value!r}")


def _is_a(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _try_size(discriminator: nn.Module, size: int) -> None:
    try:
        discriminator(torch.empty(2, 1, size, size), torch.empty(2, 2, size, size))
    except ValueError as error:
        raise SettingsError(f"discriminator: {error}") from error


def _build(kind: str, build: Any, network: str, settings: Mapping[str, Any]) -> nn.Module:
    try:
        return build(network, settings)
    except ValueError as error:
        raise SettingsError(f"{kind}: {error}") from error
