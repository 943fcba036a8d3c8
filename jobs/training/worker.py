"""What each worker of `jobs.train` does: build the networks, go on from the last checkpoint, train, report."""

import contextlib
import dataclasses
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointUploadMode
from torch import Tensor

from colornet.errors import NotFoundError
from colornet.training.build import build_trainer
from colornet.training.callbacks import Progress, ReportProgress
from colornet.training.gan import GanModule
from colornet.training.health import Action
from colornet.training.losses import NonFiniteLossError
from colornet.training.recipe import Recipe
from colornet.training.trainer import Measured, Trainer

from .reporting import Panel, Reporter
from .run import CHECKPOINT, Position, Run, load
from .stream import WorkerPhotographs

LINE_EVERY = 10.0
"""Seconds between two lines of progress within an epoch."""

Say = Callable[[str], None]
"""Prints a line at the driver, or does nothing on all workers but the first."""


def work(config: dict[str, Any]) -> str | None:
    """Train on one worker; all run the same. Returns why the run cannot go on, or None when it has ended well."""
    run: Run = config["run"]
    run.check_place()
    say: Say = config["lines"].put if _rank() == 0 else lambda line: None
    torch.set_num_threads(_threads(config["threads"]))
    stream = WorkerPhotographs(run, _rank(), _workers())
    trainer = build_trainer(
        run.recipe,
        stream,
        run.data,
        storage=run.storage,
        rank=_rank(),
        device=ray.train.torch.get_device(),
        wrap=ray.train.torch.prepare_model,
        callbacks=[ReportProgress(_progress(say))],
    )
    _resume(run, trainer, stream, say)
    reporter = Reporter(run, _hardware(trainer.gan)) if _rank() == 0 else None
    try:
        return _train(run, trainer, stream, reporter, say)
    finally:
        if reporter:
            reporter.close(trainer.history, stream.position)


def _train(run: Run, trainer: Trainer, stream: WorkerPhotographs, reporter: Reporter | None, say: Say) -> str | None:
    try:
        while not trainer.finished:
            measured = trainer.run_epoch()
            say(_line(measured, run.recipe))
            if reporter:
                reporter.note(trainer.history, Panel(*trainer.panel()), stream.position)
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
        _set_random_state(load(run.read_checkpoint(checkpoint, _random_state_file()), torch.device("cpu")))
    say(f"going on after epoch {trainer.epoch}, with {_workers()} workers")


def _report(run: Run, trainer: Trainer, position: Position) -> None:
    """Tell Ray Train what was measured, with a checkpoint where one is due."""
    place = dataclasses.asdict(position)
    metrics = trainer.history[-1] | {"position": place}
    if trainer.epoch % run.recipe.checkpoint_every and not trainer.finished:
        ray.train.report(metrics)
        return
    folder = tempfile.mkdtemp(prefix="colornet-checkpoint-")
    torch.save(_random_state(), Path(folder) / _random_state_file())
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


def _line(measured: Measured, recipe: Recipe) -> str:
    """Say in one line how an epoch went."""
    told = [
        f"{name} {measured[f'{name}_loss']:.3f}"
        for name in ("generator", "discriminator")
        if f"{name}_loss" in measured
    ]
    if "discriminator_accuracy" in measured:
        steps, after = measured["retraining_steps"], measured["accuracy_after_retraining"]
        retrained = f" (after {steps} steps of retraining {after:.0%})" if steps else ""
        told.append(f"its accuracy {measured['discriminator_accuracy']:.0%}{retrained}")
    rate, waiting = measured["photographs_per_second"], measured["waiting_for_data"]
    told += [
        f"held-out error {measured['held_out_error']:.1f}",
        f"{rate:.0f} photographs/s ({waiting:.0%} waiting for them)",
    ]
    if measured["nearly_gray"]:
        told.append(f"{measured['nearly_gray']} nearly gray ones left out")
    if "verdict" in measured:
        done = "" if measured["action"] == Action.GO_ON else f" ({measured['action'].replace('_', ' ')})"
        told.append(measured["verdict_sentence"] + done)
    return f"epoch {measured['epoch']}/{recipe.epochs} ({measured['stage']}): {', '.join(told)}"


def _progress(say: Say) -> Callable[[Progress], None]:
    """Return what says now and then how far the run is."""
    said = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            losses = ", ".join(
                f"{name.removesuffix('_loss')} {value:.3f}"
                for name, value in now.losses.items()
                if name.endswith("_loss")
            )
            pace = f"{now.photographs_per_second:.0f} photographs/s, {_left(now.seconds_left)}"
            say(f"{now.stage}, step {now.step}/{now.steps}: {losses}, {pace}")

    return show


def _left(seconds: float) -> str:
    return f"{seconds / 60:.0f} min left" if seconds >= 120 else f"{seconds:.0f} s left"


def _rank() -> int:
    return ray.train.get_context().get_world_rank()


def _workers() -> int:
    return ray.train.get_context().get_world_size()


def _random_state_file() -> str:
    return f"random-{_rank():04}.pt"


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
