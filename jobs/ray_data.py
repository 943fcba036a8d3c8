"""Map blocks of rows through a callable on Ray Data, and learn which rows were lost with their workers.

This is all that jobs ask of Ray Data, except the training's stream. Ray's own choices suit a cluster that is watched:
what kills its worker is tried again for ever, and one block that cannot be had ends the whole. Here a block has a
bound, what is lost is missing from the results, and nobody waits for cores that a dead worker's error still holds.
"""

import contextlib
import functools
import logging
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from colornet.errors import ColornetError

from . import ray_private

log = logging.getLogger(__name__)

Work = Callable[[pa.Table], pa.Table]
"""What is done with a block."""

_NUMBER = "_colornet_block"
"""The column that tells the register which block it is."""
_ERROR = "_colornet_error"
"""The only column of a table that says why the job must end."""


def map_blocks(
    blocks: Sequence[pa.Table],
    work: Callable[..., Any],
    *args: Any,
    pool: ray.data.ActorPoolStrategy | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    retries: int = 0,
    error: type[ColornetError] | None = None,
) -> Generator[pa.Table]:
    """Yield what is made of each block, as it comes, in no order; nothing of blocks of which no row is left.

    Whoever may not take all must close it (`contextlib.closing`): left to the garbage collector, Ray's stream is ended
    in whatever thread that happens to run in, also in the stream's own, which cannot wait for itself.

    Args:
        blocks: each is computed as one, by one process. With `num_gpus`, all but the last must have as many rows.
        work: takes a block and `args`, and returns what is made of it. With `pool` it takes `args` alone, and returns
            what takes the blocks: it is a class of workers, or a function that makes one.
        args: can be pickled.
        pool: how many actors hold a worker each, and how many blocks each of them has in hand. Without it, blocks are
            tasks of Ray, as many at once as there is room for.
        num_cpus: of each actor or task.
        num_gpus: of each actor or task.
        retries: how often a block is tried again whose process died; after that it is missing. A worker that dies is
            replaced as often as it takes.
        error: what is raised here, with its words in one line, if `work` raises anything. Unless given, a block of
            which `work` raises is missing.
    """
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    ray_private.add_workers_when_all_are_busy(context)
    names: list[str] = []
    if pool is None:
        options = ray_private.bounded(max_retries=retries)
    else:
        options = ray_private.bounded(max_restarts=-1, max_task_retries=retries)
        options |= ray_private.named(functools.partial(_new_name, names))
    is_all_taken = len(options) == (1 if pool is None else 3)
    register = None
    if not is_all_taken:
        register = ray.remote(num_cpus=0)(ray_private.Register).remote()
        blocks = [
            block.append_column(_NUMBER, pa.array([number] * block.num_rows)) for number, block in enumerate(blocks)
        ]
    watch = _Watch(error is not None, retries, register)
    # `from_arrow` would start a task for each block, which needs a free core.
    results = ray.data.from_blocks(list(blocks)).map_batches(
        **_function(work, args, pool, watch),
        # Each block is one batch. For GPUs Ray insists on a number.
        batch_size=max((block.num_rows for block in blocks), default=1) if num_gpus else None,
        batch_format="pyarrow",
        num_cpus=num_cpus,
        num_gpus=num_gpus or None,
        **options,
    )
    try:
        for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(table, pa.Table)  # as batch_format asks
            if error is not None and table.column_names == [_ERROR]:
                raise error(table[_ERROR][0].as_py())
            if table.num_rows:
                yield table
    finally:
        _end(names, register)


def ask_until_answered(
    rows: pa.Table, key: str, ask: Callable[[pa.Table, int], Generator[pa.Table]], attempts: int, unit: str
) -> pa.Table:
    """Ask for rows, and again for those that were lost with their worker; returns those that were lost every time.

    Args:
        rows: what is asked for.
        key: the column that tells rows apart.
        ask: takes rows and the number of the attempt, from 1, and gives tables with the column `key`: of rows that have
            an answer. Whoever asks for lost rows block by block again loses the same, so it should ask for each alone.
        attempts: how often a row is asked for, at most.
        unit: what the rows are, in the plural, for the log.
    """
    for attempt in range(1, attempts + 1):
        with contextlib.closing(ask(rows, attempt)) as answers:
            answered = [chunk for table in answers for chunk in table[key].chunks]
        seen = pa.chunked_array(answered, rows.schema.field(key).type).combine_chunks()
        rows = rows.filter(pc.invert(pc.is_in(rows[key], value_set=seen)))
        if not rows.num_rows:
            break
        log.warning("%d %s were lost with their worker in attempt %d", rows.num_rows, unit, attempt)
    return rows


# --- in the workers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Watch:
    """What is done around the work in its process. Can be pickled."""

    tells: bool
    """Whether what the work raises travels as a row: Ray would drop the block together with its exception."""
    retries: int
    register: Any | None
    """Where Ray bounds no retries, or names no actors: the handle of the actor that does it instead."""

    def enlist(self) -> None:
        """In an actor: let the driver know whom to end."""
        if self.register is not None:
            ray.get(self.register.enlist.remote(ray.get_runtime_context().current_actor))

    def call(self, work: Work, block: pa.Table) -> pa.Table:
        """Work on a block."""
        if self.register is not None:
            number, block = block[_NUMBER][0].as_py(), block.drop_columns(_NUMBER)
            if ray.get(self.register.begin.remote(number)) > 1 + self.retries:
                return block.slice(0, 0)
        try:
            return work(block)
        except Exception as error:
            return self.told(error)

    def told(self, error: Exception) -> pa.Table:
        """Return the row that ends the job, if it is to end; else raise the error."""
        if not self.tells:
            raise error
        log.error("a task failed", exc_info=error)
        text = str(error) if isinstance(error, ColornetError) else f"unexpected {type(error).__name__}: {error}"
        return pa.table({_ERROR: [" ".join(text.split())]})


class _Worker:
    """What an actor holds: a worker, and the watch around it."""

    def __init__(self, watch: _Watch, work: Callable[..., Work], args: tuple[Any, ...]) -> None:
        watch.enlist()
        self._watch = watch
        try:
            self._work = work(*args)
        except Exception as error:
            failure = watch.told(error)
            self._work = lambda _: failure

    def __call__(self, block: pa.Table) -> pa.Table:
        return self._watch.call(self._work, block)


def _run(block: pa.Table, watch: _Watch, work: Callable[..., pa.Table], args: tuple[Any, ...]) -> pa.Table:
    """As a task: work on a block."""
    return watch.call(lambda rows: work(rows, *args), block)


# --- on the driver ----------------------------------------------------------------------------------------------------


def _function(
    work: Any, args: tuple[Any, ...], pool: ray.data.ActorPoolStrategy | None, watch: _Watch
) -> dict[str, Any]:
    """Return the function or class of `map_batches`, and what it is given."""
    if pool is None:
        return {"fn": functools.partial(_run, watch=watch, work=work, args=args)}
    return {"fn": _Worker, "compute": pool, "fn_constructor_args": (watch, work, args)}


def _new_name(names: list[str]) -> str:
    names.append(f"colornet-worker-{uuid.uuid4().hex}")
    return names[-1]


def _end(names: list[str], register: Any | None) -> None:
    """End workers, and free their cores.

    Ray ends a worker with the last handle of it, and the error of one that died holds handles of all. Whoever keeps
    that error, be it a log, would keep the cores, and the next workers would wait for them for ever.
    """
    for name in names:
        with contextlib.suppress(ValueError):  # it has ended, or was never begun
            ray.kill(ray.get_actor(name))
    if register is not None:
        with contextlib.suppress(ray.exceptions.RayError):  # Ray itself may be gone
            for worker in ray.get(register.workers.remote()):
                ray.kill(worker)
            ray.kill(register)
