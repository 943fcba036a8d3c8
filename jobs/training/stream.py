"""The photographs of a run: each stage is one stream of Ray Data, dealt out to the workers group by group."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray.data
import ray.train
from ray.data import ExecutionOptions, ExecutionResources

from colornet.datasets.dealing import Position
from colornet.datasets.photographs import Reader
from colornet.datasets.plan import GROUP
from colornet.training.recipe import Recipe

from ..ray_private import bounded, turn_unhurriedly
from ..session import quieten_ray_data
from .run import Run

READER_CPUS = 0.5
"""CPU that Ray Data counts for one task that reads photographs."""
READER_TASKS = 1000
"""At most so many tasks read the photographs of a stage; each yields its groups one by one."""
READER_RETRIES = 5
"""How often a task is tried again whose process died; Ray's own choice is for ever."""
GROUPS_AHEAD = 8
"""Groups of photographs that may be read ahead of the workers, for each of them."""
BATCHES_AHEAD = 2
"""Groups that each worker fetches ahead."""


def streams(run: Run, worker_cpus: float) -> dict[str, ray.data.Dataset | Callable[[], ray.data.Dataset]]:
    """Return what makes the stream of each stage, by its name for Ray Train. Each worker has so many CPUs."""
    stages = range(len(run.recipe.stages))
    return {_name(number): functools.partial(_stream, run, worker_cpus, number) for number in stages}


def reading(run: Run) -> ExecutionOptions:
    """Read in the plan's order, and not too far ahead."""
    largest = max(_group_bytes(run.recipe, number) for number in range(len(run.recipe.stages)))
    ahead = GROUPS_AHEAD * run.most_workers * largest
    return ExecutionOptions(preserve_order=True, resource_limits=ExecutionResources(object_store_memory=ahead))


def worker_groups(position: Position) -> Iterator[np.ndarray]:
    """Yield this worker's groups of a stage, as Ray Data deals them out; the stream begins at the last checkpoint."""
    groups = ray.train.get_dataset_shard(_name(position.stage)).iter_batches(
        batch_size=None, prefetch_batches=BATCHES_AHEAD
    )
    return (group["image"] for group in groups)


def _stream(run: Run, worker_cpus: float, number: int) -> ray.data.Dataset:
    """Return the photographs of a stage, from where the last checkpoint stopped to its end.

    Ray Train calls this, in a process of its own, whenever it starts the workers.
    """
    recipe, position = run.recipe, run.position()
    plan = run.plan(number)
    first = position.group if position.stage == number else 0
    # Workers that come and go cut off a group each time; most runs need far fewer than all retraining would.
    last = first + recipe.photographs(number, run.most_workers) // GROUP + 2 * run.most_workers
    quieten_ray_data()
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _group_bytes(recipe, number)
    turn_unhurriedly(context)
    groups = ray.data.from_items(list(range(first, last)), override_num_blocks=min(last - first, READER_TASKS))
    stage = recipe.stages[number]
    read = Reader(plan, stage.image_size, stage.min_crop_scale, run.storage)
    options = _readers(run, worker_cpus) | bounded(max_retries=READER_RETRIES)
    return groups.map_batches(read, batch_size=None, **options)


def _readers(run: Run, worker_cpus: float) -> dict[str, Any]:
    """Return how many tasks may read at once, as Ray Data takes it.

    Workers may take all CPUs of a small cluster, and a task that waited for its own would wait for ever. Then a few
    read that count none.
    """
    left = ray.cluster_resources().get("CPU", 0.0) - run.most_workers * worker_cpus
    if left < READER_CPUS - 0.01:  # Ray counts in steps of 0.0001
        return {"num_cpus": 0, "concurrency": run.most_workers}
    return {"num_cpus": READER_CPUS}


def _name(number: int) -> str:
    return f"stage-{number}"


def _group_bytes(recipe: Recipe, number: int) -> int:
    return GROUP * recipe.stages[number].image_size ** 2 * 3
