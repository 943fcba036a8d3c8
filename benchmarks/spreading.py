"""What spreading by confidence is worth: colour as a bundle predicts it, paler, and spread in several ways.

    python -m benchmarks.spreading --data shards/
    python -m benchmarks.spreading --data photographs/ --model bundle/ --sample 100

DATA is a place with shards of jobs.prepare, of which val*.parquet is measured, or a folder of colour photographs: their
central squares, at the bundle's size. "paler" is the prediction times the factor that gives it the mean chroma of what
is spread by default: spreading must be worth more than that. Then one constant after the other is changed.

Blotches and bleeding are those of `colornet.metrics`; blotches of paler colour are fewer, so compare them at the same
chroma. Milliseconds are those of spreading alone, a picture, on one core.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from colornet.color import lab
from colornet.errors import ColornetError, SettingsError
from colornet.evaluation import photographs
from colornet.evaluation.measure import Truth
from colornet.inference import bundle as bundles
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import Predictor, certainty_of_pixels
from colornet.metrics.bleeding import bleeding
from colornet.metrics.blotches import blotches
from colornet.metrics.chroma_error import BINS
from colornet.metrics.psnr import psnr
from colornet.rendering.guided_upsampling import follow_lightness
from colornet.rendering.render import RenderSettings
from colornet.rendering.spreading import spread
from colornet.storage import uris

DEFAULT = RenderSettings().neutral_below
NEUTRAL_BELOW = (0.0, 0.05, 0.15, 0.2, 0.3)
SMOOTHNESS = (100.0, 300.0, 3000.0)
SIGMA = (0.75, 3.0, 6.0)
RADII = (4, 8, 15)
"""Of the guided filter's windows, in pixels."""
EPSILON = 10.0
"""Of the guided filter, in squared L*."""
NEUTRAL = 0.0225
"""Of the guided filter: the weight at which half of the colour is left, which gives about the chroma of the default."""

Planes = NDArray[np.float32]
Way = Callable[[Planes, Planes, Planes], Planes]
"""Makes of a*b* (2, S, S), certainty (S, S) and L* (S, S) the a*b* that is painted."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.spreading."""

    data: str
    """Folder of shards with held-out photographs, or of colour photographs."""
    model: str = bundles.SHIPPED
    """The bundle that predicts; the one that comes with Colornet, unless given."""
    sample: int = 1000
    """Measure so many photographs at most, chosen blindly, always the same."""


class Predicted(NamedTuple):
    """Photographs, and what a bundle makes of them."""

    truth: Truth
    ab: Planes
    """(N, 2, S, S), a* and b*."""
    certainty: Planes
    """(N, S, S), in [0, 1]."""
    gray: Tensor
    """(N,): PSNR of the gray photographs, dB."""

    @property
    def lightness(self) -> Planes:
        """(N, S, S), L* in [0, 100]."""
        return self.truth.lightness.squeeze(1).numpy()


class Painted(NamedTuple):
    """What a way makes of the photographs, and how long it takes."""

    ab: Planes
    milliseconds: float


def benchmark(settings: BenchmarkSettings) -> int:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    predicted = _predict(settings)
    table = Table("", "chroma", "PSNR, dB", "above gray, dB", "1 dB below gray, %", "bleeding", "blotches", "ms")
    table.add_row("the photographs", *_figures(predicted, predicted.truth.ab.numpy(), None))
    spread_by_default = _paint(predicted, partial(spread, neutral_below=DEFAULT))
    factor = np.float32(_chroma(spread_by_default.ab) / _chroma(predicted.ab))
    table.add_row("as predicted", *_figures(predicted, predicted.ab, None))
    table.add_row(f"paler, × {factor:.2f}", *_figures(predicted, factor * predicted.ab, None))
    table.add_row(f"spread, neutral_below {DEFAULT}", *_figures(predicted, *spread_by_default))
    for name, way in _ways().items():
        table.add_row(name, *_figures(predicted, *_paint(predicted, way)))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    side = predicted.ab.shape[-1]
    console.print(f"{len(predicted.ab)} photographs, {side}×{side} pixels, one core; means, and medians of the times")
    return 0


def _ways() -> Mapping[str, Way]:
    """What is compared with the default, each with one constant changed, and another filter."""
    changed: dict[str, Way] = {}
    for neutral_below in NEUTRAL_BELOW:
        changed[f"  neutral_below {neutral_below}"] = partial(spread, neutral_below=neutral_below)
    for smoothness in SMOOTHNESS:
        changed[f"  smoothness {smoothness:g}"] = partial(spread, neutral_below=DEFAULT, smoothness=smoothness)
    for sigma in SIGMA:
        changed[f"  sigma {sigma}"] = partial(spread, neutral_below=DEFAULT, sigma=sigma)
    for radius in RADII:
        changed[f"guided filter, radius {radius}"] = partial(_guided, radius=radius)
    return changed


def _guided(ab: Planes, certainty: Planes, lightness: Planes, *, radius: int) -> Planes:
    """Smooth weighed colour and its weights with a guided filter over L*, and fade by a constant beside them."""
    weight = np.square(certainty)
    lines = follow_lightness(
        np.stack([weight * ab[0], weight * ab[1], weight]), lightness, radius=radius, epsilon=EPSILON
    )
    *colour, known = lines[:3] * lightness + lines[3:]
    return np.stack(colour) / (np.maximum(known, 0) + NEUTRAL)


def _predict(settings: BenchmarkSettings) -> Predicted:
    bundle = bundles.load(bundles.normalize(settings.model))
    size = bundle.image_size
    items = photographs.sample(photographs.find(uris.normalize(settings.data)).items(), settings.sample)
    rows = [found for _, found in photographs.read(items, size) if not isinstance(found, str)]
    if not rows:
        raise SettingsError(f"{settings.data}: none of {items.num_rows} photographs can be read")
    truth = Truth(np.stack(rows), torch.ones(BINS))
    scaled = lab.scale_lightness(truth.lightness).squeeze(1).clamp(-1, 1).numpy().astype(np.float16)
    whole = Letterbox(0, 0, size, size)
    predictions = Predictor(bundle).predict(scaled, [whole] * len(rows))
    known = [each.certainty for each in predictions if each.certainty is not None]
    if not known:
        raise SettingsError(f"{settings.model}: its generator predicts no distribution, so there is nothing to spread")
    ab = np.stack([each.ab for each in predictions]).astype(np.float32)
    certainty = np.stack([certainty_of_pixels(cells, whole) for cells in known])
    return Predicted(truth, ab, certainty, _psnr(truth, torch.zeros_like(truth.ab)))


def _paint(predicted: Predicted, way: Way) -> Painted:
    """Go over all photographs; the first once more before, for what is compiled."""
    pictures = list(zip(predicted.ab, predicted.certainty, predicted.lightness, strict=True))
    way(*pictures[0])
    painted, seconds = [], []
    for picture in pictures:
        started = time.perf_counter()
        painted.append(way(*picture))
        seconds.append(time.perf_counter() - started)
    return Painted(np.stack(painted), 1000 * statistics.median(seconds))


def _figures(predicted: Predicted, ab: Planes, milliseconds: float | None) -> tuple[str, ...]:
    truth, colour = predicted.truth, torch.from_numpy(ab)
    found = _psnr(truth, colour)
    worse = 100 * (found < predicted.gray - 1).double().mean()
    bleeds = bleeding(truth.lightness.squeeze(1), colour, truth.ab).nanmean()
    patchy = blotches(truth.lightness.squeeze(1), colour).mean()
    gain = f"{(found - predicted.gray).mean():+.2f}"
    took = "" if milliseconds is None else f"{milliseconds:.1f}"
    return f"{_chroma(ab):.1f}", f"{found.mean():.2f}", gain, f"{worse:.0f}", f"{bleeds:+.3f}", f"{patchy:.2f}", took


def _psnr(truth: Truth, ab: Tensor) -> Tensor:
    rgb = torch.from_numpy(truth.render(ab)).permute(0, 3, 1, 2).float()
    return psnr(rgb, truth.rgb, peak=255)


def _chroma(ab: Planes) -> float:
    return float(np.hypot(ab[:, 0], ab[:, 1]).mean())


if __name__ == "__main__":
    try:
        sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
    except ColornetError as error:
        sys.exit(f"error: {error}")
