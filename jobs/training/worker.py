"""What each worker of `jobs.train` does: build the duel, go on from the last checkpoint, train, report."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import Tensor, nn

from colornet import storage
from colornet.training import photographs, report
from colornet.training.gan import Duel
from colornet.training.losses import NonFiniteLossError
from colornet.training.recipe import Recipe
from colornet.training.trainer import Progress, Trainer
from jobs.training.run import CHECKPOINT, Run

LINE_EVERY = 10.0
"""Seconds between two lines of progress within an epoch."""

Say = Callable[[str], None]
"""Prints a line at the driver, or does nothing on all workers but the first."""


def work(config: dict[str, Any]) -> str | None:
    """Train on one worker; all run the same. Returns why the run cannot go on, or None when it has ended well."""
    run: Run = config["run"]
    say: Say = config["lines"].put if _rank() == 0 else lambda line: None
    torch.set_num_threads(_threads(config["threads"]))
    trainer = _build(run, _progress(say))
    _resume(trainer, say)
    try:
        if trainer.epoch == 0:
            trainer.warm_up()
        while trainer.epoch < run.recipe.epochs:
            measured = trainer.run_epoch()
            say(_line(measured, run.recipe))
            if _rank() == 0:
                _write_report(run, trainer)
            _report(run, trainer)
    except NonFiniteLossError as error:  # starting the workers anew would end the same way
        return str(error)
    return None


def _threads(wanted: int) -> int:
    """Return how many threads this worker may use without getting in the way of the others on its machine."""
    cores = len(os.sched_getaffinity(0)) // ray.train.get_context().get_local_world_size()
    return max(1, min(wanted, cores))


def _build(run: Run, on_progress: Callable[[Progress], None]) -> Trainer:
    settings, device = run.recipe, ray.train.torch.get_device()
    torch.manual_seed(settings.seed)  # the same first weights everywhere
    generator, discriminator = _distribute(settings.build_generator()), _distribute(settings.build_discriminator())
    torch.manual_seed(1 + settings.seed + 1_000_003 * _rank())  # but noise and dropout of each worker's own
    held_out = photographs.read_held_out(run.data.held_out, settings.image_size, settings.held_out_photographs)
    return Trainer(
        Duel(generator, discriminator, settings, device),
        _batches(settings.batch_size),
        torch.from_numpy(held_out[_rank() :: ray.train.get_context().get_world_size()]).permute(0, 3, 1, 2),
        on_progress,
    )


def _distribute(network: nn.Module) -> nn.Module:
    return ray.train.torch.prepare_model(network.to(memory_format=torch.channels_last))


def _batches(size: int) -> Iterator[Tensor]:
    shard = ray.train.get_dataset_shard("train")
    for batch in shard.iter_torch_batches(batch_size=size, drop_last=True, prefetch_batches=2):
        yield batch["image"].permute(0, 3, 1, 2)


def _resume(trainer: Trainer, say: Say) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as folder:
        device = trainer.duel.device
        trainer.load_state_dict(torch.load(Path(folder) / CHECKPOINT, map_location=device, weights_only=True))
        mine = Path(folder) / _random_state_file()
        if mine.exists():  # not if there are more workers now
            _set_random_state(torch.load(mine, map_location="cpu", weights_only=True))
    say(f"going on after epoch {trainer.epoch}")


def _report(run: Run, trainer: Trainer) -> None:
    """Tell Ray Train what was measured, with a checkpoint where one is due. Waits for all workers."""
    metrics = dict(trainer.history[-1])
    if trainer.epoch % run.recipe.checkpoint_every and trainer.epoch < run.recipe.epochs:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(_random_state(), Path(folder) / _random_state_file())
        if _rank() == 0:
            torch.save(trainer.state_dict(), Path(folder) / CHECKPOINT)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _write_report(run: Run, trainer: Trainer) -> None:
    """Write the metrics so far and the epoch's panel."""
    storage.write(run.report_uri("metrics.json"), report.table(trainer.history), "application/json")
    shown = trainer.held_out[: run.recipe.panel_photographs]
    if len(shown):
        picture = report.panel(shown, trainer.colorize(shown))
        storage.write(run.report_uri(f"panel-epoch-{trainer.epoch:04}.png"), picture, "image/png")


def _line(measured: dict[str, float], settings: Recipe) -> str:
    """Say in one line how an epoch went."""
    steps, after = measured["retraining_steps"], measured["accuracy_after_retraining"]
    retrained = f" (after {steps} steps of retraining {after:.0%})" if steps else ""
    rate, waiting = measured["photographs_per_second"], measured["waiting_for_data"]
    return (
        f"epoch {measured['epoch']}/{settings.epochs}: generator {measured['generator_loss']:.3f}, "
        f"discriminator {measured['discriminator_loss']:.3f}, its accuracy {measured['discriminator_accuracy']:.0%}"
        f"{retrained}, held-out error {measured['held_out_error']:.1f}, "
        f"{rate:.0f} photographs/s ({waiting:.0%} waiting for them), "
        f"{_left((settings.epochs - measured['epoch']) * measured['seconds'])}"
    )


def _progress(say: Say) -> Callable[[Progress], None]:
    """Return what says now and then how far the run is."""
    said = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            losses = ", ".join(f"{term} {value:.3f}" for term, value in now.losses.items())
            pace = f"{now.photographs_per_second:.0f} photographs/s, {_left(now.seconds_left)}"
            say(f"{now.stage}, step {now.step}/{now.steps}: {losses}, {pace}")

    return show


def _left(seconds: float) -> str:
    return f"{seconds / 60:.0f} min left" if seconds >= 120 else f"{seconds:.0f} s left"


def _rank() -> int:
    return ray.train.get_context().get_world_rank()


def _random_state_file() -> str:
    return f"random-{_rank():04}.pt"


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
