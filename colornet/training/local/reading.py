"""Reads the groups of a stage ahead of a worker: in a thread of its own process, or in processes of their own."""

import contextlib
import functools
import itertools
import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from colornet.datasets.dealing import Position
from colornet.datasets.photographs import read_group
from colornet.training.run import TrainingRun

AHEAD = 2
"""Groups that are read ahead by a thread; by processes, as many more as there are processes."""


@dataclass(frozen=True)
class GroupReader:
    """Yields a worker's groups from a position on, for `WorkerPhotographs`: every `workers`th one, without end."""

    run: TrainingRun
    rank: int = 0
    workers: int = 1
    readers: int = 0
    """Processes that read; 0 for a thread of this one, which is enough where the networks take most of the time."""

    def __call__(self, position: Position) -> Iterator[np.ndarray]:
        """Yield groups, (GROUP, S, S, 3) sRGB uint8. Raises `StorageError` as `read_group` does."""
        stage, plan = self.run.recipe.stages[position.stage], self.run.plan(position.stage)
        read = functools.partial(
            read_group,
            plan,
            image_size=stage.image_size,
            min_crop_scale=stage.min_crop_scale,
            storage=self.run.storage,
        )
        numbers = itertools.count(position.group + self.rank, self.workers)
        waiting: deque[Future[np.ndarray]] = deque()
        with contextlib.closing(_Pool(self.readers)) as pool:
            for number in numbers:
                waiting.append(pool.executor.submit(read, number))
                if len(waiting) > AHEAD + self.readers:
                    yield waiting.popleft().result()


class _Pool:
    """Threads or processes that are not waited for in the end."""

    def __init__(self, processes: int) -> None:
        self.executor: Executor
        if processes:
            # Forked processes would inherit PyTorch's threads in the middle of what they do.
            self.executor = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
        else:
            self.executor = ThreadPoolExecutor(1, thread_name_prefix="photographs")

    def close(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)
