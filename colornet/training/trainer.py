"""A training run, from the discriminator's warm-up to the last epoch; every worker runs the same."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from colornet import color
from colornet.errors import TrainingError
from colornet.training.gan import Duel, Losses
from colornet.training.losses import LossRecord
from colornet.training.recipe import Recipe

SETTLE_EVERY = 10
"""Steps between two looks at the losses."""

Step = Callable[[Tensor, Tensor], Losses]


@dataclass(frozen=True)
class Progress:
    """How far a stage of the run is."""

    stage: str
    step: int
    steps: int
    """Steps of the stage."""
    losses: Mapping[str, float]
    """Mean of each term in the stage so far."""
    photographs_per_second: float
    """Of all workers, in the stage so far."""
    seconds_left: float
    """To the end of the run, at this pace, without any retraining to come."""


class Trainer:
    """The duel, the photographs it is fought over, and what came of each epoch."""

    def __init__(
        self,
        duel: Duel,
        photographs: Iterator[Tensor],
        held_out: Tensor,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        """Prepare a run that has not begun.

        Args:
            duel: the two networks; its recipe decides everything here.
            photographs: batches of this worker, (B, 3, S, S) sRGB uint8 on the duel's device.
            held_out: this worker's share of the held-out photographs, (N, 3, S, S) sRGB uint8; N may be 0, and differ
                from that of other workers.
            on_progress: is told every few steps how far the run is.
        """
        self.duel = duel
        self.recipe: Recipe = duel.recipe
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self._photographs = photographs
        self.held_out = held_out
        self._on_progress = on_progress
        self._duel_steps = 0
        self._waited = 0.0

    def warm_up(self) -> None:
        """Train the discriminator alone, before the first epoch."""
        self._take(self.duel.warm_up_step, self.recipe.warmup_steps, "warm-up")

    def run_epoch(self) -> dict[str, float]:
        """Fight one epoch of the duel, retrain the discriminator if it has fallen behind, and return what was measured.

        Returns:
            What is also appended to `history`: epoch (from 1) and steps (of all so far); the epoch's mean
            generator_loss, adversarial_loss, reconstruction_loss (unweighted, in the networks' scaling) and
            discriminator_loss; on held-out photographs discriminator_accuracy (in [0, 1], before any retraining),
            accuracy_after_retraining, and held_out_error (mean distance from the true a*b*, in their units);
            retraining_steps; seconds and photographs_per_second (of all workers) of the duel, and waiting_for_data (the
            share of those seconds).

        Raises:
            TrainingError: if a loss is not finite or the photographs run out.
        """
        self.epoch += 1
        recipe, self._waited, started = self.recipe, 0.0, time.monotonic()
        losses = self._take(self._paced_step, recipe.steps_per_epoch, f"epoch {self.epoch}/{recipe.epochs}")
        seconds = time.monotonic() - started
        waiting = self._waited / seconds
        fake = self._colorize_held_out()
        accuracy = self._accuracy(fake)
        retraining_steps, accuracy_after = self._retrain(fake, accuracy)
        measured = {
            "epoch": self.epoch,
            "steps": self.duel.steps,
            **{f"{term}_loss": value for term, value in losses.items()},
            "discriminator_accuracy": accuracy,
            "accuracy_after_retraining": accuracy_after,
            "held_out_error": self._error(fake),
            "retraining_steps": retraining_steps,
            "seconds": seconds,
            "photographs_per_second": recipe.steps_per_epoch * recipe.batch_size * _workers() / seconds,
            "waiting_for_data": waiting,
        }
        self.history.append(measured)
        return measured

    def colorize(self, photographs: Tensor) -> Tensor:
        """Predict the scaled a*b* (N, 2, S, S) of photographs (N, 3, S, S), sRGB uint8, from their L*."""
        batches = [self.duel.colorize(self._split(batch)[0]) for batch in photographs.split(self.recipe.batch_size)]
        return torch.cat(batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the state between two epochs, without the random state; plain data and tensors."""
        return {"duel": self.duel.state_dict(), "epoch": self.epoch, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.duel.load_state_dict(state["duel"])
        self.epoch = state["epoch"]
        self._duel_steps = self.epoch * self.recipe.steps_per_epoch
        self.history = list(state["history"])

    def _paced_step(self, lightness: Tensor, ab: Tensor) -> Losses:
        """Take a step of the duel at the learning rate of its time."""
        recipe = self.recipe
        left = 1 - self._duel_steps / (recipe.epochs * recipe.steps_per_epoch)
        self.duel.pace(min(1.0, left / recipe.decay) if recipe.decay else 1.0)
        self._duel_steps += 1
        return self.duel.step(lightness, ab)

    def _take(self, step: Step, steps: int, stage: str) -> dict[str, float]:
        """Take steps of one kind and return the mean of each loss term."""
        record, started = LossRecord(mean_over_workers), time.monotonic()
        for number in range(1, steps + 1):
            losses = step(*self._next())
            record.add(self.duel.steps, losses)
            if number % SETTLE_EVERY == 0 or number == steps:
                record.settle()
                self._on_progress(self._progress(stage, number, steps, record, time.monotonic() - started))
        return record.means()

    def _progress(self, stage: str, step: int, steps: int, record: LossRecord, seconds: float) -> Progress:
        left = self.recipe.epochs * self.recipe.steps_per_epoch - self._duel_steps
        rate = step * self.recipe.batch_size * _workers() / seconds
        return Progress(stage, step, steps, record.means(), rate, left * seconds / step)

    def _next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch as scaled L* and scaled a*b*."""
        started = time.monotonic()
        try:
            batch = next(self._photographs)
        except StopIteration:
            raise TrainingError(
                f"the photographs ran out after step {self.duel.steps}: too many of them could not be read"
            ) from None
        self._waited += time.monotonic() - started
        return self._split(batch)

    def _split(self, photographs: Tensor) -> tuple[Tensor, Tensor]:
        lightness, ab = color.split_scaled(photographs.to(self.duel.device))
        return lightness.contiguous(), ab.contiguous(memory_format=torch.channels_last)

    def _retrain(self, fake: Tensor, accuracy: float) -> tuple[int, float]:
        """Train the discriminator until it is good enough or the steps are used up: steps taken, accuracy then."""
        taken = 0
        while accuracy < self.recipe.retrain_below and taken < self.recipe.retrain_steps:
            steps = min(SETTLE_EVERY, self.recipe.retrain_steps - taken)
            self._take(self.duel.retraining_step, steps, "retraining the discriminator")
            taken += steps
            accuracy = self._accuracy(fake)  # the generator stands still, so its held-out colour does too
        return taken, accuracy

    def _colorize_held_out(self) -> Tensor:
        """Predict a*b* of this worker's held-out photographs: (N, 2, S, S), scaled."""
        return self.colorize(self.held_out) if len(self.held_out) else torch.empty(0, 2, 1, 1)

    def _accuracy(self, fake: Tensor) -> float:
        """Share of right verdicts on all workers' held-out photographs, as many real as made up."""
        count = torch.zeros(2, device=self.duel.device, dtype=torch.float64)
        for photographs, made_up in self._held_out_pairs(fake):
            right = self.duel.count_correct(self._split(photographs)[1], made_up)
            count += torch.stack([right, torch.full_like(right, 2 * len(made_up))])
        return _ratio(count)

    def _error(self, fake: Tensor) -> float:
        """Mean distance between predicted and true a*b* of all workers' held-out photographs, in units of a*b*."""
        count = torch.zeros(2, device=self.duel.device, dtype=torch.float64)
        for photographs, made_up in self._held_out_pairs(fake):
            distance = (color.unscale_ab(made_up) - color.unscale_ab(self._split(photographs)[1])).norm(dim=1).double()
            count += torch.stack([distance.sum(), torch.full_like(distance.sum(), distance.numel())])
        return _ratio(count)

    def _held_out_batches(self) -> tuple[Tensor, ...]:
        return self.held_out.split(self.recipe.batch_size) if len(self.held_out) else ()

    def _held_out_pairs(self, fake: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._held_out_batches(), fake.split(self.recipe.batch_size), strict=False)


def mean_over_workers(values: Tensor) -> Tensor:
    """Average a tensor over all workers; without a process group there is one worker."""
    return sum_over_workers(values) / _workers()


def sum_over_workers(values: Tensor) -> Tensor:
    """Add up a tensor over all workers; without a process group there is one worker."""
    if _workers() > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


def _ratio(count: Tensor) -> float:
    part, whole = sum_over_workers(count).tolist()
    return part / whole if whole else math.nan


def _workers() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
