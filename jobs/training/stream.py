"""The photographs of a run as one stream of Ray Data."""

import time
from typing import TYPE_CHECKING

import ray.data
from ray.data import ExecutionOptions, ExecutionResources
from ray.data._internal.execution.execution_callback import ExecutionCallback

from colornet.training.photographs import GROUP, Plan, Reader
from colornet.training.recipe import Recipe
from jobs.session import quieten_ray_data
from jobs.training.run import Run

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

READER_CPUS = 0.5
"""CPU that Ray Data counts for one task that reads photographs."""
READER_TASKS = 1000
"""At most so many tasks read the photographs of a run; each yields its groups one by one."""
READER_RETRIES = 5
"""How often a task is tried again whose process died; Ray's own choice is for ever."""
GROUPS_AHEAD = 8
"""Groups of photographs that may be read ahead of the workers, for each of them."""
SLACK = 1.1
"""The stream is longer than the run by this, for what cannot be read and what equal shares cut off."""
PAUSE = 0.05
"""Seconds between two looks of Ray Data at its tasks."""


def stream(run: Run) -> ray.data.Dataset:
    """Return the photographs from where the last checkpoint stopped to the end of the run.

    Ray Train calls this, in a process of its own, whenever it starts the workers.
    """
    plan = Plan(run.data.train, run.recipe.seed)
    _, metrics = run.last_checkpoint()
    first = plan.groups(int(metrics.get("steps", 0)) * run.recipe.batch_size * run.workers)
    last = plan.groups(int(run.recipe.photographs(run.workers) * SLACK)) + 1 + run.workers
    quieten_ray_data()
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _group_bytes(run.recipe)
    context.custom_execution_callback_classes = [Unhurried]
    groups = ray.data.from_items(list(range(first, last)), override_num_blocks=min(last - first, READER_TASKS))
    read = Reader(plan, run.recipe.image_size)
    return groups.map_batches(read, batch_size=None, num_cpus=READER_CPUS, max_retries=READER_RETRIES)


def reading(run: Run) -> ExecutionOptions:
    """Read in the plan's order, and not too far ahead."""
    ahead = GROUPS_AHEAD * run.workers * _group_bytes(run.recipe)
    return ExecutionOptions(preserve_order=True, resource_limits=ExecutionResources(object_store_memory=ahead))


class Unhurried(ExecutionCallback):
    """Pauses in every turn of Ray Data's loop.

    The loop waits for tasks that have something to give. While the workers train, all of them have, and none of it is
    taken yet: without a pause the loop turns without end and takes half a core from the workers.
    """

    def on_execution_step(self, executor: "StreamingExecutor") -> None:
        """Pause."""
        time.sleep(PAUSE)


def _group_bytes(recipe: Recipe) -> int:
    return GROUP * recipe.image_size**2 * 3
