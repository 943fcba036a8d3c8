"""What the generator makes of held-out photographs after each epoch."""

from torch import Tensor

from colornet.training.recipe import BOTH
from colornet.training.trainer import Callback, Measured, Trainer


class HeldOutMetrics(Callback):
    """Adds what `HeldOut.compare` returns, of the generator that goes into the bundle."""

    def __init__(self) -> None:
        """Start with nothing predicted."""
        self.predicted: list[Tensor] = []
        """Scaled a*b* of each batch of held-out photographs, of the generator as it trains; where both networks do."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Free the memory that predictions take."""
        self.predicted = []

    def on_epoch_end(self, trainer: Trainer, measured: Measured) -> None:
        """Measure."""
        trainer.gan.synchronize_buffers()  # all workers measure what is saved
        of_bundle = trainer.held_out.colorize(use_ema=True)
        measured |= trainer.held_out.compare(of_bundle)
        if trainer.place.stage.trains == BOTH:
            self.predicted = trainer.held_out.colorize(use_ema=False) if trainer.gan.ema else of_bundle
