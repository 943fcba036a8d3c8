"""The duel of generator and discriminator: one step of each, in plain PyTorch.

Either network may be bare or wrapped in `DistributedDataParallel`; the steps are the same.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colornet.training.losses import adversarial_loss, correct_verdicts, discriminator_loss, reconstruction_loss
from colornet.training.recipe import Recipe

Losses = dict[str, Tensor]
"""Scalar losses of a step by the name of the term, detached, on the device."""


class Duel:
    """The two networks, their optimisers, and how many steps they have taken."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, recipe: Recipe, device: torch.device | str = "cpu"
    ) -> None:
        """Pit two networks, already on `device`, against each other as the recipe says."""
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = recipe
        self.device = torch.device(device)
        self.low_precision = uses_bfloat16(recipe.precision, self.device)
        self.generator_optimizer = _adam(generator, recipe.generator_learning_rate, recipe)
        self.discriminator_optimizer = _adam(discriminator, recipe.discriminator_learning_rate, recipe)
        self.steps = 0

    @property
    def bare_generator(self) -> nn.Module:
        """The generator without its wrapper."""
        return bare(self.generator)

    @property
    def bare_discriminator(self) -> nn.Module:
        """The discriminator without its wrapper."""
        return bare(self.discriminator)

    def pace(self, share: float) -> None:
        """Set both optimisers' step sizes to a share of the recipe's."""
        for optimizer, rate in (
            (self.generator_optimizer, self.recipe.generator_learning_rate),
            (self.discriminator_optimizer, self.recipe.discriminator_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = share * rate

    def step(self, lightness: Tensor, real: Tensor) -> Losses:
        """Train both networks once: the discriminator on the generator's colour, then the generator on its verdict.

        Args:
            lightness: (B, 1, H, W), scaled L*, float32, on the device.
            real: (B, 2, H, W), the photographs' scaled a*b*, float32, on the device.
        """
        self.steps += 1
        fake = self._predict(self.generator, lightness)  # one forward serves both steps
        return self._train_discriminator(real, fake.detach()) | self._train_generator(fake, real)

    def warm_up_step(self, lightness: Tensor, real: Tensor) -> Losses:
        """Train the discriminator alone: real colour against noise (half of the batch) and the generator's guesses."""
        self.steps += 1
        fake = self.colorize(lightness)
        fake[: len(fake) // 2].uniform_(-1, 1)
        return self._train_discriminator(real, fake)

    def retraining_step(self, lightness: Tensor, real: Tensor) -> Losses:
        """Train the discriminator alone against the generator as it is, which learns nothing from it."""
        self.steps += 1
        return self._train_discriminator(real, self.colorize(lightness))

    @torch.no_grad()
    def colorize(self, lightness: Tensor) -> Tensor:
        """Predict as the finished generator would: scaled L* (B, 1, H, W) to scaled a*b* (B, 2, H, W), float32."""
        with _evaluating(self.bare_generator) as generator:
            return self._predict(generator, lightness)

    @torch.no_grad()
    def count_correct(self, real: Tensor, fake: Tensor) -> Tensor:
        """Count the discriminator's right verdicts on (B, 2, H, W) real and as many made-up a*b*: a scalar, float32."""
        with _evaluating(self.bare_discriminator) as discriminator, self._autocast():
            return correct_verdicts(discriminator(real), discriminator(fake))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, except for the random state; `torch.save` can hold it."""
        return {
            "generator": self.bare_generator.state_dict(),
            "discriminator": self.bare_discriminator.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.bare_generator.load_state_dict(state["generator"])
        self.bare_discriminator.load_state_dict(state["discriminator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.steps = state["steps"]

    def _train_discriminator(self, real: Tensor, fake: Tensor) -> Losses:
        # Real and made-up go through in one batch: with two forwards before one backward, DDP would overwrite the
        # BatchNorm buffers that the first still needs, and each side would be normalised by its own statistics.
        with self._autocast():
            verdicts = self.discriminator(torch.cat([real, fake]))
        loss = discriminator_loss(verdicts[: len(real)], verdicts[len(real) :])
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        return {"discriminator": loss.detach()}

    def _train_generator(self, fake: Tensor, real: Tensor) -> Losses:
        # The bare discriminator, frozen and in eval mode: nothing of it is reduced over the workers or changed.
        with _evaluating(self.bare_discriminator) as discriminator, _frozen(discriminator), self._autocast():
            adversarial = adversarial_loss(discriminator(fake))
        reconstruction = reconstruction_loss(self.recipe.reconstruction, fake, real)
        loss = self.recipe.adversarial_weight * adversarial + self.recipe.reconstruction_weight * reconstruction
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimizer.step()
        return {
            "generator": loss.detach(),
            "adversarial": adversarial.detach(),
            "reconstruction": reconstruction.detach(),
        }

    def _predict(self, generator: nn.Module, lightness: Tensor) -> Tensor:
        with self._autocast():
            return generator(lightness).float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)


def bare(network: nn.Module) -> nn.Module:
    """Take off a network's `DistributedDataParallel` wrapper, if it has one."""
    return cast(nn.Module, network.module) if isinstance(network, DistributedDataParallel) else network


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a recipe's `precision` means bfloat16 autocast on this device: "auto" where it is native."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _adam(network: nn.Module, learning_rate: float, recipe: Recipe) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=recipe.betas, fused=True)


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Put a network into eval mode for a while."""
    training = network.training
    network.eval()
    try:
        yield network
    finally:
        network.train(training)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients flow through a network, but not into it, for a while."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
