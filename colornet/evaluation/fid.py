"""FID: how far the features of a set of pictures lie from those of a set of photographs.

It is one number of a whole set, without an interval. It is biased: the fewer photographs, the larger it is, and by how
much depends on the colorizer too. Below a few thousand photographs even the order of colorizers may be wrong.

Source: M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter, "GANs Trained by a Two Time-Scale Update Rule
Converge to a Local Nash Equilibrium", NeurIPS 2017, equation 6; for the bias M. J. Chong, D. Forsyth, "Effectively
Unbiased FID and Inception Score and Where to Find Them", CVPR 2020.
"""

import copy
import io
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

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


class FeatureSets:
    """The features of the photographs and of every colorizer's pictures, as they come out of `measure.Measure`.

    torchmetrics computes the distance of their sums, which take 67 MB a colorizer, however many pictures there are.
    """

    def __init__(self, size: int = FEATURES) -> None:
        """Begin with nothing; `size` is how many features a picture has."""
        self._size = size
        self._metrics: dict[str, Any] = {}

    def take(self, rows: pa.Table) -> pa.Table:
        """Take in the column `features` of a table; returns it without that, and without the photographs' own rows."""
        described = rows.filter(pc.is_valid(rows["features"]))
        for name in described["colorizer"].unique().to_pylist():
            chosen = described.filter(pc.equal(described["colorizer"], name))["features"].combine_chunks()
            features = torch.tensor(chosen.flatten().to_numpy()).reshape(-1, self._size)
            self._metrics.setdefault(name, _metric(self._size)).update(features, real=name == PHOTOGRAPHS)
        own = pc.fill_null(pc.equal(rows["colorizer"], PHOTOGRAPHS), False)
        return rows.filter(pc.invert(own)).drop_columns("features")

    def distances(self) -> dict[str, float]:
        """FID of each colorizer, by name, NaN of fewer than two pictures; empty if it was not asked for."""
        return {
            name: _distance(self._metrics[PHOTOGRAPHS], pictures)
            for name, pictures in self._metrics.items()
            if name != PHOTOGRAPHS
        }


class _Given(nn.Module):
    """Stands for the network: the metric is given its features, which the workers have computed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features.double()


def _metric(size: int) -> Any:
    from torchmetrics.image.fid import FrechetInceptionDistance

    return FrechetInceptionDistance(_Given(size))


def _distance(photographs: Any, pictures: Any) -> float:
    if min(photographs.real_features_num_samples, pictures.fake_features_num_samples) < 2:
        return math.nan
    both = copy.deepcopy(pictures)
    both.merge_state(photographs)
    return max(0.0, float(both.compute()))  # equal sets have next to 0, on either side
