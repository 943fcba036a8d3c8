"""A generator made ready for inference."""

import itertools
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from colornet.color import lab
from colornet.errors import SettingsError
from colornet.inference.bundle import Bundle
from colornet.inference.hints import Cells, planes
from colornet.inference.letterbox import Letterbox
from colornet.inference.precision import Precision, resolve
from colornet.networks import fold_normalisation
from colornet.networks.ab_bins import certainty
from colornet.networks.backbone import BINS_STRIDE, BackboneGenerator

GPU_BATCH = 16
"""Pictures that a GPU predicts at once."""


class Prediction(NamedTuple):
    """What a generator says of one picture."""

    ab: NDArray[np.float16]
    """(2, S, S): a* and b* in [-128, 127]."""
    confidence: float | None
    """How sure it is, in [0, 1]: the mean of `ab_bins.certainty` over the picture, without the padding around it. None
    for generators that predict no distribution."""
    certainty: NDArray[np.float16] | None = None
    """(⌈S / 4⌉, ⌈S / 4⌉), in [0, 1]: `ab_bins.certainty` of each cell of 4×4 pixels of the square, padding included."""


class Predictor:
    """A bundle's generator: folded, channels-last, in bfloat16 where the processor has it.

    Batches of one size, always the same, are predicted, the last filled up: cuDNN computes other sizes otherwise, and
    what is predicted of a picture must not depend on its company.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", precision: Precision = "auto") -> None:
        """Move the bundle's generator to `device`. It is changed in place: the bundle is used up."""
        self.device = torch.device(device)
        self.dtype = resolve(precision, self.device)
        self.takes_hints = bundle.takes_hints
        generator = fold_normalisation(bundle.generator)
        self.generator = generator.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, lightness: NDArray[np.float16]) -> NDArray[np.float16]:
        """Predict colour alone, for one batch.

        Args:
            lightness: (B, S, S) float16, scaled L* in [-1, 1].

        Returns:
            (B, 2, S, S) float16: a* and b* in [-128, 127].
        """
        return np.concatenate([ab for ab, _ in self._parts(lightness)])

    def predict(
        self,
        lightness: NDArray[np.float16],
        letterboxes: Sequence[Letterbox],
        hints: Sequence[Cells | None] | None = None,
    ) -> list[Prediction]:
        """Predict colour, and how sure it is, for one batch.

        Args:
            lightness: (B, S, S) float16, scaled L* in [-1, 1].
            letterboxes: B of them: where in its square each picture lies.
            hints: B of them: what people know of each picture's colour, as `hints.locate` returns it; None for none.

        Raises:
            SettingsError: if there are hints, and the generator takes none.
        """
        predictions: list[Prediction] = []
        for ab, sure in self._parts(lightness, self._drawn(hints, letterboxes, lightness.shape[-1])):
            for index, colour in enumerate(ab):
                letterbox = letterboxes[len(predictions)]
                if sure is None:
                    predictions.append(Prediction(colour, None))
                else:
                    cells = sure[index].astype(np.float16)
                    predictions.append(Prediction(colour, _confidence(sure[index], letterbox), cells))
        return predictions

    def _drawn(
        self, hints: Sequence[Cells | None] | None, letterboxes: Sequence[Letterbox], size: int
    ) -> torch.Tensor | None:
        """Draw the hints of a batch, (B, 3, S, S); None if there are none."""
        if hints is None or all(each is None for each in hints):
            return None
        if not self.takes_hints:
            raise SettingsError("the bundle takes no hints: it was trained without them")
        drawn = [planes(each, letterbox, size) for each, letterbox in zip(hints, letterboxes, strict=True)]
        return torch.from_numpy(np.stack(drawn))

    def _parts(
        self, lightness: NDArray[np.float16], hints: torch.Tensor | None = None
    ) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float32] | None]]:
        """Yield a*b*, and how sure each of its cells is (b, ⌈S / 4⌉, ⌈S / 4⌉), of some pictures after the others."""
        size = 1 if self.device.type == "cpu" else GPU_BATCH  # singly is the fastest on a CPU
        for start in range(0, len(lightness), size):
            scaled = torch.from_numpy(lightness[start : start + size]).unsqueeze(1)
            yield self._predict(scaled, size, None if hints is None else hints[start : start + size])

    @torch.inference_mode()
    def _predict(
        self, scaled: torch.Tensor, size: int, hints: torch.Tensor | None = None
    ) -> tuple[NDArray[np.float16], NDArray[np.float32] | None]:
        inputs = [self._filled(each, size) for each in (scaled, hints) if each is not None]
        sure = None
        if isinstance(self.generator, BackboneGenerator) and self.generator.head == "bins":
            scaled_ab, logits = self.generator.forward_with_distribution(*inputs)
            sure = certainty(logits)[: len(scaled)].cpu().numpy()
        else:
            scaled_ab = self.generator(*inputs)
        ab = lab.unscale_ab(scaled_ab[: len(scaled)].float())
        return ab.to(torch.float16).cpu().numpy(), sure

    def _filled(self, batch: torch.Tensor, size: int) -> torch.Tensor:
        """Fill a batch up to `size` pictures, where and as the generator computes."""
        filled = functional.pad(batch, (0, 0, 0, 0, 0, 0, 0, size - len(batch)))
        return filled.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)


def certainty_of_pixels(cells: NDArray[np.floating], letterbox: Letterbox) -> NDArray[np.float32]:
    """Say of each pixel of the upright picture, (h, w) in [0, 1], how sure the cell of 4×4 pixels is that it is in."""
    pixels = cells.repeat(BINS_STRIDE, axis=0).repeat(BINS_STRIDE, axis=1)
    return letterbox.cut(pixels[None])[0].astype(np.float32)


def _confidence(sure: NDArray[np.float32], letterbox: Letterbox) -> float:
    return float(certainty_of_pixels(sure, letterbox).mean(dtype=np.float64))


class Batched:
    """A predictor that many threads call, and that takes what they ask for at the same time as one batch."""

    def __init__(self, predictor: Predictor, size: int) -> None:
        """Ask `predictor` for up to about `size` pictures at once."""
        self.predictor = predictor
        self.size = size
        self._asked: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="predictor", daemon=True).start()

    def predict(
        self,
        lightness: NDArray[np.float16],
        letterboxes: Sequence[Letterbox],
        hints: Sequence[Cells | None] | None = None,
    ) -> list[Prediction]:
        """Predict as `Predictor.predict` does, and wait for it."""
        question = _Question(lightness, letterboxes, hints or [None] * len(letterboxes), Future())
        self._asked.put(question)
        return question.answer.result()

    def _serve(self) -> None:
        while True:
            questions = self._next_batch()
            lightness = np.concatenate([question.lightness for question in questions])
            letterboxes = [letterbox for question in questions for letterbox in question.letterboxes]
            hints = [each for question in questions for each in question.hints]
            try:
                predictions = iter(self.predictor.predict(lightness, letterboxes, hints))
            except Exception as error:
                for question in questions:
                    question.answer.set_exception(error)
                continue
            for question in questions:
                question.answer.set_result(list(itertools.islice(predictions, len(question.letterboxes))))

    def _next_batch(self) -> list["_Question"]:
        """Wait for a question, and take those that stand behind it."""
        batch = [self._asked.get()]
        while sum(len(question.letterboxes) for question in batch) < self.size:
            try:
                batch.append(self._asked.get_nowait())
            except queue.Empty:
                break
        return batch


class _Question(NamedTuple):
    lightness: NDArray[np.float16]
    letterboxes: Sequence[Letterbox]
    hints: Sequence[Cells | None]
    answer: Future[list[Prediction]]
