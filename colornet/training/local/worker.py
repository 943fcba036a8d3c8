"""What each process of a run on this machine does: build the networks, go on from the checkpoint, train, save."""

import dataclasses
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from colornet.datasets.dealing import Position
from colornet.errors import TrainingError
from colornet.training.build import build_trainer
from colornet.training.callbacks import ReportProgress
from colornet.training.checkpoints import random_state, set_random_state
from colornet.training.distributed import sum_over_workers
from colornet.training.gan import GanModule
from colornet.training.lines import Say, epoch_line, report_progress
from colornet.training.local.reading import GroupReader
from colornet.training.local.run import LocalRun
from colornet.training.report.writer import Panel, ReportWriter
from colornet.training.stream import WorkerPhotographs
from colornet.training.trainer import Callback, StepProgress, Trainer


def work(run: LocalRun, rank: int, is_asked_to_stop: Callable[[], bool], say: Say) -> bool:
    """Train on one worker, whose process group is there already; all run the same.

    Args:
        run: what is trained.
        rank: number of this worker, from 0.
        is_asked_to_stop: whether the run must stop soon; asked every few steps.
        say: prints a line.

    Returns:
        Whether the run is finished; it has stopped with a checkpoint otherwise.

    Raises:
        TrainingError: if the run cannot go on.
        StorageError: if photographs cannot be read, or checkpoint or report cannot be written.
    """
    torch.set_num_threads(run.threads)
    device = torch.device(run.device, rank) if run.device == "cuda" else torch.device(run.device)
    reader = GroupReader(run, rank, run.most_workers, run.readers)
    stream = WorkerPhotographs(run, reader, rank, run.most_workers)
    trainer = build_trainer(
        run.recipe,
        stream,
        run.data,
        start=run.start,
        storage=run.storage,
        rank=rank,
        device=device,
        wrap=lambda network: data_parallel(network, device, run.most_workers),
        callbacks=[ReportProgress(report_progress(say))] if rank == 0 else [],
    )
    _resume(run, trainer, stream, rank, say)
    saving = Saving(run, stream, rank, is_asked_to_stop)
    trainer.add_callback(saving)
    report = _report(run, trainer.gan) if rank == 0 else None
    try:
        return _train(run, trainer, stream, saving, report, say)
    finally:
        if report:
            report.close(trainer.history, stream.position)


def data_parallel(network: nn.Module, device: torch.device, workers: int) -> nn.Module:
    """Move a network to the device, and wrap it for several workers."""
    network = network.to(device)
    if workers == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


class Saving(Callback):
    """Saves a checkpoint every few minutes, and when the run must stop; all workers agree on when."""

    def __init__(
        self, run: LocalRun, stream: WorkerPhotographs, rank: int, is_asked_to_stop: Callable[[], bool]
    ) -> None:
        """Save where the networks and `stream` stand; the first worker writes."""
        self._run, self._stream, self._rank = run, stream, rank
        self._is_asked_to_stop = is_asked_to_stop
        self._saved = time.monotonic()

    def on_steps(self, trainer: Trainer, progress: StepProgress) -> None:
        """Save within an epoch, if it is time; raises `StopTrainingError` if the run must stop."""
        if trainer.within_epoch and self.save_if_due(trainer):
            raise StopTrainingError

    def save_if_due(self, trainer: Trainer) -> bool:
        """Save if it is time; returns whether the run must stop. The state must be whole."""
        late = self._run.deadline is not None and time.time() >= self._run.deadline
        due = self._rank == 0 and time.monotonic() - self._saved >= self._run.checkpoint_every
        asked = torch.tensor([self._is_asked_to_stop() or late, due], dtype=torch.float32, device=trainer.gan.device)
        stop, due = (sum_over_workers(asked) > 0).tolist()
        if stop or due:
            self.save(trainer)
        return stop

    def save(self, trainer: Trainer) -> None:
        """Save."""
        state = {
            "trainer": trainer.state_dict(),
            "position": dataclasses.asdict(self._stream.position),
            "random": _of_all_workers(random_state()),
        }
        if self._rank == 0:
            self._run.save_checkpoint(state)
        self._saved = time.monotonic()


class StopTrainingError(Exception):
    """The run stops within an epoch, and has been saved."""


def _train(
    run: LocalRun, trainer: Trainer, stream: WorkerPhotographs, saving: Saving, report: ReportWriter | None, say: Say
) -> bool:
    try:
        while not trainer.finished:
            measured = trainer.run_epoch()
            say(epoch_line(measured, run.recipe))
            if report:
                report.note(trainer.history, Panel(*trainer.panel()), stream.position)
            if trainer.stopped:
                raise TrainingError(f"the run {run.name!r} ended: epoch {trainer.epoch}: {trainer.stopped}")
            if not trainer.finished and saving.save_if_due(trainer):
                return False
    except StopTrainingError:
        return False
    saving.save(trainer)
    return True


def _resume(run: LocalRun, trainer: Trainer, stream: WorkerPhotographs, rank: int, say: Say) -> None:
    state = run.load_checkpoint()
    if state is None:
        return
    trainer.load_state_dict(state["trainer"])
    stream.position = Position(**state["position"])
    if rank < len(state["random"]):  # else there are more workers now
        set_random_state(state["random"][rank])
    begun = state["trainer"]["begun"]
    within = f", step {begun['steps']} of the next" if begun else ""
    say(f"going on after epoch {trainer.epoch}{within}, with {run.most_workers} workers")


def _of_all_workers(state: Any) -> list[Any]:
    if not torch.distributed.is_initialized():
        return [state]
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


def _report(run: LocalRun, gan: GanModule) -> ReportWriter:
    gpu = torch.cuda.get_device_name() if gan.device.type == "cuda" else ""
    hardware = {
        "workers": run.most_workers,
        "each with": gpu or f"{run.threads} threads of {os.cpu_count()} CPUs, {platform.machine()}",
        "precision": "bfloat16" if gan.low_precision else "float32",
        "PyTorch": torch.__version__,
    }
    has_tensorboard = importlib.util.find_spec("tensorboardX") is not None
    return ReportWriter(run, hardware, tensorboard=has_tensorboard)
