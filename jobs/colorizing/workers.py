"""The workers: an elastic pool of Ray actors that `ColorizeWorker` runs in, fed with blocks of scans."""

import functools
from collections.abc import Generator

import pyarrow as pa
import ray
import ray.data

from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker

from ..ray_data import map_blocks
from ..session import on_cluster
from .predictors import Predictors
from .settings import ColorizeSettings

BLOCK_ROWS = 32
"""Scans a worker takes at once, at most: fewer cost Ray time, more are lost when a worker dies."""
BLOCKS_PER_WORKER = 8
"""Blocks that a worker gets in the course of a small archive, at least, so that all end at about the same time."""
MOST_WORKERS = 1000
"""Workers that a job grows to on a cluster, unless it is told otherwise."""
CALLS = 2
"""Blocks a worker has in hand: while one is computed, the other is read ahead or written away."""


def stream(
    todo: pa.Table, task: ColorizeTask, settings: ColorizeSettings, predictors: Predictors | None, *, alone: bool
) -> Generator[pa.Table]:
    """Yield the rows that `ColorizeWorker` returns, block by block as they come.

    Rows of blocks whose worker process died are missing. With `alone`, each scan is a block of its own, and a worker
    has one in hand: none drags others down.
    """
    rows = 1 if alone else _block_rows(todo.num_rows, settings)
    return map_blocks(
        [todo.slice(start, rows) for start in range(0, todo.num_rows, rows)],
        functools.partial(ColorizeWorker, cpus=settings.worker_cpus),
        task,
        predictors,
        pool=_pool(todo.num_rows, settings, alone),
        num_cpus=settings.worker_cpus,
    )


def _pool(count: int, settings: ColorizeSettings, alone: bool) -> ray.data.ActorPoolStrategy:
    if alone:
        size = min(count, max(settings.min_workers, _room(settings)))
        return ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
    return ray.data.ActorPoolStrategy(
        min_size=settings.min_workers,
        max_size=_most(settings),
        max_tasks_in_flight_per_actor=CALLS,
        max_concurrent_calls_per_actor=CALLS,
        enable_true_multi_threading=True,
    )


def _block_rows(count: int, settings: ColorizeSettings) -> int:
    """As many scans a block as keep every worker busy to the end."""
    workers = settings.max_workers or max(settings.min_workers, _room(settings))
    return max(1, min(BLOCK_ROWS, count // (BLOCKS_PER_WORKER * workers)))


def _most(settings: ColorizeSettings) -> int:
    """How many workers there may be: on a cluster, as many as its autoscaler finds room for."""
    if settings.max_workers:
        return settings.max_workers
    return max(settings.min_workers, MOST_WORKERS if on_cluster() else _room(settings))


def _room(settings: ColorizeSettings) -> int:
    """How many workers there are cores for now."""
    return int(ray.cluster_resources().get("CPU", 0) / settings.worker_cpus)
