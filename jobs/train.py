"""Train a generator on colour photographs: shards in, a model bundle out.

    python -m jobs.train --data shards/ --output model/
    python -m jobs.train --data s3://photos/shards --output s3://models/mine --num-workers 8 --use-gpu
    python -m jobs.train --data shapes/ --output model/ --recipe shapes --epochs 3 --generator.width 8

Generator and discriminator are trained together, data-parallel: one process a worker, NCCL between GPUs, gloo between
CPUs. OUTPUT/report/ has a panel of held-out photographs for each epoch, `metrics.json`, and at the end `training.png`.
The same command started again goes on from the last checkpoint (OUTPUT/_training/NAME); a finished run stays as it is.
"""

import contextlib
import functools
import itertools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import ray.data
import ray.train
import ray.train.torch
import torch
import tyro
from ray.data import ExecutionOptions, ExecutionResources
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue
from torch import Tensor, nn

from colornet import bundle as bundles
from colornet import storage
from colornet.bundle import Bundle
from colornet.errors import NotFoundError, SettingsError, TrainingError
from colornet.training import photographs, recipe, report
from colornet.training.gan import Duel
from colornet.training.losses import NonFiniteLossError
from colornet.training.photographs import Collection, Plan
from colornet.training.recipe import Recipe
from colornet.training.trainer import Trainer
from jobs.command import run_job
from jobs.session import quieten_ray_data, start_ray

CHECKPOINT = "training.pt"
READER_CPUS = 0.5
"""CPU that Ray Data counts for one task that reads photographs."""
GROUPS_AHEAD = 16
"""Groups of photographs that may be read ahead of the workers, for each of them."""
READER_TASKS = 1000
"""At most so many tasks read the photographs of a run; each yields its groups one by one."""
SLACK = 1.1
"""The stream is longer than the run by this, for what cannot be read and what equal shares cut off."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress within an epoch."""

Say = Callable[[str], None]
"""Prints a line at the driver, or does nothing on all workers but the first."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of jobs.train."""

    data: str
    """Folder or s3:// prefix with Parquet shards, as jobs.prepare writes them; val*.parquet are held out."""
    output: str
    """Folder or s3:// prefix for the bundle, the report and the checkpoints."""
    validation: str | None = None
    """Take the held-out photographs from the shards at this place instead."""
    name: str | None = None
    """Name of the run; a run of this name in the same output is continued. The recipe's name, unless given."""
    num_workers: int = 1
    """Processes that train in parallel."""
    use_gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: float | None = None
    """CPUs of each worker. Unless given: 1 beside a GPU or on several nodes, else an equal share of the machine's."""
    max_failures: int = 3
    """How often the workers are started anew, from the last checkpoint, after one of them has died."""
    keep_checkpoints: int = 2
    """How many checkpoints are kept."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    """How it is trained."""

    def __post_init__(self) -> None:
        """Check every field; raises `SettingsError`."""
        if self.num_workers < 1:
            raise SettingsError(f"num-workers must be at least 1, not {self.num_workers}")
        if self.cpus_per_worker is not None and self.cpus_per_worker <= 0:
            raise SettingsError(f"cpus-per-worker must be above 0, not {self.cpus_per_worker}")
        if self.max_failures < 0:
            raise SettingsError(f"max-failures must be at least 0, not {self.max_failures}")
        if self.keep_checkpoints < 1:
            raise SettingsError(f"keep-checkpoints must be at least 1, not {self.keep_checkpoints}")
        if self.name is not None and not self.name.replace("-", "").replace("_", "").isalnum():
            raise SettingsError(f"name must be of letters, digits, - and _, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run and its places."""

    recipe: Recipe
    data: Collection
    data_uri: str
    output: str
    name: str

    @property
    def uri(self) -> str:
        """Where Ray Train keeps the run's checkpoints."""
        return storage.join(self.output, "_training", self.name)

    def report_uri(self, name: str) -> str:
        """Where a file of the report lies."""
        return storage.join(self.output, "report", name)


def train(settings: TrainSettings) -> int:
    """Run the job; returns its exit code. Raises `ColornetError`."""
    run = _prepare(settings)
    checkpoint, metrics = _last_checkpoint(run)
    if checkpoint is not None and metrics["epoch"] == run.recipe.epochs:
        print(f"the run {run.name!r} is finished")
    else:
        start_ray(worker_logs=False)  # Ray Train's own lines are many; ours come from the first worker through a queue
        print(
            f"training {run.recipe.name!r} on {run.data.summary()['photographs']} photographs, "
            f"{run.recipe.epochs} epochs of {run.recipe.steps_per_epoch} steps, {settings.num_workers} workers",
            flush=True,
        )
        with _printed_lines() as lines:
            checkpoint = _fit(run, settings, lines)
    state = _load(checkpoint)
    _save_bundle(run, state)
    storage.write(run.report_uri("training.png"), report.plot(state["history"]), "image/png")
    print(f"the model bundle is in {run.output}, panels and plot in {storage.join(run.output, 'report')}")
    return 0


# --- before Ray starts ------------------------------------------------------------------------------------------------


def _prepare(settings: TrainSettings) -> Run:
    """Check all that can be checked without Ray, and note the recipe beside the run."""
    settings.recipe.check_networks()
    validation = None if settings.validation is None else storage.normalize(settings.validation)
    data, output = storage.normalize(settings.data), storage.normalize(settings.output)
    run = Run(
        recipe=settings.recipe,
        data=photographs.find(data, validation),
        data_uri=data,
        output=output,
        name=settings.name or settings.recipe.name,
    )
    storage.check_writable(output)
    _note_recipe(run)
    return run


def _note_recipe(run: Run) -> None:
    """Keep the recipe beside the checkpoints; a run cannot go on with another one."""
    place, now = storage.join(run.uri, "recipe.json"), run.recipe.to_dict()
    before = _read_json(place)
    if before is None:
        storage.write(place, (json.dumps(now, indent=2) + "\n").encode(), "application/json")
    elif before != now:
        changed = ", ".join(f"{key} was {before.get(key)!r}" for key in now if before.get(key) != now[key])
        raise SettingsError(
            f"the run {run.name!r} in {run.output} has another recipe ({changed}): give another --name or --output"
        )


def _read_json(uri: str) -> Any:
    try:
        return json.loads(storage.read(uri).data)
    except NotFoundError:
        return None
    except ValueError as error:
        raise SettingsError(f"{uri} cannot be understood: {error}") from error


# --- on the driver ----------------------------------------------------------------------------------------------------


def _fit(run: Run, settings: TrainSettings, lines: Queue) -> ray.train.Checkpoint:
    """Train on the workers, and return the last checkpoint."""
    cpus = settings.cpus_per_worker or _cpu_share(settings)
    filesystem, path = storage.arrow_filesystem(storage.join(run.output, "_training"))
    trainer = TorchTrainer(
        cast(Any, work),  # Ray's own type forbids the return value that its Result hands on
        train_loop_config={"run": run, "threads": max(1, round(cpus)), "lines": lines},
        torch_config=TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.num_workers,
            use_gpu=settings.use_gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if settings.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=settings.keep_checkpoints),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
        ),
        datasets={"train": functools.partial(_stream, run, settings.num_workers)},
        dataset_config=ray.train.DataConfig(execution_options=_reading(run.recipe, settings.num_workers)),
    )
    try:
        result: Any = trainer.fit()
    except SystemExit:  # what Ray Train makes of an interrupt, with exit code 0
        raise KeyboardInterrupt from None
    except ray.train.TrainingFailedError as error:
        raise TrainingError(f"the run {run.name!r} failed: {_cause(error)}") from error
    if result.return_value is not None:
        raise TrainingError(f"the run {run.name!r} ended: {result.return_value}")
    assert result.checkpoint is not None
    return result.checkpoint


@contextlib.contextmanager
def _printed_lines() -> Iterator[Queue]:
    """Yield a queue; what workers put into it is printed here, on standard error."""
    lines = Queue(actor_options={"num_cpus": 0})

    def show() -> None:
        while (line := lines.get()) is not None:
            print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        lines.put(None)
        thread.join()
        lines.shutdown()


def _cpu_share(settings: TrainSettings) -> float:
    """CPUs of a worker, so that the readers of photographs find some as well."""
    if settings.use_gpu or len(ray.nodes()) > 1:
        return 1.0
    return max(0.1, (ray.cluster_resources().get("CPU", 1.0) - READER_CPUS) / settings.num_workers)


def _stream(run: Run, workers: int) -> ray.data.Dataset:
    """Return the photographs from where the last checkpoint stopped to the end of the run.

    Ray Train calls this whenever it starts the workers.
    """
    plan = Plan(run.data.train, run.recipe.seed)
    _, metrics = _last_checkpoint(run)
    first = plan.groups(int(metrics.get("steps", 0)) * run.recipe.batch_size * workers)
    last = plan.groups(int(run.recipe.photographs(workers) * SLACK)) + 1 + workers
    quieten_ray_data()  # this is another process than the driver
    ray.data.DataContext.get_current().target_max_block_size = _group_bytes(run.recipe)
    groups = ray.data.from_items(list(range(first, last)), override_num_blocks=min(last - first, READER_TASKS))
    read = photographs.Reader(plan, run.recipe.image_size)
    return groups.map_batches(read, batch_size=None, num_cpus=READER_CPUS)


def _reading(settings: Recipe, workers: int) -> ExecutionOptions:
    """Read in the plan's order, and not too far ahead."""
    ahead = GROUPS_AHEAD * workers * _group_bytes(settings)
    return ExecutionOptions(preserve_order=True, resource_limits=ExecutionResources(object_store_memory=ahead))


def _group_bytes(settings: Recipe) -> int:
    return photographs.GROUP * settings.image_size**2 * 3


def _last_checkpoint(run: Run) -> tuple[ray.train.Checkpoint, dict[str, Any]] | tuple[None, dict[str, Any]]:
    """Return the run's last checkpoint and what was measured at it, or None and nothing."""
    filesystem, path = storage.arrow_filesystem(run.uri)
    try:
        result = ray.train.Result.from_path(path, storage_filesystem=filesystem)
    except RuntimeError:  # there is no run yet, or nothing that has been reported
        return None, {}
    return result.checkpoint, result.metrics or {}


def _load(checkpoint: ray.train.Checkpoint) -> dict[str, Any]:
    with checkpoint.as_directory() as folder:
        return torch.load(Path(folder) / CHECKPOINT, map_location="cpu", weights_only=True)


def _save_bundle(run: Run, state: dict[str, Any]) -> str:
    generator = run.recipe.build_generator()
    generator.load_state_dict(state["duel"]["generator"])
    return bundles.save(
        Bundle(
            generator=generator.float().eval(),
            network=run.recipe.generator.network,
            settings=run.recipe.generator.settings,
            image_size=run.recipe.image_size,
            recipe=run.recipe.to_dict(),
            data={"uri": run.data_uri, **run.data.summary()},
            metrics=state["history"][-1],
        ),
        run.output,
    )


def _cause(error: Exception) -> str:
    """The last line of what went wrong on the first worker that failed."""
    failures = getattr(error, "worker_failures", {})
    first = next(iter(failures.values()), error)
    return " ".join(str(first).strip().splitlines()[-1].split())


# --- on the workers ---------------------------------------------------------------------------------------------------


def work(config: dict[str, Any]) -> str | None:
    """Train on one worker; all run the same. Returns why the run cannot go on, or None when it has ended well."""
    run: Run = config["run"]
    say: Say = config["lines"].put if _rank() == 0 else lambda line: None
    torch.set_num_threads(config["threads"])
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


def _build(run: Run, on_progress: Callable[[str, dict[str, float]], None]) -> Trainer:
    settings, device = run.recipe, ray.train.torch.get_device()
    torch.manual_seed(settings.seed)  # the same first weights everywhere
    generator, discriminator = _distribute(settings.build_generator()), _distribute(settings.build_discriminator())
    torch.manual_seed(1 + settings.seed + 1_000_003 * _rank())  # but noise and dropout of each worker's own
    held_out = photographs.read_held_out(run.data.held_out, settings.image_size, settings.held_out_photographs)
    workers = ray.train.get_context().get_world_size()
    return Trainer(
        Duel(generator, discriminator, settings, device),
        _batches(settings.batch_size),
        torch.from_numpy(held_out[_rank() :: workers]).permute(0, 3, 1, 2),
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
    left = (settings.epochs - measured["epoch"]) * measured["seconds"]
    return (
        f"epoch {measured['epoch']}/{settings.epochs}: generator {measured['generator_loss']:.3f}, "
        f"discriminator {measured['discriminator_loss']:.3f}, its accuracy {measured['discriminator_accuracy']:.0%}"
        f"{retrained}, held-out error {measured['held_out_error']:.1f}, "
        f"{measured['photographs_per_second']:.0f} photographs/s, {measured['waiting_for_data']:.0%} waiting for them, "
        + (f"{left / 60:.0f} min left" if left >= 120 else f"{left:.0f} s left")
    )


def _progress(say: Say) -> Callable[[str, dict[str, float]], None]:
    """Return what says now and then how far an epoch is."""
    said = time.monotonic()

    def show(stage: str, losses: dict[str, float]) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            say(f"{stage}: " + ", ".join(f"{term} {value:.3f}" for term, value in losses.items()))

    return show


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


# --- the command line -------------------------------------------------------------------------------------------------


def defaults(arguments: list[str]) -> TrainSettings:
    """Return the settings that flags override: those of the preset that --recipe names among the arguments."""
    name = "standard"
    for argument, following in itertools.pairwise([*arguments, name]):
        if argument == "--recipe":
            name = following
        elif argument.startswith("--recipe="):
            name = argument.partition("=")[2]
    return TrainSettings(data=tyro.MISSING, output=tyro.MISSING, recipe=recipe.preset(name))


if __name__ == "__main__":
    run_job(TrainSettings, train, __doc__, defaults=defaults, flags=())
