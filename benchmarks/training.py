"""What Ray costs training: jobs.train and colornet train-local beside a plain PyTorch loop on as many processes.

    python -m benchmarks.training
    python -m benchmarks.training --rounds 5 --stages.0.steps-per-epoch 50
    python -m benchmarks.training --stages.0.image-size 224 --stages.0.batch-size 32 --photographs 5000
    python -m benchmarks.training --rounds 0        # the step on one core only

All train the same networks on the same batches of the same photographs, by the same steps (`GanModule.step`, on
degraded gray), with as many processes and threads: two that talk by gloo, or one where there is a GPU. jobs.train and
train-local read shards, look at held-out photographs, report and save; the plain loop has all of its photographs in
memory, decoded and cropped beforehand, and does nothing but steps. They take turns, and ratios are of neighbours,
because what else a machine does changes by the minute; CPU seconds, of all processes of a run together, depend on that
the least.
The first epoch of each run, which has its start in it, is not counted.

The default recipe is the adversarial stage of `standard`, small enough for two cores: crops of 128 pixels, 16 a
step, an encoder that has learnt nothing, no retraining. Flags override it field by field, as those of jobs.train do.
The photographs are synthetic.

The step on one core is measured by itself, in CPU seconds: as jobs.train takes it (bfloat16, channels last, where the
processor has bfloat16), and in float32 with contiguous tensors, one step of each in turns.
"""

import io
import itertools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.processes import Sample, watch
from colornet.color import lab
from colornet.datasets import collection, photographs
from colornet.datasets.plan import Plan
from colornet.datasets.shards import ROW_GROUP
from colornet.inference.precision import resolve
from colornet.training import presets
from colornet.training.build import build_gan
from colornet.training.degradation import degrade
from colornet.training.gan import Batch, GanModule
from colornet.training.local.processes import run_workers
from colornet.training.local.run import LocalRun
from colornet.training.recipe import BOTH, Recipe, Stage
from colornet.training.trainer import SETTLE_EVERY
from jobs.training.stream import READER_CPUS

HEIGHT, WIDTH = 240, 320
SHARDS = 4
IN_MEMORY = 4
"""Groups of photographs that the plain loop has; it draws its batches from them."""
ONE_CORE_SIZE, ONE_CORE_BATCH = 128, 8
SAMPLE_SECONDS = 1.0


def _small_standard() -> Recipe:
    standard = presets.preset("standard")
    (gan,) = (stage for stage in standard.stages if stage.trains == BOTH)
    return replace(
        standard,
        generator=replace(standard.generator, encoder_weights="none"),
        stages=(replace(gan, epochs=3, steps_per_epoch=20, image_size=128, batch_size=16),),
        held_out_photographs=32,
        retrain_steps=0,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingBenchmarkSettings:
    """The settings of benchmarks.training."""

    rounds: int = 3
    """How often each of the three is run, in turns; ratios are medians. 0 leaves them out."""
    photographs: int = 2000
    """Photographs in the shards, 320 x 240 JPEGs."""
    workers: int = 1 if torch.cuda.is_available() else 2
    """Processes that train, each on a GPU where there is one."""
    repeat: int = 7
    """Steps of each kind on one core, after two that are not counted. 0 leaves them out."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=_small_standard)
    """What is trained; a single stage."""


@dataclass(frozen=True)
class Place:
    """A run: where it reads and writes, and on what it trains."""

    recipe: Recipe
    shards: Path
    memory: Path
    """The plain loop's photographs, (N, S, S, 3) sRGB uint8, as .npy."""
    output: Path
    workers: int
    cpus: float
    """Of each worker."""
    gpu: bool

    @property
    def threads(self) -> int:
        """Of each worker, as `jobs.train` chooses them."""
        return max(1, round(self.cpus))


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    epochs: list[dict[str, Any]]
    """As metrics.json has them."""
    photographs_per_epoch: int
    samples: list[Sample]

    @property
    def step_rate(self) -> float:
        """Photographs per second of the steps of all epochs but the first."""
        return self._photographs / self._step_seconds

    @property
    def whole_rate(self) -> float:
        """Photographs per second from the end of the first epoch to the end of the last, whatever came between."""
        return self._photographs / self._whole_seconds

    @property
    def outside(self) -> float:
        """Share of that time in which no steps were taken."""
        return 1 - self._step_seconds / self._whole_seconds

    @property
    def waiting(self) -> float:
        """Share of the seconds of the steps in which a worker waited for photographs; 0 where there is no such wait."""
        waited = sum(epoch.get("waiting_for_data", 0.0) * epoch["seconds"] for epoch in self.epochs[1:])
        return waited / self._step_seconds

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes for each photograph, after the first epoch; NaN if that was too short."""
        first, last = self.epochs[0]["finished"], self.epochs[-1]["finished"]
        within = [sample for sample in self.samples if first <= sample.moment <= last]
        if len(within) < 2:
            return math.nan
        begin, end = within[0], within[-1]
        spent = sum(cpu - begin.cpu.get(process, 0) for process, cpu in end.cpu.items())
        return spent / (end.moment - begin.moment) / self.whole_rate

    @property
    def _photographs(self) -> int:
        return self.photographs_per_epoch * (len(self.epochs) - 1)

    @property
    def _step_seconds(self) -> float:
        return sum(epoch["seconds"] for epoch in self.epochs[1:])

    @property
    def _whole_seconds(self) -> float:
        return self.epochs[-1]["finished"] - self.epochs[0]["finished"]


def benchmark(settings: TrainingBenchmarkSettings) -> int:
    """Measure, and print tables."""
    if len(settings.recipe.stages) != 1 or settings.recipe.epochs < 2:
        raise SystemExit("the recipe must have a single stage, of two epochs or more")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if settings.rounds:
        with tempfile.TemporaryDirectory(prefix="colornet-benchmark-") as folder:
            _compare_runs(settings, Path(folder), console)
    if settings.repeat:
        _compare_steps(settings.repeat, console)
    return 0


# --- jobs.train and the plain loop ------------------------------------------------------------------------------------


def _compare_runs(settings: TrainingBenchmarkSettings, folder: Path, console: Console) -> None:
    recipe, stage = settings.recipe, settings.recipe.stages[0]
    write_photographs(folder / "shards", settings.photographs, recipe.held_out_photographs)
    decode_photographs(folder / "shards", folder / "memory.npy", stage.image_size)
    cores, gpu = len(os.sched_getaffinity(0)), torch.cuda.is_available()
    cpus = 1.0 if gpu else (cores - READER_CPUS) / settings.workers
    kinds: dict[str, Callable[[Place], None]] = {"plain loop": _plain, "jobs.train": _job, "train-local": _local}
    runs: dict[str, list[Run]] = {name: [] for name in kinds}
    load = [os.getloadavg()[0]]
    for number in range(settings.rounds):
        for name, main in kinds.items():
            output = folder / f"{name}-{number}"
            place = Place(recipe, folder / "shards", folder / "memory.npy", output, settings.workers, cpus, gpu)
            runs[name].append(_run(main, place))
        load.append(os.getloadavg()[0])

    columns = ("photographs/s in the steps", "with all between them", "outside of the steps", "waiting for data")
    table = Table("", *columns, "CPU s a photograph")
    for name, made in runs.items():
        rates = (f"{statistics.median(figures):.1f}" for figures in _figures(made, "step_rate", "whole_rate"))
        shares = (f"{statistics.median(figures):.1%}" for figures in _figures(made, "outside", "waiting"))
        table.add_row(name, *rates, *shares, f"{statistics.median(run.cpu for run in made):.4f}")
    dtype = resolve(recipe.precision, torch.device("cuda" if gpu else "cpu"))
    console.print(
        f"{recipe.generator.network}, {stage.image_size} pixels, {stage.batch_size} photographs a step, "
        f"{str(dtype).removeprefix('torch.')}, {stage.steps_per_epoch} steps an epoch, {stage.epochs} epochs"
    )
    console.print(f"{settings.workers} processes with {place.threads} threads{' and a GPU' * gpu}, {cores} cores")
    console.print(table)
    kinds_of_ratio = {"in the steps": "step_rate", "with all between them": "whole_rate", "CPU s a photograph": "cpu"}
    for way, (words, name) in itertools.product(("jobs.train", "train-local"), kinds_of_ratio.items()):
        pairs = zip(_figures(runs[way], name), _figures(runs["plain loop"], name), strict=True)
        ratios = [job / plain for jobs, plains in pairs for job, plain in zip(jobs, plains, strict=True)]
        console.print(f"{way} / plain loop, {words}: {_median_of(ratios, '.3f')}")
    console.print(f"load average at the start and after each round: {', '.join(f'{each:.1f}' for each in load)}")


def _figures(runs: list[Run], *names: str) -> Iterator[list[float]]:
    for name in names:
        yield [getattr(run, name) for run in runs]


def _median_of(figures: list[float], spec: str) -> str:
    return f"{statistics.median(figures):{spec}} ({', '.join(f'{each:{spec}}' for each in figures)})"


def _run(main: Callable[[Place], None], place: Place) -> Run:
    """Run `main` in a process of its own, and read what it left."""
    place.output.mkdir()
    samples = watch(main, place, SAMPLE_SECONDS)
    stage = place.recipe.stages[0]
    epochs = json.loads((place.output / "report" / "metrics.json").read_text())
    return Run(epochs, stage.steps_per_epoch * stage.photographs_per_step(place.workers), samples)


def _job(place: Place) -> None:
    from jobs.train import TrainSettings, Workers, train

    settings = TrainSettings(
        data=str(place.shards),
        output=str(place.output),
        workers=Workers(num_workers=place.workers, use_gpu=place.gpu, cpus_per_worker=place.cpus),
        recipe=place.recipe,
    )
    sys.exit(train(settings))


def _local(place: Place) -> None:
    run = LocalRun(
        recipe=place.recipe,
        data=collection.find(str(place.shards)),
        data_uri=str(place.shards),
        output=str(place.output),
        name=place.recipe.name,
        most_workers=place.workers,
        threads=place.threads,
        device="cuda" if place.gpu else "cpu",
    )
    run_workers(run, print)


def _plain(place: Place) -> None:
    """The same steps without Ray: what one would write with PyTorch alone."""
    torch.multiprocessing.spawn(plain_worker, (place,), place.workers)


def plain_worker(rank: int, place: Place) -> None:
    """Train on one process of the plain loop; the first writes down its epochs, as jobs.train does."""
    torch.set_num_threads(place.threads)
    device = torch.device("cuda", rank) if place.gpu else torch.device("cpu")
    if place.workers > 1:
        torch.distributed.init_process_group(
            "nccl" if place.gpu else "gloo",
            init_method=f"file://{place.output / 'rendezvous'}",
            rank=rank,
            world_size=place.workers,
        )
    stage = place.recipe.stages[0]
    gan, batches, epochs = _gan(place, rank, device), _batches(place, rank, device), []
    for epoch in range(stage.epochs):
        started = time.monotonic()
        for step in range(1, stage.steps_per_epoch + 1):
            losses = gan.step(next(batches))
            if step % SETTLE_EVERY == 0 or step == stage.steps_per_epoch:
                losses["generator_loss"].item()  # any loop looks at its loss now and then; a GPU is waited for
        epochs.append({"epoch": epoch + 1, "seconds": time.monotonic() - started, "finished": time.time()})
    if rank == 0:
        (place.output / "report").mkdir()
        (place.output / "report" / "metrics.json").write_text(json.dumps(epochs))
    if place.workers > 1:
        torch.distributed.destroy_process_group()


def _gan(place: Place, rank: int, device: torch.device) -> GanModule:
    def distribute(network: nn.Module) -> nn.Module:
        network = network.to(device)
        if place.workers == 1:
            return network
        return DistributedDataParallel(network, device_ids=[device] if place.gpu else None)

    return build_gan(place.recipe, rank=rank, device=device, wrap=distribute)


def _batches(place: Place, rank: int, device: torch.device) -> Iterator[Batch]:
    """Yield this process's batches without end, of its share of the photographs."""
    size, random = place.recipe.stages[0].share(place.workers), torch.Generator().manual_seed(rank)
    mine = torch.from_numpy(np.load(place.memory)[rank :: place.workers]).permute(0, 3, 1, 2)
    while True:
        for chosen in torch.randperm(len(mine), generator=random).split(size)[: len(mine) // size]:
            yield _batch(mine[chosen].to(device), place.recipe)


def _batch(chosen: Tensor, recipe: Recipe) -> Batch:
    """What the networks see of (B, 3, S, S) sRGB uint8."""
    lightness, ab = lab.split_scaled(chosen)
    lightness, ab = lightness.contiguous(), ab.contiguous(memory_format=torch.channels_last)
    old = not recipe.degradation.changes_nothing
    return Batch(degrade(chosen, recipe.degradation, torch.default_generator) if old else lightness, lightness, ab)


# --- the step on one core ---------------------------------------------------------------------------------------------


def _compare_steps(repeat: int, console: Console) -> None:
    torch.set_num_threads(1)
    table = Table("an adversarial step, one core", "as jobs.train takes it", "float32, contiguous", "times faster")
    for name, recipe in one_core_recipes().items():
        steps = [step_on_one_core(recipe, fast=fast) for fast in (True, False)]
        seconds = [[_seconds(step) for step in steps] for _ in range(repeat + 2)][2:]
        fast, naive = (statistics.median(column) for column in zip(*seconds, strict=True))
        faster = _median_of([slow / quick for quick, slow in seconds], ".2f")
        table.add_row(name, f"{1000 * fast:.0f} ms", f"{1000 * naive:.0f} ms", faster)
    console.print(table)
    native = resolve("auto", torch.device("cpu")) is torch.bfloat16
    console.print(
        f"{ONE_CORE_BATCH} photographs of {ONE_CORE_SIZE} pixels; this processor has "
        f"{'bfloat16' if native else 'no bfloat16: jobs.train takes float32, channels last'}"
    )


def one_core_recipes() -> dict[str, Recipe]:
    """Return the modules that are measured, by a name."""
    reference, standard = presets.preset("reference"), presets.preset("standard")
    standard = replace(standard, generator=replace(standard.generator, encoder_weights="none"))
    named = {"unet, width 64 (reference)": reference, "backbone (standard)": standard}
    return {name: replace(recipe, stages=(_one_core_stage(recipe),)) for name, recipe in named.items()}


def _one_core_stage(recipe: Recipe) -> Stage:
    return replace(recipe.stages[-1], image_size=ONE_CORE_SIZE, batch_size=ONE_CORE_BATCH)


def step_on_one_core(recipe: Recipe, *, fast: bool) -> Callable[[], object]:
    """Return what takes a step on a batch of noise: as jobs.train does, or in float32 with contiguous tensors."""
    layout = torch.channels_last if fast else torch.contiguous_format
    precision = recipe.precision if fast else "float32"
    gan = build_gan(replace(recipe, precision=precision), wrap=lambda network: network.to(memory_format=layout))
    stage = recipe.stages[0]
    lightness = torch.rand(stage.batch_size, 1, stage.image_size, stage.image_size) * 2 - 1
    ab = torch.rand(stage.batch_size, 2, stage.image_size, stage.image_size) - 0.5
    batch = Batch(lightness, lightness, ab.contiguous(memory_format=layout))
    return lambda: gan.step(batch)


def _seconds(step: Callable[[], object]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


# --- photographs ------------------------------------------------------------------------------------------------------


def write_photographs(folder: Path, count: int, held_out: int) -> None:
    """Write shards of synthetic photographs, as jobs.prepare does: `count` for training, and `held_out`."""
    folder.mkdir()
    parts = np.array_split(np.arange(count), SHARDS)
    named = {f"train-{number}": part for number, part in enumerate(parts)}
    for name, seeds in (named | {"val-0": np.arange(count, count + held_out)}).items():
        images = [_jpeg(picture(int(seed))) for seed in seeds]
        pq.write_table(pa.table({"image": images}), folder / f"{name}.parquet", row_group_size=ROW_GROUP)


def decode_photographs(shards: Path, file: Path, image_size: int) -> None:
    """Write some groups of training photographs to a file, decoded and cropped as jobs.train sees them."""
    plan = Plan(collection.find(str(shards)).train, seed=0)
    np.save(file, np.concatenate([photographs.read_group(plan, number, image_size) for number in range(IN_MEMORY)]))


def picture(seed: int) -> NDArray[np.uint8]:
    """Make up a photograph with smooth areas of colour, edges and grain: (240, 320, 3), sRGB."""
    random = np.random.default_rng(seed)
    smooth, blocks = (random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((6, 8), (3, 4)))
    areas = Image.fromarray(smooth).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    edges = Image.fromarray(blocks).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    mixed = np.asarray(Image.blend(areas, edges, 0.3), dtype=np.int16)
    grain = random.integers(-12, 13, (HEIGHT, WIDTH, 1), dtype=np.int16)
    return (mixed + grain).clip(0, 255).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    settings = tyro.cli(TrainingBenchmarkSettings, description=__doc__)
    sys.exit(benchmark(settings))
