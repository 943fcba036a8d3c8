"""What is known of true colours beforehand: their mean, and how frequent they are. It comes from the training set."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from colornet.color import lab
from colornet.errors import SettingsError
from colornet.evaluation import photographs
from colornet.evaluation.photographs import Found, Photograph
from colornet.metrics.chroma_error import BINS, balancing_weights, count_bins
from colornet.storage import Storage

SAMPLE = 512
"""Photographs that it is made of, at most."""


@dataclass(frozen=True)
class Reference:
    """Statistics of a sample of photographs. Plain data: it travels to every worker."""

    of: str
    """Which photographs these are."""
    photographs: int
    """How many there are in the sample."""
    mean_a: float
    mean_b: float
    weights: NDArray[np.float32]
    """(BINS,): how much a pixel of each colour counts in the balanced AuC."""


def reference_of(found: Found, items: pa.Table, size: int, storage: Storage = Storage()) -> Reference:
    """Measure true colours on up to `SAMPLE` training photographs, or on those to be measured if there are none.

    Args:
        found: what there is.
        items: a table of `photographs.ITEMS`: what is to be measured.
        size: side of the pictures in pixels.
        storage: with what they are reached.

    Raises:
        SettingsError: if none of them can be read.
    """
    sample, of = found.sample_training(SAMPLE), "training photographs"
    if not sample.num_rows:
        sample, of = photographs.sample(items, SAMPLE), "measured photographs"
    total, counts, count, reasons = torch.zeros(2, dtype=torch.float64), torch.zeros(BINS, dtype=torch.int64), 0, []
    for item, answer in photographs.read(sample, size, storage):
        if isinstance(answer, str):
            reasons.append(f"{item['photograph']}: {answer}")
            continue
        ab = _true_ab(answer)
        total += ab.double().mean((0, 2, 3))
        counts += count_bins(ab)
        count += 1
    if not count:
        raise SettingsError(f"none of {len(reasons)} {of} can be read; {reasons[0]}")
    mean_a, mean_b = (total / count).tolist()
    return Reference(of, count, mean_a, mean_b, balancing_weights(counts).numpy())


def _true_ab(photograph: Photograph) -> torch.Tensor:
    rgb = torch.from_numpy(photograph.astype(np.float32) / 255).permute(2, 0, 1)
    return lab.rgb_to_lab(rgb.unsqueeze(0))[:, 1:]
