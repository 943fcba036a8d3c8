"""What the jobs use of Ray that is private, or that Ray says will end: each behind a check, all in this module.

Without one of them the jobs still start and do all their work. What is lost is said beside each.
"""

import inspect
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow.fs
import ray
import ray.data
import ray.train

# Ray 2.60 says of `**ray_remote_args` and `ray_remote_args_fn` that they end with 2.64, and has no other way yet to
# bound retries or to name actors: that is for us, not for users.
warnings.filterwarnings("ignore", message=".*ray_remote_args.*deprecated")

# --- ray.init ---------------------------------------------------------------------------------------------------------

IDLE_WORKER_MS = 600_000


def keep_idle_workers() -> None:
    """Let the Ray that is started next keep worker processes that have been idle for a while.

    On few cores Ray ends one that has been idle for a second, and the next task waits seconds for another to import
    PyTorch. A machine that runs one job has no better use for the memory. That is all that is lost: Ray passes over a
    variable that it does not know, but would not start with an unknown key in `_system_config`.
    """
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(IDLE_WORKER_MS))


def keep_priority() -> None:
    """Let the processes of the Ray that is started next have the priority of this one.

    Ray's own choice is next to the lowest, so that whatever else runs on the machine goes before a training, where a
    plain loop would get its share. Who wants that says `nice`. That is all that is lost without the variable.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")


# --- ray.data.Dataset.map_batches -------------------------------------------------------------------------------------


def bounded(**options: int) -> dict[str, Any]:
    """Return `max_retries` or `max_restarts` and `max_task_retries`, as `map_batches` takes them in its keywords.

    They bound how often Ray feeds the same rows to one worker after the other, which die of them; Ray's own choice is
    for ever. Without them `Register.begin` counts for `map_blocks`; only the readers of a training have no bound then.
    """
    parameters = inspect.signature(ray.data.Dataset.map_batches).parameters.values()
    return options if any(each.kind is each.VAR_KEYWORD for each in parameters) else {}


def named(name: Callable[[], str]) -> dict[str, Any]:
    """Return what gives each actor a name of its own, as `map_batches` takes it in its keywords.

    `name` may be called more often than there are actors. Actors are ended by their names; without them, by the handles
    that they leave at the `Register`.
    """
    if "ray_remote_args_fn" not in inspect.signature(ray.data.Dataset.map_batches).parameters:
        return {}
    return {"ray_remote_args_fn": lambda: {"name": name()}}


class Register:
    """An actor that knows of workers what Ray keeps to itself when it takes neither bounds nor names."""

    def __init__(self) -> None:
        """Know nothing."""
        self._workers: list[Any] = []
        self._begun: Counter[int] = Counter()

    def enlist(self, worker: Any) -> None:
        """Note the handle of an actor."""
        self._workers.append(worker)

    def workers(self) -> list[Any]:
        """Return the handles of all that have begun, also of those that have ended."""
        return self._workers

    def begin(self, block: int) -> int:
        """Note that the block of this number is begun; returns how often it has been."""
        self._begun[block] += 1
        return self._begun[block]


# --- ray.data.DataContext ---------------------------------------------------------------------------------------------


def add_workers_when_all_are_busy(context: ray.data.DataContext) -> None:
    """Let a pool grow as soon as all its workers have their hands full; without it, later."""
    config = getattr(context, "autoscaling_config", None)
    if config is not None:
        config.actor_pool_util_upscaling_threshold = 1.0


try:
    from ray.data._internal.execution.execution_callback import ExecutionCallback
except ImportError:
    ExecutionCallback = None  # type: ignore[assignment, misc]

PAUSE = 0.05
"""Seconds between two looks of Ray Data at its tasks."""


def turn_unhurriedly(context: ray.data.DataContext) -> None:
    """Make Ray Data pause in every turn of its loop.

    The loop waits for tasks that have something to give. While workers train, all of them have, and none of it is taken
    yet: without a pause the loop turns without end and takes half a core from the workers. That is all that is lost.
    """
    if ExecutionCallback is not None and hasattr(context, "custom_execution_callback_classes"):
        context.custom_execution_callback_classes = [Unhurried]


class Unhurried(ExecutionCallback or object):  # type: ignore[misc]
    """Pauses in every turn."""

    def on_execution_step(self, executor: Any) -> None:
        """Pause."""
        time.sleep(PAUSE)


# --- ray.train --------------------------------------------------------------------------------------------------------

try:
    from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError as _UnreadableCheckpointsError
except ImportError:
    _UnreadableCheckpointsError = Exception  # type: ignore[assignment, misc]

UNREADABLE_CHECKPOINTS: type[Exception] = _UnreadableCheckpointsError
"""What `Result.from_path` raises if a run's list of checkpoints is broken, beside RuntimeError if there is none. Where
it has moved, any exception counts as that, and a fault of another kind is told in the same words."""


def checkpoint_place(filesystem: pyarrow.fs.FileSystem, run: str, name: str) -> ray.train.Checkpoint:
    """On a worker: return the checkpoint of this name, whose files lie where Ray Train itself would put them.

    Ray Train takes only checkpoints of its own file system, under its own folder for the run. It tells both to
    developers; where it does not, they are those that the driver has given it, and nothing is lost.

    Args:
        filesystem: where Ray Train keeps its runs.
        run: the run's folder there.
        name: the checkpoint's.
    """
    try:
        place = ray.train.get_context().get_storage()
        return ray.train.Checkpoint(place.build_checkpoint_path_from_name(name), place.storage_filesystem)
    except (AttributeError, NotImplementedError):
        return ray.train.Checkpoint(f"{run}/{name}", filesystem)
