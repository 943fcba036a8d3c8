"""How fast a bundle's generator is beside the reference network: pictures of 256×256 a second, on one core.

    python -m benchmarks.predict
    python -m benchmarks.predict --model bundle/ --threads 2

Both predict as the archive job lets them, one picture after the other; the reference network's weights are random. They
take turns, so that whatever else the machine does slows both. The ratio is the median over the rounds.
"""

import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from colornet import networks
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.inference.predictor import Predictor

SIZE = 256
REFERENCE = {"width": 64}


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.predict."""

    model: str = bundles.SHIPPED
    """Bundle whose generator is measured; the one that comes with Colornet, unless given."""
    threads: int = 1
    """Cores that each may use."""
    rounds: int = 10
    """How often they take turns, after one round that is not counted."""
    pictures: int = 4
    """Pictures a turn."""


def benchmark(settings: BenchmarkSettings) -> int:
    """Measure, and print a table."""
    torch.set_num_threads(settings.threads)
    generators = {"bundle": bundles.load(bundles.normalize(settings.model)).generator, "reference": _reference()}
    work = {name: networks.count_flops(generator, SIZE) for name, generator in generators.items()}
    predictors = [_predictor(generator) for generator in generators.values()]
    picture = np.random.default_rng(0).uniform(-1, 1, (settings.pictures, SIZE, SIZE)).astype(np.float16)
    rounds = [[_seconds(predictor, picture) for predictor in predictors] for _ in range(settings.rounds + 1)][1:]

    table = Table("generator", "GFLOPs", "pictures/s", "times the reference")
    for (name, number), taken in zip(work.items(), zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(reference / own for own, (_, reference) in zip(taken, rounds, strict=True))
        speed = settings.pictures / statistics.median(taken)
        table.add_row(name, f"{number / 1e9:.1f}", f"{speed:.1f}", f"{ratio:.1f}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    arithmetic = str(predictors[0].dtype).removeprefix("torch.")
    console.print(f"{SIZE}×{SIZE} pixels, {arithmetic}, {settings.threads} thread(s), medians of {len(rounds)} rounds")
    return 0


def _reference() -> nn.Module:
    return networks.build_generator("unet", REFERENCE).eval()


def _predictor(generator: nn.Module) -> Predictor:
    return Predictor(Bundle(generator=generator, network="", settings={}, image_size=SIZE))


def _seconds(predictor: Predictor, pictures: NDArray[np.float16]) -> float:
    started = time.perf_counter()
    predictor(pictures)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
