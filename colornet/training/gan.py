"""Adversarial training of generator and discriminator: one step of a stage, in plain PyTorch.

Either network may be bare or wrapped in `DistributedDataParallel`; the steps are the same.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from colornet.inference.precision import resolve
from colornet.training.distributed import share_buffers
from colornet.training.ema import EmaGenerator
from colornet.training.losses import adversarial_loss, correct_verdicts, discriminator_loss, gradient_penalty
from colornet.training.objective import Objective, Prediction
from colornet.training.recipe import BOTH, DISCRIMINATOR, Recipe, Stage
from colornet.training.wrapping import bare

Losses = dict[str, Tensor]
"""Scalars of a step by name, as "adversarial_loss" or "generator_gradient_norm", detached, on the device."""


class Batch(NamedTuple):
    """Photographs as the networks see them, float32, on the device."""

    seen: Tensor
    """(B, 1, H, W), scaled L* that the generator sees: degraded, as an old film might have it."""
    lightness: Tensor
    """(B, 1, H, W), scaled L* of the photographs themselves."""
    ab: Tensor
    """(B, 2, H, W), their scaled a*b*."""

    def pieces(self, size: int) -> list["Batch"]:
        """Cut into batches of at most `size`; 0 leaves it whole."""
        if not size:
            return [self]
        return [Batch(*each) for each in zip(*(part.split(size) for part in self), strict=True)]


class GanModule:
    """The two networks, their optimisers, the average of the generator, and how many steps they have taken."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        objective: Objective | None = None,
    ) -> None:
        """Pit two networks, already on `device`, against each other as the recipe says, in its first stage."""
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = recipe
        self.device = torch.device(device)
        self.low_precision = resolve(recipe.precision, self.device) is torch.bfloat16
        self.objective = objective or Objective(generator)
        self.ema = EmaGenerator(self.bare_generator, recipe.ema_decay) if recipe.ema_decay else None
        self.generator_optimizer = _adam(generator, recipe)
        self.discriminator_optimizer = _adam(discriminator, recipe)
        self.steps = 0
        self.begin(recipe.stages[0])

    def begin(self, stage: Stage) -> None:
        """Train as this stage of the recipe says, from now on."""
        self.stage = stage
        self.lr_scale(1.0, 1.0)

    @property
    def bare_generator(self) -> nn.Module:
        """The generator as it trains, without its wrappers."""
        return bare(self.generator)

    @property
    def bare_discriminator(self) -> nn.Module:
        """The discriminator without its wrapper."""
        return bare(self.discriminator)

    @property
    def finished_generator(self) -> nn.Module:
        """The generator that goes into the bundle: the average where there is one."""
        return self.ema.module if self.ema else self.bare_generator

    def lr_scale(self, generator_share: float, discriminator_share: float) -> None:
        """Set the optimisers' step sizes to shares of the stage's."""
        rate = generator_share * self.stage.generator_learning_rate
        _set_rates(self.generator_optimizer, rate, self.stage.encoder_lr_scale * rate)
        _set_rates(self.discriminator_optimizer, discriminator_share * self.stage.discriminator_learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Train once what the stage trains: both networks, the generator on true colour alone, or the discriminator."""
        self.steps += 1
        pieces = batch.pieces(self.stage.micro_batch_size)
        if self.stage.trains == DISCRIMINATOR:
            return self._train_discriminator(
                pieces, [self._noise(number, piece) for number, piece in enumerate(pieces)]
            )
        if self.stage.trains != BOTH:
            return self._train_generator(pieces)
        if len(pieces) > 1:  # what serves both networks would have to be kept for all pieces
            with torch.no_grad():
                fakes = [self._predict(self.bare_generator, piece.seen).ab for piece in pieces]
            return self._train_discriminator(pieces, fakes) | self._train_generator(pieces)
        predicted = self._predict(self.generator, batch.seen)  # one forward serves both
        return self._train_discriminator(pieces, [predicted.ab.detach()]) | self._train_generator(pieces, [predicted])

    def retraining_step(self, batch: Batch) -> Losses:
        """Train the discriminator alone against the generator as it is, which learns nothing from it."""
        self.steps += 1
        pieces = batch.pieces(self.stage.micro_batch_size)
        return self._train_discriminator(pieces, [self.colorize(piece.seen, finished=False) for piece in pieces])

    def agree(self) -> None:
        """Make the networks of all workers the same to the last buffer, as they are in a checkpoint."""
        for network in (self.bare_generator, self.bare_discriminator, self.finished_generator):
            share_buffers(network)

    @torch.no_grad()
    def colorize(self, lightness: Tensor, *, finished: bool = True) -> Tensor:
        """Predict scaled a*b* (B, 2, H, W), float32, from scaled L* (B, 1, H, W), in eval mode.

        Args:
            lightness: what the generator sees.
            finished: as the generator that goes into the bundle; else as the one that trains.
        """
        with _evaluating(self.finished_generator if finished else self.bare_generator) as generator:
            return self._predict(generator, lightness).ab

    @torch.no_grad()
    def count_correct(self, lightness: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        """Count the discriminator's right verdicts on (B, 2, H, W) real and as many made-up a*b*: a scalar, float32."""
        with _evaluating(self.bare_discriminator) as discriminator, self._autocast():
            return correct_verdicts(discriminator(lightness, real), discriminator(lightness, fake))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on, except for the random state; `torch.save` can hold it."""
        return {
            "generator": self.bare_generator.state_dict(),
            "discriminator": self.bare_discriminator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.bare_generator.load_state_dict(state["generator"])
        self.bare_discriminator.load_state_dict(state["discriminator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.steps = state["steps"]

    def _train_discriminator(self, pieces: Sequence[Batch], fakes: Sequence[Tensor]) -> Losses:
        sums, weight = _Sums(pieces), self.stage.gradient_penalty_weight
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        for number, (piece, fake) in enumerate(zip(pieces, fakes, strict=True)):
            with _reducing(self.discriminator, number == len(pieces) - 1):
                # Real and made-up go through in one batch: with two forwards before one backward, DDP would overwrite
                # the BatchNorm buffers that the first still needs, and each side would have statistics of its own.
                with self._autocast():
                    lightness, ab = torch.cat([piece.lightness] * 2), torch.cat([piece.ab, fake])
                    real, made_up = self.discriminator(lightness, ab).split(len(fake))
                loss = discriminator_loss(real, made_up, self.stage.adversarial)
                terms = {"discriminator": loss}
                if weight:
                    terms["gradient_penalty"] = self._penalty(piece)
                    loss = loss + weight * terms["gradient_penalty"]
                sums.backward(loss, terms, piece)
        norm = self._take(self.discriminator_optimizer, self.discriminator)
        return sums.losses | {"discriminator_gradient_norm": norm}

    def _penalty(self, piece: Batch) -> Tensor:
        """R1 at the real colour; in full precision, and past DDP, which counts one forward for one backward."""
        ab = piece.ab.detach().requires_grad_()
        return gradient_penalty(self.bare_discriminator(piece.lightness, ab), ab)

    def _train_generator(self, pieces: Sequence[Batch], predicted: Sequence[Prediction] = ()) -> Losses:
        sums, stage = _Sums(pieces), self.stage
        self.generator_optimizer.zero_grad(set_to_none=True)
        for number, piece in enumerate(pieces):
            with _reducing(self.generator, number == len(pieces) - 1):
                prediction = predicted[number] if predicted else self._predict(self.generator, piece.seen)
                terms = self.objective(stage, piece.lightness, prediction, piece.ab)
                if stage.trains == BOTH:
                    verdicts = self._verdicts(piece, prediction)
                    terms["adversarial"] = adversarial_loss(verdicts, stage.adversarial)
                loss = torch.stack([getattr(stage, f"{name}_weight") * term for name, term in terms.items()]).sum()
                if stage.trains == BOTH and stage.adversarial != "bce":
                    terms["adversarial_entropy"] = adversarial_loss(verdicts)  # what all kinds are judged by
                sums.backward(loss, {"generator": loss, **terms}, piece)
        norm = self._take(self.generator_optimizer, self.generator)
        if self.ema:
            self.ema.update_parameters(self.bare_generator)
        return sums.losses | {"generator_gradient_norm": norm}

    def _verdicts(self, piece: Batch, predicted: Prediction) -> Tensor:
        # The bare discriminator, frozen and in eval mode: nothing of it is reduced over the workers or changed.
        with _evaluating(self.bare_discriminator) as discriminator, _frozen(discriminator), self._autocast():
            return discriminator(piece.lightness, predicted.ab)

    def _take(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> Tensor:
        """Take the optimiser's step, with gradients clipped as the recipe says; returns their norm before that."""
        parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self.recipe.max_grad_norm:
            clip_grads_with_norm_(parameters, self.recipe.max_grad_norm, norm)
        optimizer.step()
        return norm

    def _noise(self, number: int, piece: Batch) -> Tensor:
        """Noise and what the generator makes of a piece, in turn, also over pieces and steps of one photograph."""
        fake = self.colorize(piece.seen, finished=False)
        fake[(self.steps + number) % 2 :: 2].uniform_(-1, 1)
        return fake

    def _predict(self, generator: nn.Module, seen: Tensor) -> Prediction:
        with self._autocast():
            output = generator(seen)
        ab, logits = output if isinstance(output, tuple) else (output, None)
        return Prediction(ab.float(), logits)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)


class _Sums:
    """Adds up losses, and their gradients, over the pieces of a batch: each counts as its share of the photographs."""

    def __init__(self, pieces: Sequence[Batch]) -> None:
        self._photographs = sum(len(piece.ab) for piece in pieces)
        self.losses: Losses = {}

    def backward(self, loss: Tensor, terms: dict[str, Tensor], piece: Batch) -> None:
        share = len(piece.ab) / self._photographs
        (share * loss).backward()
        for name, term in terms.items():
            self.losses[f"{name}_loss"] = self.losses.get(f"{name}_loss", 0.0) + share * term.detach()


def finished_generator(recipe: Recipe, state: dict[str, Any]) -> nn.Module:
    """Build the bundle's generator from the `state_dict` of a `GanModule`: float32, in eval mode, on the CPU."""
    generator = recipe.build_generator()
    if state["ema"]:
        average = EmaGenerator(generator, recipe.ema_decay)
        average.load_state_dict(state["ema"])
        generator.load_state_dict(average.module.state_dict())
    else:
        generator.load_state_dict(state["generator"])
    return generator.float().eval()


def _adam(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Make an optimiser, with a second group of parameters for the encoder where there is one."""
    encoder = list(getattr(bare(network), "encoder", nn.Identity()).parameters())
    known = set(map(id, encoder))
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    groups = [{"params": others}, {"params": encoder}] if encoder else [{"params": others}]
    return torch.optim.AdamW(groups, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)


def _set_rates(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """Set the step size of each group of parameters; there may be fewer groups than rates."""
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate


def _reducing(network: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Let `DistributedDataParallel` reduce the gradients of the last piece only, which has those of all."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return contextlib.nullcontext()


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
