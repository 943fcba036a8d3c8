"""What each worker of `jobs.train` does: build the networks, go on from the last checkpoint, train, report."""

import contextlib
import dataclasses
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointUploadMode

from colornet.datasets.dealing import Position
from colornet.errors import NotFoundError
from colornet.training.build import build_trainer
from colornet.training.callbacks import ReportProgress
from colornet.training.checkpoints import load, random_state, set_random_state
from colornet.training.gan import GanModule
from colornet.training.lines import Say, epoch_line, report_progress
from colornet.training.losses import NonFiniteLossError
from colornet.training.report.writer import Panel, ReportWriter
from colornet.training.stream import WorkerPhotographs
from colornet.training.trainer import Trainer

from .run import CHECKPOINT, Run
from .stream import worker_groups


def work(config: dict[str, Any]) -> str | None:
    """Train on one worker; all run the same. Returns why the run cannot go on, or None when it has ended well."""
    run: Run = config["run"]
    run.check_place()
    say: Say = config["lines"].put if _rank() == 0 else lambda line: None
    torch.set_num_threads(_threads(config["threads"]))
    stream = WorkerPhotographs(run, worker_groups, _rank(), _workers())
    trainer = build_trainer(
        run.recipe,
        stream,
        run.data,
        start=run.start,
        storage=run.storage,
        rank=_rank(),
        device=ray.train.torch.get_device(),
        wrap=ray.train.torch.prepare_model,
        callbacks=[ReportProgress(report_progress(say))],
    )
    _resume(run, trainer, stream, say)
    report = ReportWriter(run, _hardware(trainer.gan)) if _rank() == 0 else None
    try:
        return _train(run, trainer, stream, report, say)
    finally:
        if report:
            report.close(trainer.history, stream.position)


def _train(run: Run, trainer: Trainer, stream: WorkerPhotographs, report: ReportWriter | None, say: Say) -> str | None:
    try:
        while not trainer.finished:
            measured = trainer.run_epoch()
            say(epoch_line(measured, run.recipe))
            if report:
                report.note(trainer.history, Panel(*trainer.panel()), stream.position)
            if trainer.stopped:
                return f"epoch {trainer.epoch}: {trainer.stopped}"
            _report(run, trainer, stream.position)
    except NonFiniteLossError as error:  # starting the workers anew would end the same way
        return str(error)
    return None


def _threads(wanted: int) -> int:
    """Return how many threads this worker may use without getting in the way of the others on its machine."""
    cores = len(os.sched_getaffinity(0)) // ray.train.get_context().get_local_world_size()
    return max(1, min(wanted, cores))


def _resume(run: Run, trainer: Trainer, stream: WorkerPhotographs, say: Say) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    state = load(run.read_checkpoint(checkpoint, CHECKPOINT), trainer.gan.device)
    trainer.load_state_dict(state["trainer"])
    stream.position = Position(**state["position"])
    with contextlib.suppress(NotFoundError):  # if there are more workers now
        set_random_state(load(run.read_checkpoint(checkpoint, _random_state_file()), torch.device("cpu")))
    say(f"going on after epoch {trainer.epoch}, with {_workers()} workers")


def _report(run: Run, trainer: Trainer, position: Position) -> None:
    """Tell Ray Train what was measured, with a checkpoint where one is due."""
    place = dataclasses.asdict(position)
    metrics = trainer.history[-1] | {"position": place}
    if trainer.epoch % run.recipe.checkpoint_every and not trainer.finished:
        ray.train.report(metrics)
        return
    folder = tempfile.mkdtemp(prefix="colornet-checkpoint-")
    torch.save(random_state(), Path(folder) / _random_state_file())
    if _rank() == 0:
        torch.save({"trainer": trainer.state_dict(), "position": place}, Path(folder) / CHECKPOINT)
    ray.train.report(
        metrics,
        checkpoint=ray.train.Checkpoint.from_directory(folder),
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,  # the next epoch does not wait for object storage
        checkpoint_upload_fn=run.upload_checkpoint,
        delete_local_checkpoint_after_upload=True,
    )


def _hardware(gan: GanModule) -> dict[str, Any]:
    """What the report says of the machines."""
    gpu = torch.cuda.get_device_name() if gan.device.type == "cuda" else ""
    return {
        "workers": _workers(),
        "each with": gpu or f"{torch.get_num_threads()} threads of {os.cpu_count()} CPUs, {platform.machine()}",
        "precision": "bfloat16" if gan.low_precision else "float32",
        "PyTorch": torch.__version__,
        "Ray": ray.__version__,
    }


def _rank() -> int:
    return ray.train.get_context().get_world_rank()


def _workers() -> int:
    return ray.train.get_context().get_world_size()


def _random_state_file() -> str:
    return f"random-{_rank():04}.pt"
