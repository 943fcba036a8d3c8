"""The processes of a run on this machine: started here, asked to stop by signals, and ended if one of them fails."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed

from colornet.errors import ColornetError, TrainingError
from colornet.training.lines import Say
from colornet.training.local.run import LocalRun
from colornet.training.local.worker import work

GRACE = 30.0
"""Seconds that the other workers have to end by themselves once one has failed."""
_LOOK_EVERY = 0.2

_SPAWN = multiprocessing.get_context("spawn")


class Signals:
    """Remembers that this process was asked to end, where it would have ended at once."""

    def __init__(self) -> None:
        """Heed nothing yet."""
        self.received: int | None = None
        """The first of them."""

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Remember SIGTERM and SIGINT for a while."""
        before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number


def run_workers(run: LocalRun, say: Say) -> tuple[bool, int | None]:
    """Train with the workers of a run, until it is finished or must stop.

    Args:
        run: what is trained.
        say: prints a line of progress; can be pickled.

    Returns:
        Whether it is finished, and the number of the signal that was received, if any. If it is not, it goes on from
        its checkpoint.

    Raises:
        ColornetError: what the first worker that failed has raised.
        TrainingError: if one has died.
    """
    signals = Signals()
    with signals.heeded():
        if run.most_workers == 1:
            return work(run, 0, lambda: signals.received is not None, say), signals.received
        with tempfile.TemporaryDirectory(prefix="colornet-workers-") as folder:
            rendezvous = str(Path(folder) / "rendezvous")
            workers = [_Worker(run, rank, rendezvous, say) for rank in range(run.most_workers)]
            try:
                finished = _attend(workers, signals)
            finally:
                for worker in workers:
                    worker.end()
    return finished, signals.received


class _Worker:
    """A process, and what it says in the end."""

    def __init__(self, run: LocalRun, rank: int, rendezvous: str, say: Say) -> None:
        self.rank = rank
        self.answer: Any = None
        self._mouth, mouth = _SPAWN.Pipe(duplex=False)
        self.process: BaseProcess = _SPAWN.Process(
            target=_work, args=(run, rank, rendezvous, say, mouth), name=f"worker-{rank}"
        )
        self.process.start()
        mouth.close()

    def is_over(self) -> bool:
        """Look, and keep what it has said."""
        with contextlib.suppress(EOFError):
            if self.answer is None and self._mouth.poll():
                self.answer = self._mouth.recv()
        if not self.process.is_alive() and self.answer is None:
            code = self.process.exitcode
            self.answer = TrainingError(f"worker {self.rank} has died (exit code {code}); the same command goes on")
        return self.answer is not None

    def end(self) -> None:
        """End the process, if it has not ended by itself a while after it was asked to."""
        self.process.join(GRACE if isinstance(self.answer, bool) else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _attend(workers: list[_Worker], signals: Signals) -> bool:
    """Wait for all workers, or for the first that fails; hand a signal on."""
    asked = False
    while _count_at_work(workers):
        if any(isinstance(worker.answer, Exception) for worker in workers):
            break
        if signals.received and not asked:
            asked = True
            for worker in workers:
                worker.process.terminate()
        time.sleep(_LOOK_EVERY)
    _wait_for_causes(workers)
    failures = [worker.answer for worker in workers if isinstance(worker.answer, Exception)]
    if failures:
        # A worker whose neighbour has gone fails, too, and says less of what went wrong.
        raise min(failures, key=lambda error: isinstance(error, _LostNeighbourError))
    return all(worker.answer for worker in workers)


def _count_at_work(workers: list[_Worker]) -> int:
    return sum(not worker.is_over() for worker in workers)


def _wait_for_causes(workers: list[_Worker]) -> None:
    until = time.monotonic() + GRACE
    while time.monotonic() < until and _count_at_work(workers):
        time.sleep(_LOOK_EVERY)


class _LostNeighbourError(TrainingError):
    """A worker cannot go on without another one."""


def _work(run: LocalRun, rank: int, rendezvous: str, say: Say, mouth: Connection) -> None:
    """Train in a process of its own, and say how it ended."""
    signals = Signals()
    parent = os.getppid()
    try:
        with signals.heeded(), _process_group(run, rank, rendezvous):
            is_asked = functools.partial(_is_asked_to_stop, signals, parent)
            answer: Any = work(run, rank, is_asked, say if rank == 0 else _silent)
    except ColornetError as error:
        answer = error
    except RuntimeError as error:  # of gloo or NCCL, among others
        print(f"worker {rank}: {error}", file=sys.stderr)
        answer = _LostNeighbourError(f"worker {rank}: {' '.join(str(error).split())[:300]}")
    mouth.send(answer)


def _is_asked_to_stop(signals: Signals, parent: int) -> bool:
    return signals.received is not None or os.getppid() != parent


@contextlib.contextmanager
def _process_group(run: LocalRun, rank: int, rendezvous: str) -> Iterator[None]:
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the workers are all here, whatever the machine is called
    backend = "gloo"
    if run.device == "cuda":
        backend = "nccl"
        torch.cuda.set_device(rank)
    place, count = f"file://{rendezvous}", run.most_workers
    torch.distributed.init_process_group(backend, init_method=place, rank=rank, world_size=count)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _silent(_line: str) -> None:
    pass
