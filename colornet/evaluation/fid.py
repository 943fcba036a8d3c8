"""FID: how far the features of a set of pictures lie from those of a set of photographs.

It is one number of a whole set, without an interval. It is biased: the fewer photographs, the larger it is, and by how
much depends on the colorizer too. Below a few thousand photographs even the order of colorizers may be wrong.

Source: M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium", NeurIPS 2017, equation 6; for the bias M. J. Chong, D. Forsyth, "Effectively
Unbiased FID and Inception Score and Where to Find Them", CVPR 2020.
"""

import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from colornet.distribution import how
from colornet.errors import SettingsError
from colornet.networks.weights import fit_weights, read_weights

FEATURES = 2048
"""Of Inception v3's last pooling."""
FEW = 5000
"""With fewer photographs than this, results say that they are few."""
PHOTOGRAPHS = "photographs"
"""What the photographs themselves are called among the colorizers."""


class Inception:
    """Features of pictures: Inception v3 with the weights of 2015 that FID is defined by."""

    def __init__(self, weights: str | Path) -> None:
        """Load the network; nothing is downloaded.

        Args:
            weights: local file with torch-fidelity's Inception v3 (torchvision's is another network), `.safetensors`
                or as `torch.save` wrote it.

        Raises:
            SettingsError: if the file cannot be read or does not fit, or torch-fidelity is not installed.
        """
        from torchmetrics.image import fid

        class Bare(fid.NoTrainInceptionV3):
            """Without weights: torch-fidelity would download them, or run what a pickle asks for."""

            def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
                return super().load_state_dict(state, strict=False, assign=assign)

        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        try:
            network: Any = Bare("inception-v3-compat", [str(FEATURES)], nothing)  # type: ignore[arg-type]
        except ModuleNotFoundError as error:
            raise SettingsError(f"FID needs torch-fidelity: {how('fid')}") from error
        fit_weights(network, read_weights(weights), weights, "FID's Inception v3")
        self.network = network

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Describe pictures: (N, 3, H, W), sRGB in [0, 255], whole numbers, to (N, `FEATURES`) float32."""
        return self.network(pictures.to(torch.uint8))

    def to(self, device: torch.device | str) -> "Inception":
        """Move the network."""
        self.network.to(device)
        return self


class Gaussian:
    """Mean and covariance of vectors that come bit by bit; of the vectors only their sums are kept."""

    def __init__(self, size: int) -> None:
        """Begin with no vector; `size` is how long they are."""
        self.count = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Take in (N, size) vectors."""
        exact = vectors.astype(np.float64)
        self.count += len(exact)
        self._sum += exact.sum(0)
        self._products += exact.T @ exact

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(size,)."""
        return self._sum / self.count

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(size, size), divided by one less than there are vectors: at least two."""
        return (self._products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """The symmetric square root of the covariance."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Squared Fréchet distance |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½); NaN if one has fewer than two vectors.

    The trace of the root is the sum of the roots of the eigenvalues of C1^½ C2 C1^½, which is symmetric.
    """
    if min(first.count, second.count) < 2:
        return float("nan")
    eigenvalues = np.linalg.eigvalsh(first.root @ second.covariance @ first.root)
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    distance = ((first.mean - second.mean) ** 2).sum() + traces - 2 * np.sqrt(eigenvalues.clip(0)).sum()
    return max(0.0, float(distance))


class FeatureSets:
    """The features of the photographs and of every colorizer's pictures, as they come out of `measure.Measure`.

    It holds 34 MB for each of them, however many pictures there are.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sets: dict[str, Gaussian] = {}

    def take(self, rows: pa.Table) -> pa.Table:
        """Take in the column `features` of a table; returns it without that, and without the photographs' own rows."""
        described = rows.filter(pc.is_valid(rows["features"]))
        for name in described["colorizer"].unique().to_pylist():
            chosen = described.filter(pc.equal(described["colorizer"], name))["features"].combine_chunks()
            features = chosen.flatten().to_numpy().reshape(-1, FEATURES)
            self._sets.setdefault(name, Gaussian(FEATURES)).add(features)
        own = pc.fill_null(pc.equal(rows["colorizer"], PHOTOGRAPHS), False)
        return rows.filter(pc.invert(own)).drop_columns("features")

    def distances(self) -> dict[str, float]:
        """FID of each colorizer, by name; empty if it was not asked for."""
        return dict(self._distances())

    def _distances(self) -> Iterator[tuple[str, float]]:
        for name, pictures in self._sets.items():
            if name != PHOTOGRAPHS:
                yield name, frechet_distance(self._sets[PHOTOGRAPHS], pictures)
