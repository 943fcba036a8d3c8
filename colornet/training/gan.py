"""Adversarial training of generator and discriminator: one step of a stage, in plain PyTorch.

Either network may be wrapped in `DistributedDataParallel` or not; the steps are the same.
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
from colornet.training.objective import GeneratorOutput, Objective
from colornet.training.recipe import BOTH, DISCRIMINATOR, Recipe, Stage
from colornet.training.wrapping import unwrap

Losses = dict[str, Tensor]
"""Scalars of a step by name, as "adversarial_loss" or "generator_gradient_norm", detached, on the device."""


class Batch(NamedTuple):
    """Photographs as the networks see them, float32, on the device."""

    degraded: Tensor
    """(B, 1, H, W), scaled L* after degradation: the generator's input."""
    lightness: Tensor
    """(B, 1, H, W), scaled L* of the photographs themselves."""
    ab: Tensor
    """(B, 2, H, W), their scaled a*b*."""
    hints: Tensor | None = None
    """(B, 3, H, W), what the generator is told of a*b*, if it takes hints; see `BackboneGenerator.forward`."""

    def split(self, size: int) -> list["Batch"]:
        """Split into batches of at most `size`; 0 leaves it whole."""
        if not size:
            return [self]
        return [Batch(*each) for each in zip(*(part.split(size) for part in self if part is not None), strict=True)]


class GanModule:
    """The two networks, their optimisers, the EMA of the generator's weights, and the number of steps."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        objective: Objective | None = None,
    ) -> None:
        """Prepare two networks, which are on `device`, for the first stage of a recipe.

        Args:
            generator: (B, 1, H, W) to (B, 2, H, W), as `for_training` returns it.
            discriminator: (B, 1, H, W) and (B, 2, H, W) to logits.
            recipe: optimisers, EMA, precision and stages.
            device: where both networks are.
            objective: the losses that compare with true colour; with equal weights of all colours, unless given.
        """
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = recipe
        self.device = torch.device(device)
        self.low_precision = resolve(recipe.precision, self.device) is torch.bfloat16
        self.objective = objective or Objective(generator)
        self.ema = EmaGenerator(self.unwrapped_generator, recipe.ema_decay) if recipe.ema_decay else None
        self.generator_optimizer = _build_optimizer(generator, recipe)
        self.discriminator_optimizer = _build_optimizer(discriminator, recipe)
        self.steps = 0
        self.start_stage(recipe.stages[0])

    def start_stage(self, stage: Stage) -> None:
        """Train with the losses and learning rates of this stage from now on."""
        self.stage = stage
        self.lr_scale(1.0, 1.0)

    @property
    def unwrapped_generator(self) -> nn.Module:
        """The generator that trains, without its wrappers."""
        return unwrap(self.generator)

    @property
    def unwrapped_discriminator(self) -> nn.Module:
        """The discriminator without its wrapper."""
        return unwrap(self.discriminator)

    @property
    def inference_generator(self) -> nn.Module:
        """The generator for the bundle: with the EMA of the weights where the recipe has one, else as it trains."""
        return self.ema.module if self.ema else self.unwrapped_generator

    def lr_scale(self, generator: float, discriminator: float) -> None:
        """Set both learning rates to these multiples of the stage's."""
        rate = generator * self.stage.generator_learning_rate
        _set_learning_rates(self.generator_optimizer, rate, self.stage.encoder_lr_scale * rate)
        _set_learning_rates(self.discriminator_optimizer, discriminator * self.stage.discriminator_learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Take one step with a batch: of both networks, of the generator alone, or of the discriminator alone.

        Returns:
            The terms of both losses, unweighted, and the 2-norm of each network's gradient before clipping, of what the
            stage trains. For kinds of adversarial loss other than bce, adversarial_entropy_loss is the bce.
        """
        self.steps += 1
        micro_batches = batch.split(self.stage.micro_batch_size)
        if self.stage.trains == DISCRIMINATOR:
            fakes = [self._noise(number, each) for number, each in enumerate(micro_batches)]
            return self._train_discriminator(micro_batches, fakes)
        if self.stage.trains != BOTH:
            return self._train_generator(micro_batches)
        if len(micro_batches) > 1:
            # To predict once for both networks, the graphs of all micro-batches would have to be in memory.
            with torch.no_grad():
                fakes = [
                    self._predict(self.unwrapped_generator, each.degraded, each.hints).ab for each in micro_batches
                ]
            return self._train_discriminator(micro_batches, fakes) | self._train_generator(micro_batches)
        # One forward pass for both networks.
        predicted = self._predict(self.generator, batch.degraded, batch.hints)
        discriminator = self._train_discriminator(micro_batches, [predicted.ab.detach()])
        return discriminator | self._train_generator(micro_batches, [predicted])

    def retraining_step(self, batch: Batch) -> Losses:
        """Take one step of the discriminator alone, on real colour and the generator's predictions."""
        self.steps += 1
        micro_batches = batch.split(self.stage.micro_batch_size)
        fakes = [self.colorize(each.degraded, each.hints, use_ema=False) for each in micro_batches]
        return self._train_discriminator(micro_batches, fakes)

    def synchronize_buffers(self) -> None:
        """Give all workers the buffers of the first one, which are those that a checkpoint has."""
        for network in (self.unwrapped_generator, self.unwrapped_discriminator, self.inference_generator):
            share_buffers(network)

    @torch.no_grad()
    def colorize(self, lightness: Tensor, hints: Tensor | None = None, *, use_ema: bool = True) -> Tensor:
        """Predict scaled a*b* (B, 2, H, W), float32, from scaled L* (B, 1, H, W), in eval mode.

        Args:
            lightness: the generator's input.
            hints: (B, 3, H, W), what it is told of a*b*, if it takes hints.
            use_ema: predict with `inference_generator`; else with the generator that trains.
        """
        with _evaluating(self.inference_generator if use_ema else self.unwrapped_generator) as generator:
            return self._predict(generator, lightness, hints).ab

    @torch.no_grad()
    def count_correct(self, lightness: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        """Count the pictures that the discriminator is right about.

        Args:
            lightness: (B, 1, H, W), scaled L*.
            real: (B, 2, H, W), true scaled a*b*.
            fake: (B, 2, H, W), predicted scaled a*b*.

        Returns:
            A scalar, float32, in [0, 2B].
        """
        with _evaluating(self.unwrapped_discriminator) as discriminator, self._autocast():
            return correct_verdicts(discriminator(lightness, real), discriminator(lightness, fake))

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on but the random state, for `torch.save`."""
        return {
            "generator": self.unwrapped_generator.state_dict(),
            "discriminator": self.unwrapped_discriminator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.unwrapped_generator.load_state_dict(state["generator"])
        self.unwrapped_discriminator.load_state_dict(state["discriminator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.steps = state["steps"]

    def _train_discriminator(self, micro_batches: Sequence[Batch], fakes: Sequence[Tensor]) -> Losses:
        sums, weight = _LossSums(micro_batches), self.stage.gradient_penalty_weight
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        for number, (batch, fake) in enumerate(zip(micro_batches, fakes, strict=True)):
            with _synchronized(self.discriminator, number == len(micro_batches) - 1):
                # Real and fake are one batch: with two forward passes before one backward pass, DDP would overwrite the
                # BatchNorm buffers that the first still needs, and both would be normalised by statistics of their own.
                with self._autocast():
                    lightness, ab = torch.cat([batch.lightness] * 2), torch.cat([batch.ab, fake])
                    real_logits, fake_logits = self.discriminator(lightness, ab).split(len(fake))
                loss = discriminator_loss(real_logits, fake_logits, self.stage.adversarial)
                terms = {"discriminator": loss}
                if weight:
                    terms["gradient_penalty"] = self._penalty(batch)
                    loss = loss + weight * terms["gradient_penalty"]
                sums.backward(loss, terms, batch)
        norm = self._optimize(self.discriminator_optimizer, self.discriminator)
        return sums.losses | {"discriminator_gradient_norm": norm}

    def _penalty(self, batch: Batch) -> Tensor:
        """Compute R1 in full precision, without DDP, which expects one forward pass for each backward pass."""
        ab = batch.ab.detach().requires_grad_()
        return gradient_penalty(self.unwrapped_discriminator(batch.lightness, ab), ab)

    def _train_generator(self, micro_batches: Sequence[Batch], predicted: Sequence[GeneratorOutput] = ()) -> Losses:
        sums, stage = _LossSums(micro_batches), self.stage
        self.generator_optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(micro_batches):
            with _synchronized(self.generator, number == len(micro_batches) - 1):
                output = predicted[number] if predicted else self._predict(self.generator, batch.degraded, batch.hints)
                terms = self.objective(stage, batch.lightness, output, batch.ab)
                if stage.trains == BOTH:
                    logits = self._judge(batch, output)
                    terms["adversarial"] = adversarial_loss(logits, stage.adversarial)
                loss = torch.stack([getattr(stage, f"{name}_weight") * term for name, term in terms.items()]).sum()
                if stage.trains == BOTH and stage.adversarial != "bce":
                    terms["adversarial_entropy"] = adversarial_loss(logits)  # `health` compares all kinds by this
                sums.backward(loss, {"generator": loss, **terms}, batch)
        norm = self._optimize(self.generator_optimizer, self.generator)
        if self.ema:
            self.ema.update_parameters(self.unwrapped_generator)
        return sums.losses | {"generator_gradient_norm": norm}

    def _judge(self, batch: Batch, output: GeneratorOutput) -> Tensor:
        """Return the discriminator's logits, without any change to it, and without DDP."""
        with _evaluating(self.unwrapped_discriminator) as discriminator, _frozen(discriminator), self._autocast():
            return discriminator(batch.lightness, output.ab)

    def _optimize(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> Tensor:
        """Clip the gradients, step the optimiser, and return the gradients' norm before clipping."""
        parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self.recipe.max_grad_norm:
            clip_grads_with_norm_(parameters, self.recipe.max_grad_norm, norm)
        optimizer.step()
        return norm

    def _noise(self, number: int, batch: Batch) -> Tensor:
        """Alternate noise and predictions, also from one micro-batch or step of a single photograph to the next."""
        fake = self.colorize(batch.degraded, batch.hints, use_ema=False)
        fake[(self.steps + number) % 2 :: 2].uniform_(-1, 1)
        return fake

    def _predict(self, generator: nn.Module, lightness: Tensor, hints: Tensor | None = None) -> GeneratorOutput:
        with self._autocast():
            output = generator(lightness) if hints is None else generator(lightness, hints)
        ab, logits = output if isinstance(output, tuple) else (output, None)
        return GeneratorOutput(ab.float(), logits)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)


class _LossSums:
    """Accumulates losses and gradients over micro-batches, each weighted by its share of the photographs."""

    def __init__(self, micro_batches: Sequence[Batch]) -> None:
        self._photographs = sum(len(each.ab) for each in micro_batches)
        self.losses: Losses = {}

    def backward(self, loss: Tensor, terms: dict[str, Tensor], batch: Batch) -> None:
        share = len(batch.ab) / self._photographs
        (share * loss).backward()
        for name, term in terms.items():
            self.losses[f"{name}_loss"] = self.losses.get(f"{name}_loss", 0.0) + share * term.detach()


def build_inference_generator(recipe: Recipe, state: dict[str, Any]) -> nn.Module:
    """Build the bundle's generator from the `state_dict` of a `GanModule`: float32, in eval mode, on the CPU."""
    generator = recipe.build_generator()
    if state["ema"]:
        average = EmaGenerator(generator, recipe.ema_decay)
        average.load_state_dict(state["ema"])
        generator.load_state_dict(average.module.state_dict())
    else:
        generator.load_state_dict(state["generator"])
    return generator.float().eval()


def _build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Build an optimiser, with a second group of parameters for the encoder where there is one."""
    encoder = list(getattr(unwrap(network), "encoder", nn.Identity()).parameters())
    known = set(map(id, encoder))
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    groups = [{"params": others}, {"params": encoder}] if encoder else [{"params": others}]
    return torch.optim.AdamW(groups, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)


def _set_learning_rates(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """Set the learning rate of each group of parameters; there may be fewer groups than rates."""
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate


def _synchronized(network: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Let `DistributedDataParallel` reduce gradients in the backward pass of the last micro-batch only."""
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
