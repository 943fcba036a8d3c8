"""The losses of both networks, and the record of their values."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from colornet.color import lab
from colornet.color.chroma import chroma
from colornet.errors import TrainingError
from colornet.networks.ab_bins import soft_encode

GanLoss = Literal["bce", "lsgan", "hinge"]
"""Kinds of adversarial loss."""
Reconstruction = Literal["l1", "smooth_l1"]
"""Kinds of distance between predicted and true colour."""
SMOOTH_L1_BETA = 10.0
"""Where smooth L1 turns from a square into a line, unless told otherwise, in units of a*b*."""
VIVID_CHROMA = 50.0
"""Chroma of a saturated pixel, in units of a*b*."""


def discriminator_loss(real: Tensor, fake: Tensor, kind: GanLoss = "bce") -> Tensor:
    """The discriminator's loss: the mean of its losses on real and on predicted colour.

    Args:
        real: (B,) logits for real colour, or a map of them, (B, 1, h, w); above 0 means "real".
        fake: the same for predicted colour.
        kind: "bce", binary cross-entropy (ln 2 for a discriminator that always answers 0); "lsgan", half of the
            squared distance from 1 for real and −1 for fake; or "hinge", max(0, 1 − logit) for real and
            max(0, 1 + logit) for fake.

    Returns:
        A scalar, float32: the mean over pictures and maps.

    Source: Goodfellow et al. 2014, equation 1; Mao et al. 2017, equation 2, with b = c = 1 and a = −1, so that 0 is the
    decision boundary of all kinds; Miyato et al. 2018, equation 16. All are losses to be minimised.
    """
    real, fake = real.float(), fake.float()
    if kind == "lsgan":
        on_real, on_fake = (real - 1).square() / 2, (fake + 1).square() / 2
    elif kind == "hinge":
        on_real, on_fake = functional.relu(1 - real), functional.relu(1 + fake)
    else:
        on_real, on_fake = functional.softplus(-real), functional.softplus(fake)
    return (on_real.mean() + on_fake.mean()) / 2


def adversarial_loss(fake: Tensor, kind: GanLoss = "bce") -> Tensor:
    """The generator's adversarial loss: how far predicted colour is from being classified as real.

    Args:
        fake: (B,) logits, or a map of them, (B, 1, h, w).
        kind: "bce", "lsgan" or "hinge", as in `discriminator_loss`.

    Returns:
        A scalar, float32: the mean over pictures and maps.

    Source: the non-saturating generator loss of Goodfellow et al. 2014, section 3; Mao et al. 2017, equation 2; Miyato
    et al. 2018, equation 17.
    """
    fake = fake.float()
    if kind == "lsgan":
        return ((fake - 1).square() / 2).mean()
    if kind == "hinge":
        return -fake.mean()
    return functional.softplus(-fake).mean()


def gradient_penalty(verdicts: Tensor, ab: Tensor) -> Tensor:
    """R1: half of the squared norm of the discriminator's gradient at real colour.

    Args:
        verdicts: (B,) logits for `ab`, or a map of them, whose mean is a picture's logit; not from autocast.
        ab: (B, 2, H, W), the real scaled a*b* that they were computed from, with `requires_grad`.

    Returns:
        A scalar, float32: the mean over pictures, through which gradients flow into the discriminator.

    Source: Mescheder, Geiger and Nowozin 2018, equation 9, without its weight γ.
    """
    (gradient,) = torch.autograd.grad(_of_pictures(verdicts).sum(), ab, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean() / 2


def reconstruction_loss(
    kind: Reconstruction, predicted: Tensor, truth: Tensor, vividness: float = 0.0, beta: float = SMOOTH_L1_BETA
) -> Tensor:
    """Mean distance between predicted and true colour, over all pixels and both channels.

    Args:
        kind: "l1" or "smooth_l1" (a square up to `beta`, then a line).
        predicted: (B, 2, H, W), scaled a*b* in [-1, 1].
        truth: the same.
        vividness: a pixel weighs 1 + vividness · (true chroma / `VIVID_CHROMA`).
        beta: in units of a*b*.

    Returns:
        A scalar, float32.
    """
    predicted, truth = predicted.float(), truth.float()
    if kind == "l1":
        distance = functional.l1_loss(predicted, truth, reduction="none")
    else:
        distance = functional.smooth_l1_loss(predicted, truth, reduction="none", beta=beta / 127.5)
    if vividness:
        distance = distance * (1 + vividness * chroma(lab.unscale_ab(truth)) / VIVID_CHROMA)
    return distance.mean()


def distribution_loss(logits: Tensor, ab: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy between the predicted distribution and the true colour, rare colours weighing more.

    Args:
        logits: (B, Q, h, w), of the bins of `colornet.networks.ab_bins`, of a smaller picture.
        ab: (B, 2, H, W), true scaled a*b* in [-1, 1]; it is averaged over the pixels of each logit.
        centres: (Q, 2), of the bins, in units of a*b*.
        weights: (Q,), from `rebalancing_weights`; a pixel has the weight of its nearest bin.

    Returns:
        A scalar, float32: the mean over all pixels of the smaller picture, in nats.

    Source: Zhang et al. 2016, equation 2.
    """
    height, width = logits.shape[-2:]
    small = functional.adaptive_avg_pool2d(lab.unscale_ab(ab.float()), (height, width))
    target = soft_encode(small, centres)
    entropy = functional.cross_entropy(logits.float(), target, reduction="none")
    return (weights[target.argmax(dim=1)] * entropy).mean()


def correct_verdicts(real: Tensor, fake: Tensor) -> Tensor:
    """Count the pictures that are classified right: a scalar, float32.

    Each argument is (B,) logits, or a map of them, (B, 1, h, w), whose mean is a picture's logit.
    """
    return ((_of_pictures(real) > 0).sum() + (_of_pictures(fake) <= 0).sum()).float()


def _of_pictures(logits: Tensor) -> Tensor:
    return logits if logits.dim() == 1 else logits.flatten(1).mean(dim=1)


class NonFiniteLossError(TrainingError):
    """A loss or a gradient is infinite or not a number. All workers raise it at the same step."""


class LossRecord:
    """Mean of each term over the steps of an epoch and over all workers; ends the run when one is not finite.

    Losses are read every few steps, because reading a number from a GPU waits for it. What is checked is the mean over
    the workers: so all workers raise at the same step, and none waits for the others.
    """

    def __init__(self, mean_over_workers: Callable[[Tensor], Tensor]) -> None:
        """Start empty; `mean_over_workers` averages a tensor over all workers, which call it at the same time."""
        self._mean = mean_over_workers
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Add the scalars of a step; all steps between two calls of `settle` must have the same terms."""
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
                    raise NonFiniteLossError(f"step {step}: the {name.replace('_', ' ')} is not finite ({value})")
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._waiting.clear()

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Return what all settled steps have summed up to; plain data."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from a `state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def means(self) -> dict[str, float]:
        """Mean of each term over all settled steps."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}
