"""Predictors: processes of their own that hold the generator, mostly on GPUs, and colour for all workers."""

import random
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from colornet.archive.stages import Work, load_predictor
from colornet.errors import ColornetError, SettingsError
from colornet.frame import Frame
from colornet.predict import GPU_BATCH, Batched, Prediction
from jobs.colorizing.settings import ColorizeSettings
from jobs.session import on_cluster

RETRIES = 3
"""How often a question is put again whose predictor died."""


class Predictors:
    """All predictors of a job; travels to the workers, which call it."""

    def __init__(self, work: Work, settings: ColorizeSettings) -> None:
        """Start them, and wait for the first: for its node, too, where an autoscaler brings it.

        Raises:
            SettingsError: if predictors on CPUs would leave this machine no core for a worker.
            ColornetError: if it cannot start; every scan would fail for that.
        """
        options: dict[str, Any] = {
            "num_gpus": settings.gpu_share,
            "num_cpus": 0 if settings.gpu_share else settings.worker_cpus,
            "max_restarts": -1,
            "max_task_retries": RETRIES,
            "max_concurrency": 2 * GPU_BATCH,
        }
        predictor = ray.remote(**options)(_Predictor)
        count = settings.predictors or _room(settings.gpu_share)
        cores = ray.cluster_resources().get("CPU", 0)
        if not settings.gpu_share and not on_cluster() and (count + 1) * settings.worker_cpus > cores:
            raise SettingsError(f"{count} predictors leave no core for a worker: this machine has {cores:.0f}")
        self.actors: list[Any] = [predictor.remote(work) for _ in range(count)]
        try:
            ray.get(self.actors[0].ready.remote())
        except ray.exceptions.RayError as error:
            raise ColornetError(f"no predictor can start: {str(error).strip().splitlines()[-1]}") from error

    def __call__(self, lightness: NDArray[np.float16], frames: Sequence[Frame]) -> "Future[list[Prediction]]":
        """Ask any of them what `Predictor.predict` says."""
        return random.choice(self.actors).predict.remote(lightness, frames).future()


def _room(gpu_share: float) -> int:
    """As many predictors as the GPUs that are there have place for, and at least one: an autoscaler may bring more."""
    return max(1, int(ray.cluster_resources().get("GPU", 0) / gpu_share))


class _Predictor:
    def __init__(self, work: Work) -> None:
        self._predictor = Batched(load_predictor(work), GPU_BATCH)

    def ready(self) -> None:
        """Nothing to do: who asks learns that the generator is loaded."""

    def predict(self, lightness: NDArray[np.float16], frames: Sequence[Frame]) -> list[Prediction]:
        return self._predictor.predict(lightness, frames)
