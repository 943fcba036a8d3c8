"""What the networks see of the photographs: batches of L* and a*b*, without most of those that have no colour."""

import time
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from colornet.color import lab
from colornet.color.chroma import is_nearly_gray
from colornet.training.degradation import degrade
from colornet.training.distributed import sum_over_workers
from colornet.training.gan import Batch
from colornet.training.hints import simulate_hints
from colornet.training.recipe import Recipe


class Photographs(Protocol):
    """Where a worker's photographs come from."""

    def stage(self, number: int) -> Iterator[Tensor]:
        """Yield this worker's batches of a stage, numbered from 0, from where the run stands: (B, 3, S, S) uint8."""

    def held_out(self, image_size: int) -> Tensor:
        """Return this worker's share of the held-out photographs, (N, 3, image_size, image_size) uint8."""


class Batches(Iterator[Batch]):
    """The batches of a stage. What is counted here is counted from one `start_epoch` to the next."""

    def __init__(self, photographs: Iterator[Tensor], recipe: Recipe, device: torch.device) -> None:
        """Prepare for `photographs`, batches of (B, 3, S, S) uint8, on the CPU."""
        self._photographs = photographs
        self._recipe = recipe
        self._device = device
        self.start_epoch()

    def start_epoch(self) -> None:
        """Count anew."""
        self.seconds_waited = 0.0
        """How long the networks have waited for photographs."""
        self._nearly_gray = torch.zeros((), device=self._device)

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch, on the device."""
        started = time.monotonic()
        photographs = next(self._photographs)
        self.seconds_waited += time.monotonic() - started
        photographs = photographs.to(self._device, non_blocking=True)
        lightness, ab = lab.split_scaled(photographs)
        chosen = self._with_colour(ab)
        photographs, lightness, ab = photographs[chosen], lightness[chosen].contiguous(), ab[chosen]
        seen = lightness
        if not self._recipe.degradation.changes_nothing:
            seen = degrade(photographs, self._recipe.degradation, torch.default_generator)
        hints = None
        if self._recipe.generator.hints:
            hints = simulate_hints(ab, self._recipe.hints, torch.default_generator)
        return Batch(seen, lightness, ab.contiguous(memory_format=torch.channels_last), hints)

    def count_nearly_gray(self) -> int:
        """Return how many photographs of all workers were replaced, because they have no colour to learn from."""
        return int(sum_over_workers(self._nearly_gray).item())

    def _with_colour(self, ab: Tensor) -> Tensor:
        """Return which photographs to take, (B,): for those that have no colour to learn from others, and count them.

        Some stay: whoever never saw gray paints everything.
        """
        gray = is_nearly_gray(lab.unscale_ab(ab))
        if self._recipe.nearly_gray_kept:
            gray &= torch.rand(len(gray)).to(gray.device) >= self._recipe.nearly_gray_kept
        self._nearly_gray += gray.sum()
        # The GPU is not waited for: photographs with colour come first, and are repeated as often as it takes.
        order = torch.argsort(gray.int(), stable=True)
        coloured = (~gray).sum().clamp(min=1)
        return order[torch.arange(len(order), device=order.device) % coloured]
