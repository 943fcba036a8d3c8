"""The verdict on the networks' balance after each epoch, and what the recipe says to do about it."""

from colornet.training import health
from colornet.training.callbacks.retraining import DiscriminatorRetraining
from colornet.training.health import Action
from colornet.training.recipe import BOTH, DISCRIMINATOR
from colornet.training.trainer import Callback, Measured, Trainer


class HealthPolicy(Callback):
    """Adds verdict, verdict_sentence and action of an epoch that trains the generator, and acts on them.

    That a run must stop is left to whoever runs it: see `Trainer.stopped`.
    """

    def __init__(self, retraining: DiscriminatorRetraining) -> None:
        """Let `retraining` retrain the discriminator; it must come first."""
        self._retraining = retraining

    def on_epoch_end(self, trainer: Trainer, measured: Measured) -> None:
        """Judge this epoch of the stage by those before it, and act."""
        trains, policy = trainer.place.stage.trains, trainer.recipe.health
        if trains == DISCRIMINATOR:
            return
        history = [*trainer.history[trainer.place.first_epoch :], measured]
        verdicts = health.judge(history, trainer.recipe.thresholds)
        action = health.decide(verdicts, policy)
        if trains != BOTH and action in (Action.RETRAIN_DISCRIMINATOR, Action.LOWER_LEARNING_RATE):
            action = Action.WARN  # there is no discriminator that trains
        measured |= {
            "verdict": str(verdicts[-1].state),
            "verdict_sentence": verdicts[-1].sentence,
            "action": str(action),
        }
        if action is Action.LOWER_LEARNING_RATE:
            trainer.discriminator_lr_scale *= policy.lower_by
        if action is Action.RETRAIN_DISCRIMINATOR:
            self._retraining.retrain(trainer, measured, until=1.0)
