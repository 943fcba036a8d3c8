"""The worker: places of photographs in, a row with all metrics for each of them and each colorizer out."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from colornet.color import lab
from colornet.color.srgb import even_lightness, lightness_codes
from colornet.errors import BundleError, SettingsError
from colornet.evaluation import calibration, metrics
from colornet.evaluation.calibration import PIXELS
from colornet.evaluation.fid import FEATURES, PHOTOGRAPHS
from colornet.evaluation.hint_curve import CURVES, draw_places, reveal
from colornet.evaluation.learned import Learned
from colornet.evaluation.metrics import METRICS
from colornet.evaluation.perceptual_networks import PerceptualNetworks
from colornet.evaluation.photographs import ITEMS, Item, Photograph, read
from colornet.evaluation.reference import Reference
from colornet.evaluation.trivial import Constant
from colornet.inference import bundle as bundles
from colornet.metrics.bleeding import bleeding
from colornet.metrics.blotches import blotches
from colornet.metrics.chroma_error import ab_distance, area, colour_bins
from colornet.metrics.ciede2000 import ciede2000
from colornet.metrics.colourfulness import colourfulness
from colornet.metrics.psnr import psnr
from colornet.metrics.ssim import ssim
from colornet.rendering.lab_to_srgb import lab_to_srgb
from colornet.storage import Storage

BATCH = 8
"""Photographs that are measured at once."""
GRAY, MEAN_COLOUR = "gray", "mean colour"
"""Names of the trivial colorizers."""

ROWS = pa.schema(
    [
        *ITEMS,
        pa.field("reason", pa.string()),  # why it cannot be read; then nothing below is there
        pa.field("colorizer", pa.string()),
        *(pa.field(name, pa.float64()) for name in METRICS),  # null where it is not defined
        *(pa.field(name, pa.float64()) for name in PIXELS),
        pa.field("confidence", pa.float64()),  # as the archive job writes it; null of colorizers that have none
        # for each number of hints that was asked for; null of colorizers that take none
        *(pa.field(name, pa.list_(pa.float64())) for name in CURVES),
        pa.field("balance", pa.float64()),  # how much the photograph's auc_balanced counts
        pa.field("features", pa.list_(pa.float32(), FEATURES)),  # for FID, if that is asked for; see `FeatureSets`
    ]
)
"""What comes of a photograph: a row for each colorizer, or one with a reason. For FID one more, of `PHOTOGRAPHS`."""


class ColorModel(Protocol):
    """What is compared: it predicts the colour of pictures that are ready for it."""

    def __call__(self, lightness: Tensor) -> Tensor:
        """Colour pictures: L* (N, 1, S, S) in [0, 100] to a*b* (N, 2, S, S)."""

    def at_sizes(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        """Colour pictures from inputs of K sizes, the usual one last.

        Args:
            lightness: (N, 1, S, S), L* in [0, 100].

        Returns:
            a*b*, (K, N, 2, S, S), and the confidence of the last, (N,) in [0, 1], NaN where the model has none.
        """


@dataclass(frozen=True)
class Model:
    """A bundle that is measured."""

    name: str
    """What it is called in the results."""
    uri: str
    digest: str
    takes_hints: bool = False
    """Whether its generator can be told colours."""


@dataclass(frozen=True)
class EvaluationTask:
    """What every worker must know. Small, and plain data: it travels to each."""

    models: tuple[Model, ...]
    reference: Reference
    size: int
    """Side of the pictures in pixels."""
    device: str = "cpu"
    """Where networks compute, as PyTorch calls it."""
    storage: Storage = Storage()
    """With what bundles and photographs are reached."""
    hint_counts: tuple[int, ...] = ()
    """How many hints a photograph are measured, of models that take them."""


class Measure:
    """A worker: a table of `ITEMS` in, a table of `ROWS` out."""

    def __init__(self, task: EvaluationTask, perceptual_networks: PerceptualNetworks | None = None) -> None:
        """Load the bundles; raises BundleError, also if one has been exchanged."""
        self.task = task
        self.perceptual_networks = (perceptual_networks or PerceptualNetworks()).to(task.device)
        self.colorizers = load_colorizers(task)
        self.weights = torch.tensor(task.reference.weights)  # Ray's arrays cannot be written to

    def __call__(self, items: pa.Table) -> pa.Table:
        """Measure all photographs with all colorizers."""
        rows: list[dict[str, Any]] = []
        answers = read(items, self.task.size, self.task.storage)
        while batch := list(itertools.islice(answers, BATCH)):
            rows += [{**item, "reason": answer} for item, answer in batch if isinstance(answer, str)]
            readable = [(item, answer) for item, answer in batch if not isinstance(answer, str)]
            if readable:
                rows += self._measured(*zip(*readable, strict=True))
        return pa.Table.from_pylist(rows, ROWS)

    def _measured(self, items: Sequence[Item], photographs: Sequence[Photograph]) -> Iterator[dict[str, Any]]:
        truth = Truth(np.stack(photographs), self.weights)
        if self.perceptual_networks.inception is not None:
            yield from _rows(items, PHOTOGRAPHS, {}, self._features(truth.rgb))
        for name, colorizer in self.colorizers.items():
            ab, confidence = colorizer.at_sizes(truth.lightness)
            rgb = channels_first(truth.render(ab[-1]))
            found = {**truth.measure(ab, rgb), "confidence": confidence}
            if self.perceptual_networks.lpips is not None:
                device = self.task.device
                found["lpips"] = self.perceptual_networks.lpips(rgb.to(device), truth.rgb.to(device)).cpu()
            found |= self._with_hints(items, colorizer, truth)
            yield from _rows(items, name, found, self._features(rgb))

    def _with_hints(self, items: Sequence[Item], colorizer: ColorModel, truth: "Truth") -> dict[str, Tensor]:
        """Measure what hints are worth: (N, as many as there are counts) for each of `CURVES`, if that is asked for."""
        counts = self.task.hint_counts
        if not (counts and isinstance(colorizer, Learned) and colorizer.predictor.takes_hints):
            return {}
        places = [draw_places(item["row"], max(counts)) for item in items]
        true = list(zip(colorizer.seen(truth.ab), places, strict=True))
        points = []
        for count in counts:
            ab = colorizer.with_hints(truth.lightness, [reveal(each, known[:count]) for each, known in true])
            rgb = channels_first(truth.render(ab))
            points.append(truth.compare(rgb, lab.rgb_to_lab(rgb / 255)))
        return {name: torch.stack(each, dim=1) for name, each in zip(CURVES, zip(*points, strict=True), strict=True)}

    def _features(self, rgb: Tensor) -> Sequence[NDArray[np.float32] | None]:
        if self.perceptual_networks.inception is None:
            return [None] * len(rgb)
        return list(self.perceptual_networks.inception(rgb.to(self.task.device)).cpu().numpy())


def _rows(
    items: Sequence[Item], colorizer: str, found: Mapping[str, Tensor], features: Sequence[NDArray[np.float32] | None]
) -> Iterator[dict[str, Any]]:
    columns = {metric: values.double().tolist() for metric, values in found.items()}
    for index, item in enumerate(items):
        defined = {metric: None if np.isnan(each[index]).any() else each[index] for metric, each in columns.items()}
        yield {**item, "colorizer": colorizer, **defined, "features": features[index]}


def find_models(uris: Sequence[str], storage: Storage = Storage()) -> tuple[tuple[Model, ...], int]:
    """Check bundles, and name them by the last segments of their places, or by the places if those are not unique.

    Args:
        uris: normalized, at least one.
        storage: with what they are reached.

    Returns:
        The models, and the image size of the first.

    Raises:
        SettingsError: if a place is given twice.
        BundleError: if there is no sound bundle at one of them.
        StorageError: if one cannot be read.
    """
    if len(set(uris)) < len(uris):
        raise SettingsError("the same bundle is given twice")
    short = [uri.rpartition("/")[2] for uri in uris]
    names = short if len({*short, GRAY, MEAN_COLOUR, PHOTOGRAPHS}) == len(short) + 3 else uris
    loaded = [bundles.load(uri, storage) for uri in uris]
    models = tuple(
        Model(name, uri, bundle.digest, bundle.takes_hints)
        for name, uri, bundle in zip(names, uris, loaded, strict=True)
    )
    return models, loaded[0].image_size


def load_colorizers(task: EvaluationTask) -> dict[str, ColorModel]:
    """Make the colorizers ready, by name: the models, gray, and the mean colour; raises BundleError."""
    models = {model.name: Learned(_load(model, task.storage), task.device) for model in task.models}
    mean = Constant(task.reference.mean_a, task.reference.mean_b)
    return {**models, GRAY: Constant(0, 0), MEAN_COLOUR: mean}


def _load(model: Model, storage: Storage) -> bundles.Bundle:
    bundle = bundles.load(model.uri, storage)
    if bundle.digest != model.digest:
        raise BundleError(f"the bundle at {model.uri} was exchanged while the job ran")
    return bundle


class Truth:
    """Some photographs, and what of them is compared with predictions."""

    def __init__(self, photographs: NDArray[np.uint8], weights: Tensor) -> None:
        """Take photographs, (N, S, S, 3) sRGB uint8, and the weights (BINS,) of colours."""
        self.rgb = channels_first(photographs)
        self.lab = lab.rgb_to_lab(self.rgb / 255)
        self.lightness, self.ab = self.lab[:, :1], self.lab[:, 1:]
        self._codes = [lightness_codes(photograph) for photograph in photographs]
        self._weights = weights[colour_bins(self.ab)]

    def render(self, ab: Tensor) -> NDArray[np.uint8]:
        """Join the true luminance with a*b* (N, 2, S, S): (N, S, S, 3) sRGB uint8, as the archive job does."""
        planes = ab.numpy().astype(np.float32)
        pairs = zip(self._codes, planes, strict=True)
        return np.stack([lab_to_srgb(codes, even_lightness(), colour, 8) for codes, colour in pairs])

    def compare(self, rgb: Tensor, painted: Tensor) -> tuple[Tensor, Tensor]:
        """PSNR and CIEDE2000, (N,) each, of rendered pictures (N, 3, S, S): sRGB in [0, 255], and the same as LAB."""
        return psnr(rgb, self.rgb, peak=255), ciede2000(painted, self.lab).mean((-2, -1)).double()

    def measure(self, predictions: Tensor, rgb: Tensor) -> dict[str, Tensor]:
        """Measure what a colorizer made of each of the photographs.

        Args:
            predictions: (K, N, 2, S, S), a*b* from inputs of K sizes, the usual one last.
            rgb: (N, 3, S, S), the rendered pictures of that one, sRGB in [0, 255].

        Returns:
            (N,) for each of `METRICS` that needs no weights, for `calibration.PIXELS` and for `balance`.
        """
        ab = predictions[-1]
        painted = lab.rgb_to_lab(rgb / 255)
        decibels, difference = self.compare(rgb, painted)
        distance = ab_distance(ab, self.ab)
        pixel_areas, balance = area(distance), self._weights.mean((-2, -1))
        signed, absolute = colourfulness(rgb), colourfulness(rgb, absolute=True)
        return {
            "psnr": decibels,
            "psnr_ab": psnr(ab, self.ab, peak=255),
            "ssim": ssim(rgb, self.rgb),
            "ciede2000": difference,
            "ab_distance": distance.mean((-2, -1)),
            "auc": pixel_areas.mean((-2, -1)),
            "auc_balanced": (self._weights * pixel_areas).mean((-2, -1)) / balance,
            "colourfulness": signed,
            "colourfulness_difference": signed - colourfulness(self.rgb),
            "colourfulness_absolute": absolute,
            "colourfulness_absolute_difference": absolute - colourfulness(self.rgb, absolute=True),
            "bleeding": bleeding(self.lab[:, 0], ab, self.ab),
            "blotches": blotches(self.lab[:, 0], ab),
            "size_spread": metrics.size_spread(predictions),
            "lightness_error": metrics.lightness_error(painted[:, 0], self.lab[:, 0]),
            **calibration.measure(ab, self.ab),
            "balance": balance,
        }


def channels_first(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn pictures (N, S, S, 3) uint8 into (N, 3, S, S) float32 in [0, 255]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
