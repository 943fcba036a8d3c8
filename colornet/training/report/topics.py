"""What is drawn of a run: its curves, by topic, and the colours of them and of the verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass

from colornet.training.health import State

VERDICTS: dict[str, str] = {
    State.NOT_FINITE: "#7e3fb2",
    State.DEAD_GRADIENTS: "#8c564b",
    State.GENERATOR_COLLAPSED: "#e377c2",
    State.DISCRIMINATOR_AHEAD: "#bcbd22",
    State.DISCRIMINATOR_BEHIND: "#17becf",
    State.GRAY_COLLAPSE: "#7f7f7f",
    State.ORANGE_COLLAPSE: "#ff7f0e",
    State.HEALTHY: "#2ca05a",
}
"""The colour of each verdict."""
OTHER_VERDICT = "#444444"
"""The colour of a verdict that this version does not know."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    """In the history."""
    label: str
    colour: str
    style: str = "-"
    factor: float = 1.0
    """From the unit of the history to that of the axis."""


@dataclass(frozen=True)
class Topic:
    """Curves that share an axis."""

    title: str
    axis: str
    """What is on the vertical axis, with its unit."""
    lines: Sequence[Line]
    limits: tuple[float | None, float | None] | None = (0.0, None)
    """Of the axis; None for a logarithmic one, where all numbers allow it."""
    reference: float | None = None
    """Where a thin line helps the eye."""
    good: str = ""
    """A sentence on what good curves look like."""


BLUE, RED, GREEN, PURPLE, ORANGE, BROWN, TEAL = (
    f"tab:{name}" for name in ("blue", "red", "green", "purple", "orange", "brown", "cyan")
)
TOPICS = (
    Topic(
        "Loss terms",
        "mean of the epoch",
        (
            Line("generator_loss", "generator, all terms", BLUE),
            Line("adversarial_loss", "adversarial", TEAL),
            Line("adversarial_entropy_loss", "its cross-entropy", TEAL, ":"),
            Line("reconstruction_loss", "reconstruction", GREEN),
            Line("distribution_loss", "distribution", PURPLE),
            Line("perceptual_loss", "perceptual", ORANGE),
            Line("discriminator_loss", "discriminator", RED),
            Line("gradient_penalty_loss", "gradient penalty", BROWN),
        ),
        limits=None,
    ),
    Topic(
        "Held-out error: mean distance from the true a*b*",
        "distance, units of a*b*",
        (Line("held_out_error", "held-out photographs", BLUE),),
    ),
    Topic(
        "Mean chroma: mean length of (a*, b*)",
        "length, units of a*b*",
        (
            Line("mean_chroma", "as colorized", BLUE),
            Line("true_mean_chroma", "true colour", GREEN, "--"),
        ),
    ),
    Topic(
        "Hue concentration: 0 when hues balance each other, 1 when there is one",
        "concentration",
        (
            Line("hue_concentration", "as colorized", BLUE),
            Line("true_hue_concentration", "true colour", GREEN, "--"),
        ),
        limits=(0.0, 1.02),
    ),
    Topic(
        "Signal to noise of held-out photographs",
        "PSNR, dB",
        (Line("psnr", "held-out photographs", BLUE),),
        limits=(None, None),
    ),
    Topic(
        "Gain: the factor of the predicted colour that has the least squared error",
        "factor",
        (Line("gain_a", "a*", RED), Line("gain_b", "b*", BLUE)),
        limits=(None, None),
        reference=1.0,
        good="Good: both rise to 1 and stay. Below 0.85 the colour is too strong for how often it is right.",
    ),
    Topic(
        "Bias: mean predicted colour less the mean true colour",
        "units of a*b*",
        (Line("bias_a", "a*", RED), Line("bias_b", "b*", BLUE)),
        limits=(None, None),
        reference=0.0,
        good="Good: both stay within 1.5 of 0. Both above is a brown wash over everything.",
    ),
    Topic(
        "Correlation of predicted with true colour, pixel by pixel",
        "correlation",
        (Line("correlation_a", "a*", RED), Line("correlation_b", "b*", BLUE)),
        limits=(None, None),
        reference=0.0,
        good="Good: both rise, and level off late. Near 0 the colour has nothing to do with the truth.",
    ),
    Topic(
        "Photographs that are worse than gray by more than 1 dB",
        "share of held-out photographs, %",
        (Line("worse_than_gray", "held-out photographs", BLUE, factor=100),),
        good="Good: it falls below 15 %. Where it rises while the loss falls, colour grows bolder than it is right.",
    ),
    Topic(
        "Discriminator on held-out photographs",
        "accuracy, %",
        (
            Line("discriminator_accuracy", "before retraining", RED, factor=100),
            Line("accuracy_after_retraining", "after retraining", ORANGE, "--", factor=100),
        ),
        limits=(0.0, 102.0),
        reference=50.0,
    ),
    Topic(
        "Gradients",
        "2-norm, mean of the epoch",
        (
            Line("generator_gradient_norm", "generator", BLUE),
            Line("discriminator_gradient_norm", "discriminator", RED),
        ),
        limits=None,
    ),
    Topic(
        "Learning rates",
        "step size",
        (
            Line("generator_learning_rate", "generator", BLUE),
            Line("discriminator_learning_rate", "discriminator", RED, "--"),
        ),
        limits=None,
    ),
    Topic("Throughput of all workers", "photographs/s", (Line("photographs_per_second", "photographs", BLUE),)),
    Topic(
        "Waiting for data",
        "share of the time, %",
        (Line("waiting_for_data", "waiting", ORANGE, factor=100),),
        limits=(0.0, 102.0),
    ),
)
