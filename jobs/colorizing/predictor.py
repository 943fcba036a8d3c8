"""One predictor: the process that holds the generator.

Ray keeps the class of an actor to the very end of the job's process, and with it whatever its module can reach. So
this one reaches little: DuckDB, if it is alive by then, writes screens of complaints behind the job's last line.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from colornet.inference.hints import Cells
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import GPU_BATCH, Batched, Prediction, Predictor


class PredictorActor:
    """Colours what many ask for at the same time, in batches."""

    def __init__(self, load: Callable[[], Predictor]) -> None:
        """Load the generator."""
        self._predictor = Batched(load(), GPU_BATCH)

    def ready(self) -> None:
        """Nothing to do: who asks learns that the generator is loaded."""

    def predict(
        self, lightness: NDArray[np.float16], letterboxes: Sequence[Letterbox], hints: Sequence[Cells | None]
    ) -> list[Prediction]:
        """As `Predictor.predict`."""
        return self._predictor.predict(lightness, letterboxes, hints)
