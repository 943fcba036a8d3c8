"""How far a run is, and how long it will take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from colornet.training.trainer import Callback, StepProgress, Trainer


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
    """To the end of the run, as fast as now, without any retraining to come."""


class ReportProgress(Callback):
    """Tells every few steps how far the run is."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        """Call `report` with the progress."""
        self._report = report

    def on_steps(self, trainer: Trainer, progress: StepProgress) -> None:
        """Report."""
        done = progress.step * trainer.place.stage.photographs_per_step(trainer.workers)
        self._report(
            Progress(
                progress.what,
                progress.step,
                progress.steps,
                progress.losses,
                done / progress.seconds,
                self._steps_left(trainer, progress) * progress.seconds / progress.step,
            )
        )

    def _steps_left(self, trainer: Trainer, progress: StepProgress) -> float:
        """Count the steps to the end of the run; those of later stages by their pixels, which take the time."""
        stage, place = trainer.place.stage, trainer.place
        left = (stage.epochs - place.epoch_of_stage - 1) * stage.steps_per_epoch + progress.steps - progress.step
        later = trainer.recipe.stages[place.stage_number + 1 :]
        pixels = sum(each.steps * each.batch_size * each.image_size**2 for each in later)
        return left + pixels / (stage.batch_size * stage.image_size**2)
