"""The terms of the game, and the record of their values."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from colornet.errors import TrainingError

SMOOTH_L1_BETA = 10 / 127.5
"""Where smooth L1 turns from a square into a line: 10 units of a*b*, in the networks' scaling."""


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy of the right verdicts, each side weighing half.

    Args:
        real: (B,) logits for real colour; above 0 means "real".
        fake: (B,) logits for made-up colour.

    Returns:
        A scalar, float32: ln 2 for a discriminator that always answers 0.

    Source: Goodfellow et al. 2014, equation 1, as a loss to be minimised.
    """
    truth = functional.softplus(-real.float()).mean()
    lie = functional.softplus(fake.float()).mean()
    return (truth + lie) / 2


def adversarial_loss(fake: Tensor) -> Tensor:
    """Binary cross-entropy of the verdict "real" for made-up colour, which the generator wants to hear.

    Args:
        fake: (B,) logits.

    Returns:
        A scalar, float32.

    Source: the non-saturating generator loss of Goodfellow et al. 2014, section 3.
    """
    return functional.softplus(-fake.float()).mean()


def reconstruction_loss(kind: str, predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean distance between predicted and true colour, over all pixels and both channels.

    Args:
        kind: "l1" or "smooth_l1" (a square up to `SMOOTH_L1_BETA`, then a line).
        predicted: (B, 2, H, W), scaled a*b* in [-1, 1].
        truth: the same.

    Returns:
        A scalar, float32.
    """
    if kind == "l1":
        return functional.l1_loss(predicted.float(), truth.float())
    return functional.smooth_l1_loss(predicted.float(), truth.float(), beta=SMOOTH_L1_BETA)


def correct_verdicts(real: Tensor, fake: Tensor) -> Tensor:
    """Count the right verdicts among (B,) logits for real and (B,) logits for made-up colour: a scalar, float32."""
    return ((real > 0).sum() + (fake <= 0).sum()).float()


class NonFiniteLossError(TrainingError):
    """A loss is infinite or not a number. All workers raise it at the same step."""


class LossRecord:
    """Mean of each term over the steps of an epoch and over all workers; ends the run when one is not finite.

    Steps are looked at in batches, because reading a number off a GPU waits for it. The check sees the mean over the
    workers, so that all of them raise at the same step and none is left waiting for the others.
    """

    def __init__(self, mean_over_workers: Callable[[Tensor], Tensor]) -> None:
        """Start empty; `mean_over_workers` averages a tensor over all workers and is called by all of them alike."""
        self._mean = mean_over_workers
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Note the scalar losses of a step; all steps between two calls of `settle` have the same terms."""
        self._waiting.append((step, dict(losses)))

    def settle(self) -> None:
        """Read what was added since the last call.

        Raises:
            NonFiniteLossError: if one is not finite; the message names the step and the term.
        """
        if not self._waiting:
            return
        names = list(self._waiting[0][1])
        table = torch.stack([torch.stack([losses[name] for name in names]) for _, losses in self._waiting])
        rows = self._mean(table.detach().float()).tolist()
        for (step, _), row in zip(self._waiting, rows, strict=True):
            for name, value in zip(names, row, strict=True):
                if not abs(value) < float("inf"):
                    raise NonFiniteLossError(f"step {step}: the {name} loss is not finite ({value})")
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._waiting.clear()

    def means(self) -> dict[str, float]:
        """Mean of each term over all settled steps."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}
