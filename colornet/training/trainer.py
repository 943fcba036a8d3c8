"""A training run, from the first stage's first epoch to the last one's last; every worker runs the same."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from colornet.color import lab
from colornet.color.chroma import is_nearly_gray
from colornet.errors import TrainingError
from colornet.training import health
from colornet.training.degradation import degrade
from colornet.training.distributed import count_workers, mean_over_workers, sum_over_workers
from colornet.training.gan import Batch, GanModule, Losses
from colornet.training.health import Action
from colornet.training.held_out import HeldOut
from colornet.training.losses import LossRecord
from colornet.training.recipe import BOTH, GENERATOR, Recipe, Stage

SETTLE_EVERY = 10
"""Steps between two looks at the losses."""

Step = Callable[[Batch], Losses]
Measured = dict[str, Any]
"""What is known of an epoch: numbers, and a few words, by name."""


class Photographs(Protocol):
    """Where a worker's photographs come from."""

    def stage(self, number: int) -> Iterator[Tensor]:
        """Yield this worker's batches of a stage, numbered from 0, from where the run stands: (B, 3, S, S) uint8."""

    def held_out(self, image_size: int) -> Tensor:
        """Return this worker's share of the held-out photographs, (N, 3, image_size, image_size) uint8."""


@dataclass(frozen=True)
class Progress:
    """How far an epoch of the run is."""

    stage: str
    step: int
    steps: int
    """Steps of the epoch."""
    losses: Mapping[str, float]
    """Mean of each term in the epoch so far."""
    photographs_per_second: float
    """Of all workers, in the epoch so far."""
    seconds_left: float
    """To the end of the run, at this pace, without any retraining to come."""


class Trainer:
    """The networks, the photographs they train on, and what came of each epoch."""

    def __init__(
        self,
        gan: GanModule,
        photographs: Photographs,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        """Prepare a run that has not begun.

        Args:
            gan: the two networks; its recipe decides everything here.
            photographs: this worker's.
            on_progress: is told every few steps how far the run is.
        """
        self.gan = gan
        self.recipe: Recipe = gan.recipe
        self.epoch = 0
        self.history: list[Measured] = []
        self._photographs = photographs
        self._on_progress = on_progress
        self._discriminator_share = 1.0
        self._entered = -1
        self._waited = 0.0
        self._nearly_gray = torch.zeros((), device=gan.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs of all stages are over."""
        return self.epoch >= self.recipe.epochs

    def run_epoch(self) -> Measured:
        """Train one epoch of the stage that the run is in, judge it, act on that, and return what was measured.

        Returns:
            What is also appended to `history`: epoch (from 1, of the whole run), stage, steps and photographs (so far),
            workers; the epoch's mean of each loss of `GanModule.step` (unweighted, in the networks' scaling) and of
            both gradients' norms, and the learning rates at its end; what `HeldOut.compare` returns; where both
            networks train, discriminator_accuracy (in [0, 1], before any retraining), accuracy_after_retraining and
            retraining_steps; verdict, verdict_sentence and action of `health`; finished (Unix time, seconds); and, all
            without retraining, nearly_gray (photographs left out), seconds, photographs_per_second (of all workers) and
            waiting_for_data (a share of those seconds).

        Raises:
            NonFiniteLossError: if a loss or a gradient is not finite.
            TrainingError: if the photographs run out.
        """
        number, first = self._place(self.epoch)
        stage = self._enter(number)
        self.epoch += 1
        self._waited, self._nearly_gray, started = 0.0, torch.zeros_like(self._nearly_gray), time.monotonic()
        what = f"{stage.name}, epoch {self.epoch}/{self.recipe.epochs}"
        losses = self._take(self._paced_step(stage, self.epoch - 1 - first), stage.steps_per_epoch, what)
        seconds = time.monotonic() - started
        measured: Measured = {
            "epoch": self.epoch,
            "stage": stage.name,
            "steps": self.gan.steps,
            "workers": count_workers(),
            **losses,
            "generator_learning_rate": _rate(self.gan.generator_optimizer),
            "discriminator_learning_rate": _rate(self.gan.discriminator_optimizer),
            "nearly_gray": int(sum_over_workers(self._nearly_gray).item()),
            "seconds": seconds,
            "photographs_per_second": stage.steps_per_epoch * stage.share(count_workers()) * count_workers() / seconds,
            "waiting_for_data": self._waited / seconds,
        }
        measured |= self._look_at_held_out(stage)
        measured |= self._judge(stage, measured)
        measured |= {"steps": self.gan.steps, "finished": time.time()}  # with those of retraining
        self.history.append(measured)
        return measured

    @property
    def stopped(self) -> str | None:
        """Why the last epoch's verdict ends the run, or None."""
        last = self.history[-1] if self.history else {}
        return last["verdict_sentence"] if last.get("action") == Action.STOP else None

    def panel(self) -> tuple[Tensor, Tensor]:
        """Return this worker's first held-out photographs, sRGB uint8, and the finished generator's scaled a*b*."""
        shown = self.held_out.photographs[: self.recipe.panel_photographs]
        lightness, ab = lab.split_scaled(shown.to(self.gan.device))
        return shown, self.gan.colorize(lightness) if len(shown) else ab

    def state_dict(self) -> dict[str, Any]:
        """Return the state between two epochs, without the random state; plain data and tensors."""
        return {
            "gan": self.gan.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
            "discriminator_share": self._discriminator_share,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.gan.load_state_dict(state["gan"])
        self.epoch = state["epoch"]
        self.history = list(state["history"])
        self._discriminator_share = state["discriminator_share"]

    # --- stages and steps ---------------------------------------------------------------------------------------------

    def _place(self, epoch: int) -> tuple[int, int]:
        """Return the number of the stage that an epoch, from 0, belongs to, and the stage's first epoch."""
        first = 0
        for number, stage in enumerate(self.recipe.stages):
            if epoch < first + stage.epochs:
                return number, first
            first += stage.epochs
        raise TrainingError(f"the run has {first} epochs, and they are over")

    def _enter(self, number: int) -> Stage:
        """Go on with a stage: its losses, its photographs."""
        stage = self.recipe.stages[number]
        if number != self._entered:
            self._entered = number
            self.gan.begin(stage)
            self._batches = self._photographs.stage(number)
            self.held_out = HeldOut(
                self._photographs.held_out(stage.image_size), self.gan, stage.share(count_workers())
            )
        return stage

    def _paced_step(self, stage: Stage, epoch: int) -> Step:
        """Return what takes the steps of an epoch, from 0 in the stage, each at the learning rate of its time."""
        # Shares of a step are whole photographs: the learning rates follow the batch that comes of them.
        scale = stage.share(count_workers()) * count_workers() / stage.batch_size
        steps = iter(range(epoch * stage.steps_per_epoch, stage.steps))

        def step(batch: Batch) -> Losses:
            lr_scale = scale * stage.lr_scale(next(steps))
            self.gan.lr_scale(lr_scale, lr_scale * self._discriminator_share)
            return self.gan.step(batch)

        return step

    def _take(self, step: Step, steps: int, what: str) -> dict[str, float]:
        """Take steps of one kind and return the mean of each loss term."""
        record, started = LossRecord(mean_over_workers), time.monotonic()
        for number in range(1, steps + 1):
            losses = step(self._next())
            record.add(self.gan.steps, losses)
            if number % SETTLE_EVERY == 0 or number == steps:
                record.settle()
                self._on_progress(self._progress(what, number, steps, record, time.monotonic() - started))
        return record.means()

    def _progress(self, what: str, step: int, steps: int, record: LossRecord, seconds: float) -> Progress:
        number, first = self._place(self.epoch - 1)
        stage = self.recipe.stages[number]
        # Photographs are what takes the time: later stages may have larger batches.
        left: float = (stage.epochs - (self.epoch - first)) * stage.steps_per_epoch + steps - step
        later = sum(each.steps * each.batch_size * each.image_size**2 for each in self.recipe.stages[number + 1 :])
        left += later / (stage.batch_size * stage.image_size**2)
        rate = step * stage.share(count_workers()) * count_workers() / seconds
        return Progress(what, step, steps, record.means(), rate, left * seconds / step)

    def _next(self) -> Batch:
        """Return the next batch as the networks see it."""
        started = time.monotonic()
        try:
            photographs = next(self._batches)
        except StopIteration:
            raise TrainingError(f"the photographs ran out after step {self.gan.steps}") from None
        self._waited += time.monotonic() - started
        photographs = photographs.to(self.gan.device, non_blocking=True)
        photographs, ab = self._without_nearly_gray(photographs, lab.split_scaled(photographs)[1])
        lightness = lab.split_scaled(photographs)[0].contiguous()
        degradation = self.recipe.degradation
        seen = lightness if degradation.changes_nothing else degrade(photographs, degradation, torch.default_generator)
        return Batch(seen, lightness, ab.contiguous(memory_format=torch.channels_last))

    def _without_nearly_gray(self, photographs: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Let others of the batch stand in for photographs that have no colour to learn from, and count those."""
        gray = is_nearly_gray(lab.unscale_ab(ab))
        self._nearly_gray += gray.sum()
        # Nothing here waits for the device to count: photographs with colour first, and then those again.
        order = torch.argsort(gray.int(), stable=True)
        coloured = (~gray).sum().clamp(min=1)
        chosen = order[torch.arange(len(order), device=order.device) % coloured]
        return photographs[chosen], ab[chosen]

    # --- after the steps of an epoch ----------------------------------------------------------------------------------

    def _look_at_held_out(self, stage: Stage) -> Measured:
        self.gan.agree()  # all workers look at what is saved
        finished = self.held_out.colorize(finished=True)
        measured: Measured = self.held_out.compare(finished)
        if stage.trains != BOTH:
            return measured
        raw = self.held_out.colorize(finished=False) if self.gan.ema else finished
        accuracy = self.held_out.accuracy(raw)
        steps, after = self._retrain(raw, accuracy)
        retrained = {"accuracy_after_retraining": after, "retraining_steps": steps}
        return measured | {"discriminator_accuracy": accuracy} | retrained

    def _retrain(self, fake: list[Tensor], accuracy: float, until: float | None = None) -> tuple[int, float]:
        """Train the discriminator until it is good enough or the steps are used up: steps taken, accuracy then."""
        until = self.recipe.retrain_below if until is None else until
        taken = 0
        while accuracy < until and taken < self.recipe.retrain_steps:
            steps = min(SETTLE_EVERY, self.recipe.retrain_steps - taken)
            self._take(self.gan.retraining_step, steps, "retraining the discriminator")
            taken += steps
            accuracy = self.held_out.accuracy(fake)  # the generator stands still, so its held-out colour does too
        return taken, accuracy

    def _judge(self, stage: Stage, measured: Measured) -> Measured:
        """Judge adversarial training after an epoch, and do what the recipe's policy says."""
        if stage.trains not in (BOTH, GENERATOR):
            return {}
        _, first = self._place(self.epoch - 1)
        verdicts = health.judge([*self.history[first:], measured], self.recipe.thresholds)
        action, verdict = health.decide(verdicts, self.recipe.health), verdicts[-1]
        if stage.trains != BOTH and action in (Action.RETRAIN_DISCRIMINATOR, Action.LOWER_LEARNING_RATE):
            action = Action.WARN  # there is no discriminator to do it to
        told = {"verdict": str(verdict.state), "verdict_sentence": verdict.sentence, "action": str(action)}
        return told | self._act(action, measured)

    def _act(self, action: Action, measured: Measured) -> Measured:
        if action is Action.LOWER_LEARNING_RATE:
            self._discriminator_share *= self.recipe.health.lower_by
        if action is Action.RETRAIN_DISCRIMINATOR:
            raw = self.held_out.colorize(finished=False)
            steps, after = self._retrain(raw, measured["accuracy_after_retraining"], until=1.0)
            return {"retraining_steps": measured["retraining_steps"] + steps, "accuracy_after_retraining": after}
        return {}


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return optimizer.param_groups[0]["lr"]
