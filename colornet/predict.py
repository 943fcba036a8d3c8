"""A generator made ready for inference."""

import queue
import threading
from concurrent.futures import Future
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from colornet import color
from colornet.bundle import Bundle
from colornet.networks import fold_normalisation

Precision = Literal["auto", "float32", "bfloat16"]
GPU_BATCH = 16
"""Pictures that a GPU predicts at once."""


class Predictor:
    """A bundle's generator: folded, channels-last, in bfloat16 where the processor has it."""

    def __init__(self, bundle: Bundle, *, device: str = "cpu", precision: Precision = "auto") -> None:
        """Move the bundle's generator to `device`. It is changed in place: the bundle is used up."""
        self.device = torch.device(device)
        self.dtype = _dtype(self.device, precision)
        generator = fold_normalisation(bundle.generator)
        self.generator = generator.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, lightness: NDArray[np.float16]) -> NDArray[np.float16]:
        """Predict colour for one batch.

        Args:
            lightness: (B, S, S) float16, scaled L* in [-1, 1].

        Returns:
            (B, 2, S, S) float16: a* and b* in [-128, 127]. Batches of one size, always the same, are predicted, the
            last filled up: cuDNN computes other sizes otherwise, and a picture's colour must not depend on its company.
        """
        scaled = torch.from_numpy(lightness).unsqueeze(1)
        size = 1 if self.device.type == "cpu" else GPU_BATCH  # singly is the fastest on a CPU
        return np.concatenate([self._predict(part, size) for part in scaled.split(size)])

    def _predict(self, scaled: torch.Tensor, size: int) -> NDArray[np.float16]:
        filled = functional.pad(scaled, (0, 0, 0, 0, 0, 0, 0, size - len(scaled)))
        inputs = filled.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        ab = color.unscale_ab(self.generator(inputs)[: len(scaled)].float())
        return ab.to(torch.float16).cpu().numpy()


class Batched:
    """A predictor that many threads call, and that takes what they ask for at the same time as one batch."""

    def __init__(self, predictor: Predictor, size: int) -> None:
        """Ask `predictor` for up to about `size` pictures at once."""
        self.predictor = predictor
        self.size = size
        self._asked: queue.SimpleQueue[tuple[NDArray[np.float16], Future[NDArray[np.float16]]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="predictor", daemon=True).start()

    def __call__(self, lightness: NDArray[np.float16]) -> NDArray[np.float16]:
        """Predict colour as `Predictor` does, and wait for it."""
        answer: Future[NDArray[np.float16]] = Future()
        self._asked.put((lightness, answer))
        return answer.result()

    def _serve(self) -> None:
        while True:
            questions, answers = zip(*self._next_batch(), strict=True)
            try:
                ab = self.predictor(np.concatenate(questions))
            except Exception as error:
                for answer in answers:
                    answer.set_exception(error)
                continue
            ends = np.cumsum([len(question) for question in questions])
            for answer, part in zip(answers, np.split(ab, ends[:-1]), strict=True):
                answer.set_result(part)

    def _next_batch(self) -> list[tuple[NDArray[np.float16], Future[NDArray[np.float16]]]]:
        """Wait for a question, and take those that stand behind it."""
        batch = [self._asked.get()]
        while sum(len(question) for question, _ in batch) < self.size:
            try:
                batch.append(self._asked.get_nowait())
            except queue.Empty:
                break
        return batch


def _dtype(device: torch.device, precision: Precision) -> torch.dtype:
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # Without AVX512-BF16 a processor only emulates bfloat16, and slowly.
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
