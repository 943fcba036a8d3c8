"""Does the recipe `shapes` depend on luck? It is trained from one seed after the other, and each is put to the test.

    python -m benchmarks.shapes
    python -m benchmarks.shapes --seeds 3 --precisions float32

Every training is that of `make demo`: the same shapes, the same steps, on as many processes that talk by gloo, but
without Ray. The seed decides the first weights, the noise, and the order of the shapes. A row says how many of the
demo's shapes the generator gives their own colour, and what the training took, without the start of its processes:
seconds, and CPU seconds of all processes, which depend less on what else the machine does. bfloat16 is slow on
processors that have none.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from colornet.datasets import collection, parts, photographs, shards, sources
from colornet.datasets.collection import Collection
from colornet.datasets.plan import Plan
from colornet.datasets.screening import Screening
from colornet.datasets.shapes import KINDS
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.training import presets
from colornet.training.build import build_trainer
from colornet.training.distributed import sum_over_workers
from colornet.training.recipe import Recipe
from colornet.training.trainer import Trainer
from demo import measure

Precision = Literal["float32", "bfloat16"]

HELD_OUT = 0.05
"""Share of the shapes that are held out, as jobs.prepare does it."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.shapes."""

    seeds: int = 10
    """Train with the seeds from 0 up to this."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    """In what precision; each seed is trained in each."""
    workers: int = 2
    """Processes that train, on a core each; the demo has two."""


def benchmark(settings: BenchmarkSettings) -> int:
    """Train, measure, and print a row for each training."""
    print("seed  precision  right  " + "  ".join(KINDS) + "  seconds  CPU seconds", flush=True)
    right = {}
    with tempfile.TemporaryDirectory(prefix="colornet-shapes-") as folder:
        data = write_shapes(Path(folder))
        for precision, seed in itertools.product(settings.precisions, range(settings.seeds)):
            recipe = replace(presets.preset("shapes"), precision=precision, seed=seed)
            tallies, cost = train_and_measure(recipe, data, Path(folder) / f"{precision}-{seed}", settings.workers)
            right[f"seed {seed} in {precision}"] = sum(tally.right for tally in tallies.values())
            print(_row(recipe, tallies, cost), flush=True)
    worst = min(right, key=lambda name: right[name])
    print(f"the worst: {right[worst]} of {measure.SHAPES} shapes in their own colour, {worst}")
    return 0


def _row(recipe: Recipe, tallies: Mapping[str, measure.Tally], cost: Mapping[str, float]) -> str:
    right = sum(tally.right for tally in tallies.values())
    kinds = "  ".join(f"{tally.right:>{len(kind)}}" for kind, tally in tallies.items())
    seconds = f"{cost['seconds']:>7.0f}  {cost['cpu_seconds']:>11.0f}"
    return f"{recipe.seed:>4}  {recipe.precision:<9}  {right:>5}  {kinds}  {seconds}"


def write_shapes(folder: Path) -> Collection:
    """Write the demo's training shapes into a folder, the shards that jobs.prepare makes of them."""
    work = parts.Work(parts=str(folder / "parts"), screening=Screening(), license="")
    manifest = parts.Screen(work)(sources.listing([measure.TRAINING_SHAPES]))
    for name, rows in shards.plan(manifest, HELD_OUT).shards.items():
        shards.write_shard(str(folder / "shards" / name), rows)
    return collection.find(str(folder / "shards"))


def train_and_measure(
    recipe: Recipe, data: Collection, folder: Path, workers: int
) -> tuple[Mapping[str, measure.Tally], Mapping[str, float]]:
    """Train a recipe on so many processes and measure the bundle as the demo does.

    Args:
        recipe: what is trained.
        data: of `write_shapes`.
        folder: for the bundle, made here.
        workers: how many processes.

    Returns:
        How each kind of shapes fared, and the training's seconds and cpu_seconds, those of all processes together.
    """
    folder.mkdir()
    torch.multiprocessing.spawn(work, (recipe, data, folder, workers), workers)
    return measure.measure(str(folder)), bundles.load(str(folder)).metrics


def work(rank: int, recipe: Recipe, data: Collection, folder: Path, workers: int) -> None:
    """Train on one process of several, as a worker of jobs.train does; the first one saves the bundle."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=workers)
    stream = _Photographs(recipe, data, rank, workers)
    trainer = build_trainer(recipe, stream, data, rank=rank, wrap=DistributedDataParallel)
    cost = _train(trainer)
    if rank == 0:
        bundle = Bundle(
            generator=trainer.gan.inference_generator,
            network=recipe.generator.network,
            settings=recipe.generator.settings,
            image_size=recipe.image_size,
            metrics=cost,
        )
        bundles.save(bundle, str(folder))
    torch.distributed.destroy_process_group()


def _train(trainer: Trainer) -> dict[str, float]:
    """Train to the end; returns the seconds that it took, and the CPU seconds of all processes."""
    started, busy = time.monotonic(), time.process_time()
    while not trainer.finished:
        trainer.run_epoch()
    busy = sum_over_workers(torch.tensor(time.process_time() - busy)).item()
    return {"seconds": time.monotonic() - started, "cpu_seconds": busy}


@dataclass(frozen=True)
class _Photographs:
    """What one process of several sees: the groups of the plan are dealt out in turn, as Ray Data does it."""

    recipe: Recipe
    data: Collection
    rank: int
    workers: int

    def stage(self, number: int) -> Iterator[Tensor]:
        stage, plan = self.recipe.stages[number], Plan(self.data.train, self.recipe.seed + number)
        for group in itertools.count(self.rank, self.workers):
            rows = photographs.read_group(plan, group, stage.image_size, stage.min_crop_scale)
            yield from torch.from_numpy(rows).permute(0, 3, 1, 2).split(stage.share(self.workers))

    def held_out(self, image_size: int) -> Tensor:
        rows = photographs.read_held_out(self.data.held_out, image_size, self.recipe.held_out_photographs)
        return torch.from_numpy(rows[self.rank :: self.workers]).permute(0, 3, 1, 2)


if __name__ == "__main__":
    sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
