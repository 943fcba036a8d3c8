"""Predictors: processes of their own that hold the generator, mostly on GPUs, and colour for all workers."""

import contextlib
import functools
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from colornet.archive.task import ColorizeTask
from colornet.archive.worker import load_predictor
from colornet.errors import ColornetError, SettingsError
from colornet.inference.hints import Cells
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import GPU_BATCH, Prediction

from ..session import on_cluster
from .predictor import PredictorActor
from .settings import ColorizeSettings

RETRIES = 3
"""How often a question is put again whose predictor died."""


@contextlib.contextmanager
def predictors_of(task: ColorizeTask, settings: ColorizeSettings) -> Iterator["Predictors | None"]:
    """Start a job's predictors, if it is to have any, and end them with it.

    Raises:
        SettingsError: as `Predictors` does.
        ColornetError: as `Predictors` does.
    """
    if not (settings.predictors or settings.gpu_share):
        yield None
        return
    predictors = Predictors(task, settings)
    try:
        yield predictors
    finally:
        predictors.end()


class Predictors:
    """All predictors of a job; travels to the workers, which call it."""

    def __init__(self, task: ColorizeTask, settings: ColorizeSettings) -> None:
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
        predictor = ray.remote(**options)(PredictorActor)
        count = settings.predictors or _room(settings.gpu_share)
        cores = ray.cluster_resources().get("CPU", 0)
        if not settings.gpu_share and not on_cluster() and (count + 1) * settings.worker_cpus > cores:
            raise SettingsError(f"{count} predictors leave no core for a worker: this machine has {cores:.0f}")
        load = functools.partial(load_predictor, task)
        self.actors: list[Any] = [predictor.remote(load) for _ in range(count)]
        try:
            ray.get(self.actors[0].ready.remote())
        except ray.exceptions.RayError as error:
            self.end()
            raise ColornetError(f"no predictor can start: {str(error).strip().splitlines()[-1]}") from error

    def __call__(
        self, lightness: NDArray[np.float16], letterboxes: Sequence[Letterbox], hints: Sequence[Cells | None]
    ) -> "Future[list[Prediction]]":
        """Ask any of them what `Predictor.predict` says."""
        return random.choice(self.actors).predict.remote(lightness, letterboxes, hints).future()

    def end(self) -> None:
        """End them, and free their GPUs and cores: left to itself, Ray waits for the last handle to be forgotten."""
        while self.actors:
            ray.kill(self.actors.pop())


def _room(gpu_share: float) -> int:
    """As many predictors as the GPUs that are there have place for, and at least one: an autoscaler may bring more."""
    return max(1, int(ray.cluster_resources().get("GPU", 0) / gpu_share))
