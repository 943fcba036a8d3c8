"""Where an epoch lies in the stages of a recipe, and the learning rates of its steps."""

from dataclasses import dataclass

from colornet.errors import TrainingError
from colornet.training.recipe import Recipe, Stage


@dataclass(frozen=True)
class Place:
    """An epoch of a run."""

    stage_number: int
    """From 0."""
    stage: Stage
    first_epoch: int
    """The stage's first epoch, from 0 in the run."""
    epoch: int
    """From 0 in the run."""

    @property
    def epoch_of_stage(self) -> int:
        """From 0 in the stage."""
        return self.epoch - self.first_epoch


def find_epoch(recipe: Recipe, epoch: int) -> Place:
    """Return where an epoch, from 0 in the run, lies; `TrainingError` if the run has fewer."""
    first = 0
    for number, stage in enumerate(recipe.stages):
        if epoch < first + stage.epochs:
            return Place(number, stage, first, epoch)
        first += stage.epochs
    raise TrainingError(f"the run has {first} epochs, and they are over")


def lr_scale(stage: Stage, step: int, workers: int = 1) -> float:
    """Return the learning rates at a step of a stage, as a share of those in the recipe.

    They rise linearly over `warmup` and fall linearly over `decay`. They are scaled by the photographs of a step, too:
    each worker takes whole photographs, so that all together may take more or fewer than `batch_size`.

    Args:
        stage: part of a recipe.
        step: from 0 in the stage.
        workers: how many processes train.
    """
    rising = (step + 1) / (stage.warmup * stage.steps) if stage.warmup else 1.0
    falling = (1 - step / stage.steps) / stage.decay if stage.decay else 1.0
    return stage.photographs_per_step(workers) / stage.batch_size * min(1.0, rising, falling)
