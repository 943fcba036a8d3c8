"""Train a generator on this machine, without Ray: shards in, a model bundle out.

    colornet train-local --data shards/ --output bundle/ --recipe laptop --num-workers 2
    colornet train-local --data packed/ --output bundle/ --recipe shipped --device cuda --readers 12 --minutes 9

It trains as `colornet train` does, with the same recipes, and the same losses for as many workers. What it needs of
other packages is less, and it can be stopped at any time: by SIGTERM, Ctrl-C, or after --minutes it writes its
checkpoint (OUTPUT/_local/NAME), and a bundle of what there is. The same command started again goes on from there. So it
does after the machine was switched off, from the checkpoint of the last few minutes.

Flags of a recipe depend on its stages: --recipe NAME --help lists them.
"""

import functools
import os
import signal
import sys
import time
from dataclasses import field
from typing import Annotated, Literal

import torch
import tyro
from pydantic import SkipValidation

from colornet.cli.command import is_quiet
from colornet.cli.recipes import RecipeCommand, recipe_defaults
from colornet.datasets import collection
from colornet.errors import ExitCode, SettingsError
from colornet.settings import settings
from colornet.storage import S3Options, Storage, uris
from colornet.training.local.processes import run_workers
from colornet.training.local.run import LocalRun
from colornet.training.ranges import Count, CountOrZero, Positive
from colornet.training.recipe import Recipe
from colornet.training.start import find_start


@settings
class LocalTrainSettings:
    """The settings of colornet train-local."""

    # Not checked, because tyro puts a mark there for a flag that must be given.
    data: SkipValidation[str]
    """Folder or s3:// prefix with Parquet shards, as jobs.prepare writes them; val*.parquet are held out."""
    output: SkipValidation[str]
    """Folder or s3:// prefix for the bundle, the report and the checkpoint."""
    start_from: str | None = None
    """Fine-tune: the generator's first weights, and the generator itself, are those of this model bundle: a folder, an
    s3:// prefix, or shipped://default. The recipe is then fine-tune, unless --recipe names another."""
    validation: str | None = None
    """Take the held-out photographs from the shards at this place instead."""
    name: str | None = None
    """Name of the run, of letters, digits, - and _; a run of this name in the same output is continued. The recipe's
    name, unless given."""
    half: bool = False
    """Store the bundle's weights as float16, in half the bytes."""
    num_workers: Count = 1
    """Processes that train in parallel: one, or as many as there are GPUs; on CPUs one for each core, or a few."""
    threads: Count | None = None
    """Threads of each worker's networks. Unless given: an equal share of the machine's cores."""
    readers: CountOrZero = 0
    """Processes of each worker that read and decode photographs, for GPUs. 0: a thread of the worker."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks are; auto takes GPUs where there are some."""
    minutes: Positive | None = None
    """Stop after so many minutes, with a checkpoint and a bundle."""
    checkpoint_minutes: Positive = 10.0
    """Minutes between two checkpoints."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    """How it is trained."""
    s3: S3Options = field(default_factory=S3Options)
    """How S3 is accessed."""

    def __post_init__(self) -> None:
        """Check the run's name, and what depends on other settings."""
        if self.name is not None and not self.name.replace("-", "").replace("_", "").isalnum():
            raise SettingsError(f"name must be of letters, digits, - and _, not {self.name!r}")
        if self.recipe.sync_batchnorm and _device(self) != "cuda":
            raise SettingsError("sync_batchnorm is for GPUs: give --generator.norm group instead")
        if _device(self) == "cuda" and self.num_workers > torch.cuda.device_count():
            raise SettingsError(f"num_workers must be at most {torch.cuda.device_count()}, the GPUs that there are")


def train(settings: LocalTrainSettings) -> ExitCode:
    """Train until the run is finished or must stop; returns the exit code. Raises `ColornetError`."""
    deadline = None if settings.minutes is None else time.time() + 60 * settings.minutes
    run = _prepare(settings, deadline)
    state, signalled = run.load_checkpoint(), None
    finished = state is not None and state["trainer"]["epoch"] == run.recipe.epochs
    if finished:
        print(f"the run {run.name!r} is finished")
    else:
        print(
            f"training {run.recipe.name!r} on {run.data.summary()['photographs']} photographs, "
            f"{run.recipe.epochs} epochs with {run.recipe.steps} steps, {run.most_workers} workers on {run.device}",
            flush=True,
        )
        finished, signalled = run_workers(run, functools.partial(_say, is_quiet()))
        state = run.load_checkpoint()
    assert state is not None
    run.save_bundle(state, half=settings.half)
    if not finished:
        done = state["trainer"]["epoch"]
        print(f"stopped after {done} of {run.recipe.epochs} epochs; the same command goes on from there")
    print(f"the model bundle is in {run.output}, what came of the training in {run.report_uri('report.html')}")
    if finished or signalled is None:
        return ExitCode.DONE
    return ExitCode.INTERRUPTED if signalled == signal.SIGINT else ExitCode.TERMINATED


def _prepare(settings: LocalTrainSettings, deadline: float | None) -> LocalRun:
    """Check all that can be checked before the workers start, and note the recipe beside the run."""
    settings.recipe.check_networks()
    storage = Storage(settings.s3)
    start = None if settings.start_from is None else find_start(settings.start_from, settings.recipe.generator, storage)
    validation = None if settings.validation is None else uris.normalize(settings.validation)
    data, output = uris.normalize(settings.data), uris.normalize(settings.output)
    device = _device(settings)
    run = LocalRun(
        recipe=settings.recipe,
        data=collection.find(data, validation, storage, settings.recipe.sampling),
        data_uri=data,
        output=output,
        name=settings.name or settings.recipe.name,
        storage=storage,
        start=start,
        most_workers=settings.num_workers,
        threads=settings.threads or max(1, len(os.sched_getaffinity(0)) // settings.num_workers),
        readers=settings.readers,
        device=device,
        checkpoint_every=60 * settings.checkpoint_minutes,
        deadline=deadline,
    )
    storage.check_writable(output)
    run.note_recipe()
    return run


def _device(settings: LocalTrainSettings) -> str:
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def _say(quiet: bool, line: str) -> None:
    if not quiet:
        print(line, file=sys.stderr, flush=True)


main = RecipeCommand(
    settings=LocalTrainSettings,
    run=train,
    description=__doc__,
    program="colornet train-local",
    defaults=recipe_defaults(LocalTrainSettings),
    flags=(),
    compact_help=True,
)

if __name__ == "__main__":
    main()
