"""The workers: an elastic pool of Ray actors that `ColorizeWorker` runs in, fed with blocks of scans."""

import contextlib
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data

from colornet.archive.worker import ColorizeTask, ColorizeWorker

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

# A worker that dies is replaced, but what it was doing is not tried again behind our back: by default Ray would feed a
# scan that kills its worker to one after the other, for ever.
# (Ray 2.60 says that this way of giving them ends with 2.64, and has no other yet: that is for us, not for users.)
warnings.filterwarnings("ignore", message=".*ray_remote_args.*deprecated")
_BOUNDED: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 0}


def stream(
    todo: pa.Table, task: ColorizeTask, settings: ColorizeSettings, predictors: Predictors | None, *, alone: bool
) -> Iterator[pa.Table]:
    """Yield the rows that `ColorizeWorker` returns, block by block as they come.

    Rows of blocks whose worker process died are missing. With `alone`, each scan is a block of its own, and a worker
    has one in hand: none drags others down.
    """
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # add a worker when all have their hands full
    rows = 1 if alone else _block_rows(todo.num_rows, settings)
    blocks = [todo.slice(start, rows) for start in range(0, todo.num_rows, rows)]
    names: list[str] = []
    colored = ray.data.from_blocks(blocks).map_batches(
        ColorizeWorker,
        batch_size=None,
        batch_format="pyarrow",
        compute=_pool(todo.num_rows, settings, alone),
        fn_constructor_args=(task, predictors),
        fn_constructor_kwargs={"cpus": settings.worker_cpus},
        num_cpus=settings.worker_cpus,
        ray_remote_args_fn=lambda: {"name": _new_name(names)},
        **_BOUNDED,
    )
    try:
        for batch in colored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(batch, pa.Table)  # as batch_format asks
            if batch.num_rows:
                yield batch
    finally:
        _end(names)


def _new_name(names: list[str]) -> str:
    names.append(f"colornet-worker-{uuid.uuid4().hex}")
    return names[-1]


def _end(names: list[str]) -> None:
    """End workers, and free their cores.

    Ray ends a worker with the last handle of it, and the error of one that died holds handles of all. Whoever keeps
    that error, be it a log, would keep the cores, and the next workers would wait for them for ever.
    """
    for name in names:
        with contextlib.suppress(ValueError):  # it has ended
            ray.kill(ray.get_actor(name))


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
