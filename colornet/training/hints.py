"""Hints as a person might give them: the true colour of a few small patches of a photograph."""

from typing import Annotated

import torch
from torch import Tensor

from colornet.networks.backbone import HINT_CHANNELS
from colornet.settings import Field, settings
from colornet.training.ranges import Count, Share

_AT_LEAST_ONE = Annotated[float, Field(ge=1)]


@settings
class HintSimulation:
    """Which photographs of a training come with hints, and with how many.

    Source: Zhang et al. 2017, "Real-time user-guided image colorization with learned deep priors", section 3.2: the
    number of hints is geometric, they lie around the centre, and each is the mean colour of a small patch.
    """

    none: Share = 0.4
    """Share of photographs without any hint: what an archive is colorized with."""
    all: Share = 0.005
    """Share of photographs of which every pixel is known."""
    mean_count: _AT_LEAST_ONE = 8.0
    """Hints of a photograph that has some, in the mean."""
    spread: Annotated[float, Field(gt=0)] = 0.25
    """Standard deviation of their distance from the centre, along each side, as a share of it."""
    largest_patch: Count = 9
    """Sides of the patches are odd, from 1 up to this, pixels."""


MOST_HINTS = 64
"""A photograph has no more than these."""


@torch.no_grad()
def simulate_hints(ab: Tensor, simulation: HintSimulation, generator: torch.Generator) -> Tensor:
    """Reveal some of the true colours of photographs.

    Args:
        ab: (B, 2, H, W), true scaled a*b* in [-1, 1].
        simulation: how many are revealed, where.
        generator: on the CPU.

    Returns:
        (B, 3, H, W), as `BackboneGenerator.forward` takes hints.
    """
    kinds = torch.rand(len(ab), generator=generator)
    lifetimes = torch.empty(len(ab)).geometric_(1 / simulation.mean_count, generator=generator)
    counts = torch.where(kinds < simulation.none, 0.0, lifetimes).clamp(max=MOST_HINTS).int().tolist()
    hints = ab.new_zeros(len(ab), HINT_CHANNELS, *ab.shape[2:])
    for photograph, known, count in zip(ab, hints, counts, strict=True):
        places = 0.5 + simulation.spread * torch.randn(count, 2, generator=generator)
        patches = torch.randint((simulation.largest_patch + 1) // 2, (count,), generator=generator)
        for (y, x), patch in zip(places.tolist(), patches.tolist(), strict=True):
            reveal(known, photograph, y, x, patch)
    whole = (kinds >= 1 - simulation.all).to(ab.device)
    hints[whole] = torch.cat([ab[whole], torch.ones_like(ab[whole, :1])], dim=1)
    return hints


def reveal(hints: Tensor, ab: Tensor, y: float, x: float, radius: int) -> None:
    """Give a patch of a photograph the mean of its true colours, in place.

    Args:
        hints: (3, H, W), of the photograph; what was known in the patch is replaced.
        ab: (2, H, W), its true scaled a*b*.
        y: of the centre of the patch, as a share of the height; what is outside comes to the edge.
        x: the same, of the width.
        radius: the side of the patch is 2 · radius + 1 pixels; it ends at the edge.
    """
    height, width = ab.shape[-2:]
    row, column = (min(max(int(at * size), 0), size - 1) for at, size in ((y, height), (x, width)))
    rows = slice(max(0, row - radius), row + radius + 1)
    columns = slice(max(0, column - radius), column + radius + 1)
    hints[:2, rows, columns] = ab[:, rows, columns].mean(dim=(-2, -1))[:, None, None]
    hints[2, rows, columns] = 1
