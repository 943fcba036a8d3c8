"""Train a generator on colour photographs: shards in, a model bundle out.

    python -m jobs.train --data shards/ --output model/
    python -m jobs.train --data s3://photos/shards --output s3://models/mine --num-workers 8 --use-gpu
    python -m jobs.train --data shapes/ --output model/ --recipe shapes --stages.0.epochs 3 --generator.width 8
    python -m jobs.train --data shards/ --output model/ --recipe mine.toml
    python -m jobs.train --data shards/ --output model/ --recipe earlier/bundle.json
    python -m jobs.train --data shards/ --output model/ --start-from shipped://default

Generator and discriminator are trained together, data-parallel: one process a worker, NCCL between GPUs, gloo between
CPUs. With --min-workers the run takes what workers there are, and goes on when some leave or join. OUTPUT/report/ has
`report.html` (open it in a browser), panels of held-out photographs, `metrics.json`, and `tensorboard/`.
The same command started again goes on from the last checkpoint (OUTPUT/_training/NAME); a finished run stays as it is.
--help-verbose explains all flags. Those of a recipe depend on its stages: --recipe NAME --help lists them.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import field
from typing import Annotated, Any, Literal, cast

import ray.data
import ray.train
import ray.train.torch
import torch
import tyro
from pydantic import SkipValidation
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue

from colornet.cli.command import is_quiet
from colornet.cli.recipes import RecipeCommand, recipe_defaults
from colornet.datasets import collection
from colornet.errors import ExitCode, SettingsError, TrainingError
from colornet.settings import settings
from colornet.storage import S3Options, Storage, uris
from colornet.training import checkpoints
from colornet.training.ranges import Count, CountOrZero, Positive
from colornet.training.recipe import Recipe
from colornet.training.start import find_start

from .command import Job
from .session import on_cluster, start_ray
from .training.run import CHECKPOINT, Run
from .training.stream import READER_CPUS, reading, streams
from .training.worker import work


@settings
class Workers:
    """The processes that train."""

    num_workers: Count = 1
    """Processes that train in parallel."""
    min_workers: Count | None = None
    """Start with so many already, and go on with as few, when there is no room for all. All, unless given."""
    resize_every: Positive = 60.0
    """With --min-workers: seconds between two checks whether there is room for more. Each resize goes back to the last
    checkpoint."""
    use_gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: Positive | None = None
    """CPUs of each worker. Unless given: 1 beside a GPU, or on a cluster that has or may get more nodes; else an equal
    share of the machine's."""
    max_failures: CountOrZero = 3
    """How often the workers are restarted from the last checkpoint after one of them has died."""

    def __post_init__(self) -> None:
        """Check both numbers of workers."""
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise SettingsError(f"min_workers must be at most {self.num_workers} (num_workers), not {self.min_workers}")


@settings
class Checkpoints:
    """The checkpoints that are kept."""

    keep_checkpoints: Count = 2
    """How many checkpoints are kept."""
    best_by: Literal["psnr", "held_out_error"] | None = None
    """Keep the best checkpoints by this measure of held-out photographs, and make the bundle of the very best. The last
    ones, unless given."""


@settings
class TrainSettings:
    """The settings of jobs.train."""

    # Not checked, because tyro puts a mark there for a flag that must be given.
    data: SkipValidation[str]
    """Folder or s3:// prefix with Parquet shards, as jobs.prepare writes them; val*.parquet are held out."""
    output: SkipValidation[str]
    """Folder or s3:// prefix for the bundle, the report and the checkpoints."""
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
    workers: Annotated[Workers, tyro.conf.OmitArgPrefixes] = field(default_factory=Workers)
    """The processes that train."""
    checkpoints: Annotated[Checkpoints, tyro.conf.OmitArgPrefixes] = field(default_factory=Checkpoints)
    """The checkpoints that are kept."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=Recipe)
    """How it is trained."""
    s3: S3Options = field(default_factory=S3Options)
    """How S3 is accessed."""

    def __post_init__(self) -> None:
        """Check the run's name, and what depends on other settings."""
        if self.name is not None and not self.name.replace("-", "").replace("_", "").isalnum():
            raise SettingsError(f"name must be of letters, digits, - and _, not {self.name!r}")
        if self.recipe.sync_batchnorm and not self.workers.use_gpu:
            raise SettingsError("sync_batchnorm is for GPUs: give --use-gpu, or --generator.norm group")


def train(settings: TrainSettings) -> ExitCode:
    """Run the job; returns its exit code. Raises `ColornetError`."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # it tells at length that a run is continued
    run = _prepare(settings)
    checkpoint, metrics = run.last_checkpoint()
    if checkpoint is not None and metrics["epoch"] == run.recipe.epochs:
        print(f"the run {run.name!r} is finished")
    else:
        start_ray(worker_logs=False)  # Ray Train's own lines are many; ours come from the first worker through a queue
        print(
            f"training {run.recipe.name!r} on {run.data.summary()['photographs']} photographs, "
            f"{run.recipe.epochs} epochs with {run.recipe.steps} steps, {settings.workers.num_workers} workers",
            flush=True,
        )
        with _printed_lines() as lines:
            _fit(run, settings, lines)
    best = run.read_checkpoint(run.best_checkpoint(settings.checkpoints.best_by), CHECKPOINT)
    run.save_bundle(checkpoints.load(best, torch.device("cpu")), half=settings.half)
    print(f"the model bundle is in {run.output}, what came of the training in {run.report_uri('report.html')}")
    return ExitCode.DONE


# --- before Ray starts ------------------------------------------------------------------------------------------------


def _prepare(settings: TrainSettings) -> Run:
    """Check all that can be checked without Ray, and note the recipe beside the run."""
    settings.recipe.check_networks()
    storage = Storage(settings.s3)
    start = None if settings.start_from is None else find_start(settings.start_from, settings.recipe.generator, storage)
    validation = None if settings.validation is None else uris.normalize(settings.validation)
    data, output = uris.normalize(settings.data), uris.normalize(settings.output)
    run = Run(
        recipe=settings.recipe,
        data=collection.find(data, validation, storage, settings.recipe.sampling),
        data_uri=data,
        output=output,
        name=settings.name or settings.recipe.name,
        most_workers=settings.workers.num_workers,
        storage=storage,
        start=start,
    )
    storage.check_writable(output)
    run.note_recipe()
    return run


# --- on the driver ----------------------------------------------------------------------------------------------------


def _fit(run: Run, settings: TrainSettings, lines: Queue) -> None:
    """Train on the workers."""
    cpus = settings.workers.cpus_per_worker or _cpu_share(settings)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # 2 s unless told: at every start, epoch and end
    if settings.workers.min_workers is not None:
        # For up to 20 s Ray counts on a lost node; it would wait for that one's workers for 60 s before it counts anew.
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
    filesystem, path = run.place()
    trainer = TorchTrainer(
        cast(Any, work),  # Ray's own type forbids the return value that its Result hands on
        train_loop_config={"run": run, "threads": max(1, round(cpus)), "lines": lines},
        torch_config=TorchConfig(backend="nccl" if settings.workers.use_gpu else "gloo"),
        scaling_config=_scaling(settings, cpus),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=settings.checkpoints.keep_checkpoints,
                checkpoint_score_attribute=settings.checkpoints.best_by,
                checkpoint_score_order="max" if settings.checkpoints.best_by == "psnr" else "min",
            ),
            failure_config=ray.train.FailureConfig(max_failures=settings.workers.max_failures),
        ),
        datasets=streams(run, cpus),
        dataset_config=ray.train.DataConfig(execution_options=reading(run)),
    )
    try:
        result: Any = _in_thread(trainer.fit)
    except ray.train.TrainingFailedError as error:
        raise TrainingError(f"the run {run.name!r} failed: {_cause(error)}") from error
    if result.return_value is not None:
        raise TrainingError(f"the run {run.name!r} ended: {result.return_value}")


def _in_thread(function: Callable[[], Any]) -> Any:
    """Call a function while this thread heeds signals: as long as Ray waits, no handler of theirs can end it."""
    done: Future[Any] = Future()

    def call() -> None:
        try:
            done.set_result(function())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return done.result()


def _scaling(settings: TrainSettings, cpus: float) -> ray.train.ScalingConfig:
    most, least = settings.workers.num_workers, settings.workers.min_workers
    config: Any = ray.train.ScalingConfig  # its stubs are of an older class
    return config(
        num_workers=most if least is None else (least, most),
        elastic_resize_monitor_interval_s=settings.workers.resize_every,
        use_gpu=settings.workers.use_gpu,
        resources_per_worker={"CPU": cpus} | ({"GPU": 1} if settings.workers.use_gpu else {}),
    )


@contextlib.contextmanager
def _printed_lines() -> Iterator[Queue]:
    """Yield a queue; what workers put into it is printed here, on standard error."""
    lines = Queue(actor_options={"num_cpus": 0})

    def show() -> None:
        while (line := lines.get()) is not None:
            if not is_quiet():
                print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # Ray itself may be gone
            lines.put(None)
            thread.join()


def _cpu_share(settings: TrainSettings) -> float:
    """CPUs of a worker, so that on one machine the readers of photographs find some as well."""
    nodes = sum(node["Alive"] for node in ray.nodes())
    if settings.workers.use_gpu or nodes > 1 or (on_cluster() and settings.workers.min_workers is not None):
        return 1.0
    return max(0.1, (ray.cluster_resources().get("CPU", 1.0) - READER_CPUS) / settings.workers.num_workers)


def _cause(error: Exception) -> str:
    """The last line of what went wrong on the first worker that failed."""
    failures = getattr(error, "worker_failures", {})
    first = next(iter(failures.values()), error)
    return " ".join(str(first).strip().splitlines()[-1].split())


# --- the command line -------------------------------------------------------------------------------------------------


class TrainJob(RecipeCommand[TrainSettings], Job[TrainSettings]):
    """A job with a recipe."""


main = TrainJob(
    settings=TrainSettings,
    run=train,
    description=__doc__,
    program="python -m jobs.train",
    defaults=recipe_defaults(TrainSettings),
    flags=(),
    compact_help=True,
)

if __name__ == "__main__":
    main()
