"""A training run, from the first stage's first epoch to the last one's last; every worker runs the same."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from colornet.color import lab
from colornet.errors import TrainingError
from colornet.training import schedule
from colornet.training.batches import Batches, Photographs
from colornet.training.distributed import count_workers, mean_over_workers
from colornet.training.gan import Batch, GanModule, Losses
from colornet.training.health import Action
from colornet.training.held_out import HeldOut
from colornet.training.losses import LossRecord
from colornet.training.recipe import Recipe
from colornet.training.schedule import Place, find_epoch

SETTLE_EVERY = 10
"""Steps between two readings of the losses."""

Step = Callable[[Batch], Losses]
Measured = dict[str, Any]
"""What is known of an epoch: numbers, and a few words, by name."""


@dataclass(frozen=True)
class StepProgress:
    """Progress in a sequence of steps."""

    what: str
    """Name of the sequence."""
    step: int
    """Steps so far."""
    steps: int
    """All steps of the sequence."""
    losses: Mapping[str, float]
    """Mean of each term over the steps so far."""
    seconds: float
    """Since the first one began."""


@dataclass
class _Begun:
    """What is known of an epoch that has begun and is not over."""

    record: LossRecord = field(default_factory=lambda: LossRecord(mean_over_workers))
    steps: int = 0
    seconds: float = 0.0
    """All of this and what follows: before the run last went on, within this epoch."""
    seconds_waited: float = 0.0
    nearly_gray: int = 0


class Callback:
    """Called by the trainer at these moments; all workers have the same callbacks, and call them at the same time.

    The methods do nothing here. A callback overrides those of the moments that it is about.
    """

    def on_epoch_start(self, trainer: "Trainer") -> None:
        """Before the first step of an epoch; `trainer.place` says which."""

    def on_steps(self, trainer: "Trainer", progress: StepProgress) -> None:
        """After every few steps, also of retraining, once their losses have been read."""

    def on_epoch_end(self, trainer: "Trainer", measured: Measured) -> None:
        """After the last step of an epoch. What the callback measures it adds to `measured`."""


class Trainer:
    """The networks, the photographs they train on, and what was measured in each epoch."""

    place: Place
    """The epoch that the run is in."""
    held_out: HeldOut
    """The held-out photographs, at the size of the stage that the run is in."""

    def __init__(self, gan: GanModule, photographs: Photographs, callbacks: Sequence[Callback] = ()) -> None:
        """Prepare a run that has not begun.

        Args:
            gan: the two networks; its recipe decides everything here.
            photographs: this worker's.
            callbacks: called in this order.
        """
        self.gan = gan
        self.recipe: Recipe = gan.recipe
        self.workers = count_workers()
        self.epoch = 0
        """How many epochs have begun."""
        self.history: list[Measured] = []
        self.discriminator_lr_scale = 1.0
        """What the discriminator's learning rate is multiplied by, beside what the schedule says."""
        self._photographs = photographs
        self._callbacks = callbacks
        self._stage_number = -1
        self._begun: _Begun | None = None
        self._started = 0.0

    @property
    def within_epoch(self) -> bool:
        """Whether an epoch has steps, not those of retraining, before it; in `on_steps` the state is whole then."""
        return self._begun is not None and self._begun.steps < self.place.stage.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs of all stages are over."""
        return self.epoch >= self.recipe.epochs

    @property
    def stopped(self) -> str | None:
        """Why the last epoch's verdict ends the run, or None."""
        last = self.history[-1] if self.history else {}
        return last["verdict_sentence"] if last.get("action") == Action.STOP else None

    def add_callback(self, callback: Callback) -> None:
        """Call this one, too, after those that there are."""
        self._callbacks = [*self._callbacks, callback]

    def run_epoch(self) -> Measured:
        """Train one epoch of the stage that the run is in, let the callbacks do their part, and return what is known.

        Returns:
            What is also appended to `history`: epoch (from 1, of the whole run), stage, steps and photographs (so far),
            workers; the epoch's mean of each loss of `GanModule.step` (unweighted, in the networks' scaling) and of
            both gradients' norms, and the learning rates at its end; what the callbacks add; finished (Unix time,
            seconds); and, all without retraining, nearly_gray (photographs left out), seconds, photographs_per_second
            (of all workers) and waiting_for_data (a share of those seconds).

        Raises:
            NonFiniteLossError: if a loss or a gradient is not finite.
            TrainingError: if the photographs run out.
        """
        self._enter(find_epoch(self.recipe, self.epoch))
        self.epoch += 1
        self._begun = self._begun or _Begun()
        for callback in self._callbacks:
            callback.on_epoch_start(self)
        measured = self._train()
        for callback in self._callbacks:
            callback.on_epoch_end(self, measured)
        measured |= {"steps": self.gan.steps, "finished": time.time()}  # with those of retraining
        self.history.append(measured)
        return measured

    def take_steps(self, step: Step, steps: int, what: str) -> dict[str, float]:
        """Take steps of one kind on the stage's photographs, and return the mean of each loss term.

        Args:
            step: takes one.
            steps: how many to take.
            what: they are of, for `StepProgress`.
        """
        begun = self._begun or _Begun()
        record, started = begun.record, time.monotonic() - begun.seconds
        for number in range(begun.steps + 1, steps + 1):
            batch = next(self._batches, None)
            if batch is None:
                raise TrainingError(f"the photographs ran out after step {self.gan.steps}")
            losses = step(batch)
            record.add(self.gan.steps, losses)
            if number % SETTLE_EVERY == 0 or number == steps:
                record.settle()
                begun.steps = number
                progress = StepProgress(what, number, steps, record.means(), time.monotonic() - started)
                for callback in self._callbacks:
                    callback.on_steps(self, progress)
        return record.means()

    def panel(self) -> tuple[Tensor, Tensor]:
        """Return this worker's first held-out photographs, sRGB uint8, and the bundle's generator's scaled a*b*."""
        shown = self.held_out.photographs[: self.recipe.panel_photographs]
        lightness, ab = lab.split_scaled(shown.to(self.gan.device))
        return shown, self.gan.colorize(lightness) if len(shown) else ab

    def state_dict(self) -> dict[str, Any]:
        """Return the state, without the random state; plain data and tensors.

        It can be taken between two epochs, and in `on_steps` where `within_epoch`. There all workers must take it.
        """
        return {
            "gan": self.gan.state_dict(),
            "epoch": len(self.history),
            "history": self.history,
            "discriminator_lr_scale": self.discriminator_lr_scale,
            "begun": self._describe_begun(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.gan.load_state_dict(state["gan"])
        self.epoch = state["epoch"]
        self.history = list(state["history"])
        self.discriminator_lr_scale = state["discriminator_lr_scale"]
        self._begun = None
        if begun := state.get("begun"):  # states of release 0.2 have none
            record = LossRecord(mean_over_workers)
            record.load_state_dict(begun["losses"])
            times = {name: begun[name] for name in ("steps", "seconds", "seconds_waited", "nearly_gray")}
            self._begun = _Begun(record, **times)

    def _describe_begun(self) -> dict[str, Any] | None:
        """Return the epoch that is not over, as plain data."""
        if self._begun is None:
            return None
        return {
            "losses": self._begun.record.state_dict(),
            "steps": self._begun.steps,
            "seconds": time.monotonic() - self._started + self._begun.seconds,
            "seconds_waited": self._batches.seconds_waited + self._begun.seconds_waited,
            "nearly_gray": self._batches.count_nearly_gray() + self._begun.nearly_gray,
        }

    def _enter(self, place: Place) -> None:
        """Go on with an epoch; with the losses and photographs of its stage, if that is another one."""
        self.place = place
        if place.stage_number != self._stage_number:
            self._stage_number = place.stage_number
            self.gan.start_stage(place.stage)
            photographs = self._photographs.stage(place.stage_number)
            self._batches = Batches(photographs, self.recipe, self.gan.device)
            held_out = self._photographs.held_out(place.stage.image_size)
            self.held_out = HeldOut(held_out, self.gan, place.stage.share(self.workers))

    def _train(self) -> Measured:
        """Take the epoch's steps and say how they went."""
        stage, begun = self.place.stage, self._begun
        assert begun is not None
        self._started = time.monotonic()
        self._batches.start_epoch()
        what = f"{stage.name}, epoch {self.epoch}/{self.recipe.epochs}"
        losses = self.take_steps(self._scheduled_step(begun.steps), stage.steps_per_epoch, what)
        seconds = time.monotonic() - self._started + begun.seconds
        self._begun = None
        return {
            "epoch": self.epoch,
            "stage": stage.name,
            "steps": self.gan.steps,
            "workers": self.workers,
            **losses,
            "generator_learning_rate": _rate(self.gan.generator_optimizer),
            "discriminator_learning_rate": _rate(self.gan.discriminator_optimizer),
            "nearly_gray": self._batches.count_nearly_gray() + begun.nearly_gray,
            "seconds": seconds,
            "photographs_per_second": stage.steps_per_epoch * stage.photographs_per_step(self.workers) / seconds,
            "waiting_for_data": (self._batches.seconds_waited + begun.seconds_waited) / seconds,
        }

    def _scheduled_step(self, taken: int) -> Step:
        """Return what takes the steps of the epoch after the first few, each at the learning rates of its time."""
        stage = self.place.stage
        numbers = iter(range(self.place.epoch_of_stage * stage.steps_per_epoch + taken, stage.steps))

        def step(batch: Batch) -> Losses:
            scale = schedule.lr_scale(stage, next(numbers), self.workers)
            self.gan.lr_scale(scale, scale * self.discriminator_lr_scale)
            return self.gan.step(batch)

        return step


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return optimizer.param_groups[0]["lr"]
