"""A discriminator that has fallen behind is trained alone until it is good enough again."""

from colornet.training.callbacks.held_out import HeldOutMetrics
from colornet.training.recipe import BOTH
from colornet.training.trainer import Callback, Measured, Trainer

STEPS_AT_ONCE = 10
"""Steps of retraining between two measurements of the accuracy."""


class DiscriminatorRetraining(Callback):
    """Measures the discriminator's accuracy after each epoch that trains both networks, and retrains it below a bound.

    It adds discriminator_accuracy (before any retraining), accuracy_after_retraining and retraining_steps.
    """

    def __init__(self, metrics: HeldOutMetrics) -> None:
        """Measure on the predictions of `metrics`, which must come first."""
        self._metrics = metrics

    def on_epoch_end(self, trainer: Trainer, measured: Measured) -> None:
        """Measure, and retrain if the accuracy is below the recipe's `retrain_below`."""
        if trainer.place.stage.trains != BOTH:
            return
        accuracy = trainer.held_out.accuracy(self._metrics.predicted)
        measured |= {
            "discriminator_accuracy": accuracy,
            "accuracy_after_retraining": accuracy,
            "retraining_steps": 0,
        }
        self.retrain(trainer, measured, until=trainer.recipe.retrain_below)

    def retrain(self, trainer: Trainer, measured: Measured, until: float) -> None:
        """Train the discriminator until its accuracy is `until`, or the recipe's `retrain_steps` are used up.

        The generator does not change meanwhile, so the predictions stay the same. `measured` gets the new accuracy and
        number of steps.
        """
        left = trainer.recipe.retrain_steps
        while measured["accuracy_after_retraining"] < until and left:
            steps = min(STEPS_AT_ONCE, left)
            trainer.take_steps(trainer.gan.retraining_step, steps, "retraining the discriminator")
            left -= steps
            measured["retraining_steps"] += steps
            measured["accuracy_after_retraining"] = trainer.held_out.accuracy(self._metrics.predicted)
