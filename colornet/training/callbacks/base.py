"""The moments of a run at which something else than a step can happen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colornet.training.trainer import Trainer

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
