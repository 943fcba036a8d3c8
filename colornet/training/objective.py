"""The losses of the generator that compare its colour with the true one."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from colornet.color import lab
from colornet.datasets import photographs
from colornet.datasets.plan import Plan
from colornet.networks.ab_bins import count_bins, rebalancing_weights
from colornet.storage import Storage
from colornet.training.losses import distribution_loss, reconstruction_loss
from colornet.training.perceptual import PerceptualLoss
from colornet.training.recipe import Stage
from colornet.training.wrapping import unwrap

COUNTED_GROUPS = 2
"""Groups of photographs whose colours are counted for the weights of the bins."""
COUNTED_SIZE = 64
"""Side of the crops that are counted, pixels."""


class GeneratorOutput(NamedTuple):
    """What a generator returns for a batch."""

    ab: Tensor
    """(B, 2, H, W), scaled a*b* in [-1, 1], float32."""
    logits: Tensor | None = None
    """(B, Q, h, w), of the bins, from a generator with head bins that was prepared by `for_training`."""


class Objective:
    """The terms of the generator's loss that compare with true colour."""

    def __init__(
        self,
        generator: nn.Module,
        *,
        perceptual: PerceptualLoss | None = None,
        bin_weights: Tensor | None = None,
    ) -> None:
        """Prepare the terms, on the device.

        Args:
            generator: whose bins the distribution is over.
            perceptual: for stages with a perceptual loss.
            bin_weights: (Q,), from `ab_bins.rebalancing_weights`; all alike, unless given.
        """
        self.perceptual = perceptual
        self.centres: Any = getattr(unwrap(generator), "centres", None)
        self.bin_weights = bin_weights
        if bin_weights is None and self.centres is not None:
            self.bin_weights = self.centres.new_ones(len(self.centres))

    def __call__(self, stage: Stage, lightness: Tensor, predicted: GeneratorOutput, truth: Tensor) -> dict[str, Tensor]:
        """Return the terms that have a weight in the stage, as unweighted scalars by name.

        Args:
            stage: its weights.
            lightness: (B, 1, H, W), scaled L* of the photographs themselves.
            predicted: the generator's output for these photographs.
            truth: (B, 2, H, W), their scaled a*b*.
        """
        terms = {}
        if stage.reconstruction_weight:
            terms["reconstruction"] = reconstruction_loss(
                stage.reconstruction, predicted.ab, truth, stage.vividness, stage.reconstruction_beta
            )
        if stage.distribution_weight:
            assert predicted.logits is not None and self.bin_weights is not None  # the recipe has been checked
            terms["distribution"] = distribution_loss(predicted.logits, truth, self.centres, self.bin_weights)
        if stage.perceptual_weight:
            assert self.perceptual is not None
            terms["perceptual"] = self.perceptual(lightness, predicted.ab, truth)
        return terms


def rarity(plan: Plan, centres: Tensor, *, uniform_share: float, storage: Storage = Storage()) -> Tensor:
    """Weigh the bins by how rare their colour is among a plan's first photographs; the same for the same plan.

    Args:
        plan: of the training photographs.
        centres: (Q, 2), of the bins, in units of a*b*, on the CPU.
        uniform_share: of equal frequencies among the counted ones, above 0 and up to 1: see `rebalancing_weights`.
        storage: with what the photographs are reached.

    Returns:
        (Q,) float32.

    Raises:
        StorageError: if the photographs cannot be read.
    """
    counts = torch.zeros(len(centres))
    for number in range(COUNTED_GROUPS):
        group = photographs.read_group(plan, number, COUNTED_SIZE, storage=storage)
        rows = torch.from_numpy(group).permute(0, 3, 1, 2)
        counts += count_bins(lab.unscale_ab(lab.split_scaled(rows)[1]), centres)
    return rebalancing_weights(counts, centres, uniform_share=uniform_share)
