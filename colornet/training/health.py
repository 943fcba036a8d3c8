"""Are the two networks balanced? A verdict on each epoch from its metrics, and what to do about it.

Metrics are medians over the last epochs, so that one noisy epoch is no alarm. The failures are checked in the order of
`State`, causes before their symptoms, and the verdict is the first one that is found.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, Literal

from colornet.settings import Field, settings
from colornet.training.ranges import Count, CountOrZero, NotNegative, Share


class State(StrEnum):
    """The state of training."""

    NOT_FINITE = "not_finite"
    """A loss or a gradient is infinite or not a number."""
    DEAD_GRADIENTS = "dead_gradients"
    """A network has next to no gradient, and learns nothing."""
    GENERATOR_COLLAPSED = "generator_collapsed"
    """The discriminator takes all predicted colour for real, so that the adversarial loss has no gradient."""
    DISCRIMINATOR_AHEAD = "discriminator_ahead"
    """The discriminator is nearly always right, and the adversarial loss explodes."""
    DISCRIMINATOR_BEHIND = "discriminator_behind"
    """The discriminator is guessing, even after it has been retrained."""
    GRAY_COLLAPSE = "gray_collapse"
    """The generator predicts next to no colour."""
    ORANGE_COLLAPSE = "orange_collapse"
    """The generator predicts a single hue."""
    HEALTHY = "healthy"
    """None of these, or too early to say."""


class Action(StrEnum):
    """What to do after an epoch."""

    GO_ON = "go_on"
    WARN = "warn"
    """Print the verdict's sentence; all actions below do that too."""
    RETRAIN_DISCRIMINATOR = "retrain_discriminator"
    """Train the discriminator alone, up to `retrain_steps` of the recipe."""
    LOWER_LEARNING_RATE = "lower_learning_rate"
    """Multiply the discriminator's learning rate by `Policy.lower_by`, from now on."""
    STOP = "stop"
    """End the run. It cannot go on from its checkpoint, because it would end in the same way."""


ActionName = Literal["go_on", "warn", "retrain_discriminator", "lower_learning_rate", "stop"]
"""The values of `Action`, as settings have them."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The metrics of an epoch that are judged, under the names of the trainer's history.

    None means not recorded. NaN, in metrics of held-out photographs, means that there were none.
    """

    adversarial_loss: float | None = None
    """Mean cross-entropy of predicted colour being classified as real, nats; ln 2 = 0.69 for a discriminator that
    guesses. Where the generator trains with another kind of loss, the history has this as adversarial_entropy_loss."""
    reconstruction_loss: float | None = None
    """Mean distance from the true colour, unweighted."""
    discriminator_accuracy: float | None = None
    """On held-out photographs, before any retraining, in [0, 1]; 0.5 is guessing."""
    accuracy_after_retraining: float | None = None
    """The same after retraining; it is judged where it is recorded."""
    mean_chroma: float | None = None
    """Of the colorized held-out photographs: mean length of (a*, b*) over all pixels, unscaled."""
    true_mean_chroma: float | None = None
    """Of the same photographs themselves."""
    hue_concentration: float | None = None
    """Of the colorized held-out photographs: length of the mean (a*, b*) over all pixels, divided by `mean_chroma`.
    In [0, 1]: 0 if the hues cancel out, 1 if there is only one."""
    true_hue_concentration: float | None = None
    """Of the same photographs themselves."""
    generator_gradient_norm: float | None = None
    """Mean over the epoch's steps of the 2-norm of all gradients of the generator together, before any clipping."""
    discriminator_gradient_norm: float | None = None
    """The same of the discriminator."""

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> "Epoch":
        """Take the metrics from an epoch of the trainer's history."""
        picked = {each.name: measured.get(each.name) for each in fields(cls)}
        entropy = measured.get("adversarial_entropy_loss")
        return cls(**picked if entropy is None else picked | {"adversarial_loss": entropy})


@settings
class Thresholds:
    """Thresholds of the failures, for medians over `window` epochs."""

    window: Count = 5
    """Epochs that are judged together. There is no alarm before so many, because every run begins gray."""
    no_gradient: NotNegative = 1e-6
    """A network whose gradient norm is below this does not learn. Healthy norms are about 0.01 to 100."""
    fooled: NotNegative = 0.05
    """The generator has collapsed if its adversarial loss is below this. At 0.05 the discriminator takes predicted
    colour for real with a probability of 95 %."""
    exploding: NotNegative = 8.0
    """The adversarial loss explodes above this. At 8 the discriminator takes predicted colour for real with a
    probability of 0.03 %."""
    certain: Share = 0.98
    """The discriminator is ahead if its accuracy is above this and the adversarial loss explodes. High accuracy alone
    is no alarm: beside a strong reconstruction loss a discriminator is often right, and the generator still learns."""
    guessing: Share = 0.55
    """The discriminator is behind if its accuracy is below this."""
    gray: Share = 0.2
    """The output is gray if it has less than this share of the true mean chroma. A healthy run has about half of it,
    because the generator averages over the colours that are possible."""
    one_hue: Share = 0.9
    """The output has one hue if its hue concentration is above this."""
    beyond_truth: Share = 0.2
    """And if its hue concentration is above that of the true colour by more than this."""


@dataclass(frozen=True)
class Verdict:
    """The state of training after an epoch."""

    state: State
    sentence: str
    """The state in words, with the metrics that show it."""


@settings
class Policy:
    """What to do when the networks are out of balance: an action for each `State` that is a failure.

    warn prints the verdict. retrain_discriminator trains the discriminator alone for up to retrain_steps.
    lower_learning_rate multiplies the discriminator's learning rate by lower_by. stop ends the run. go_on does nothing.
    """

    not_finite: ActionName = "stop"
    """If a loss or a gradient is infinite or not a number."""
    dead_gradients: ActionName = "stop"
    """If a network has next to no gradient."""
    generator_collapsed: ActionName = "retrain_discriminator"
    """If the discriminator takes all predicted colour for real."""
    discriminator_ahead: ActionName = "lower_learning_rate"
    """If the discriminator is nearly always right and the adversarial loss explodes."""
    discriminator_behind: ActionName = "retrain_discriminator"
    """If the discriminator is guessing, even after it has been retrained."""
    gray_collapse: ActionName = "warn"
    """If the output is nearly gray."""
    orange_collapse: ActionName = "warn"
    """If the output has one hue."""
    repeat_every: Count = 5
    """Take the action again after this many epochs, while the failure lasts."""
    stop_after: CountOrZero = 0
    """End the run when a failure has lasted for so many epochs; 0 never does."""
    lower_by: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of lower_learning_rate."""


def judge(history: Sequence[Mapping[str, Any]], thresholds: Thresholds | None = None) -> list[Verdict]:
    """Judge each epoch of a run by itself and those before it.

    Args:
        history: what was measured in each epoch, under the names of `Epoch`; other names are ignored. Numbers that are
            not recorded, or not yet for a whole window, raise no alarm.
        thresholds: from where on a number is an alarm; the defaults, unless given.

    Returns:
        A verdict for each epoch.
    """
    thresholds = thresholds or Thresholds()
    epochs = [Epoch.of(measured) for measured in history]
    return [_verdict(epochs[max(0, end - thresholds.window) : end], thresholds) for end in range(1, len(epochs) + 1)]


def decide(verdicts: Sequence[Verdict], policy: Policy | None = None) -> Action:
    """Choose what to do after the last of these verdicts.

    A failure's action is taken when the failure appears, and again every `repeat_every` epochs while it lasts.

    Args:
        verdicts: of all epochs so far, as `judge` returns them.
        policy: what to do about each failure; the defaults, unless given.
    """
    policy = policy or Policy()
    if not verdicts or verdicts[-1].state is State.HEALTHY:
        return Action.GO_ON
    state, lasted = verdicts[-1].state, 0
    for verdict in reversed(verdicts):
        if verdict.state is not state:
            break
        lasted += 1
    if policy.stop_after and lasted >= policy.stop_after:
        return Action.STOP
    return Action(getattr(policy, state)) if (lasted - 1) % policy.repeat_every == 0 else Action.GO_ON


# --- the verdict on one epoch -----------------------------------------------------------------------------------------


def _verdict(window: Sequence[Epoch], thresholds: Thresholds) -> Verdict:
    """Judge the last epoch of a window, which may be shorter than `thresholds.window` at the start of a run."""
    broken = _not_finite(window[-1])
    if broken:
        return Verdict(State.NOT_FINITE, broken)
    if len(window) < thresholds.window:
        return Verdict(State.HEALTHY, f"too early to say: {len(window)} of {thresholds.window} epochs")
    middle = _medians(window)
    for state, look in _FAILURES:
        sentence = look(middle, thresholds)
        if sentence:
            return Verdict(state, sentence)
    return Verdict(State.HEALTHY, "nothing is amiss" if math.isnan(middle.accuracy) else "the networks are balanced")


def _not_finite(epoch: Epoch) -> str:
    """Name the first loss or gradient that is not finite; it is no noise, so one epoch is enough."""
    names = ("adversarial_loss", "reconstruction_loss", "generator_gradient_norm", "discriminator_gradient_norm")
    for name in names:
        value = getattr(epoch, name)
        if value is not None and not math.isfinite(value):
            return f"the {name.replace('_', ' ')} is not finite ({value})"
    return ""


@dataclass(frozen=True)
class _Middle:
    """Medians over a window; NaN, which no comparison is true of, where an epoch of it has no number."""

    adversarial: float
    accuracy: float
    chroma: float
    """As a share of the true one."""
    concentration: float
    beyond_truth: float
    generator_gradient: float
    discriminator_gradient: float


def _medians(window: Sequence[Epoch]) -> _Middle:
    def middle(measure: Callable[[Epoch], float]) -> float:
        values = [measure(epoch) for epoch in window]
        return math.nan if any(math.isnan(value) for value in values) else statistics.median(values)

    return _Middle(
        adversarial=middle(lambda epoch: _number(epoch.adversarial_loss)),
        accuracy=middle(_accuracy),
        chroma=middle(_share_of_chroma),
        concentration=middle(lambda epoch: _number(epoch.hue_concentration)),
        beyond_truth=middle(lambda epoch: _number(epoch.hue_concentration) - _number(epoch.true_hue_concentration)),
        generator_gradient=middle(lambda epoch: _number(epoch.generator_gradient_norm)),
        discriminator_gradient=middle(lambda epoch: _number(epoch.discriminator_gradient_norm)),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _accuracy(epoch: Epoch) -> float:
    after = _number(epoch.accuracy_after_retraining)
    return _number(epoch.discriminator_accuracy) if math.isnan(after) else after


def _share_of_chroma(epoch: Epoch) -> float:
    truth = _number(epoch.true_mean_chroma)
    return _number(epoch.mean_chroma) / truth if truth > 0 else math.nan


def _dead_gradients(middle: _Middle, thresholds: Thresholds) -> str:
    for name, norm in ("generator", middle.generator_gradient), ("discriminator", middle.discriminator_gradient):
        if norm < thresholds.no_gradient:
            return f"the {name} learns nothing: its gradient has a norm of {norm:.1g}"
    return ""


def _generator_collapsed(middle: _Middle, thresholds: Thresholds) -> str:
    if middle.adversarial < thresholds.fooled:
        return f"the discriminator takes all made-up colour for real: the adversarial loss is {middle.adversarial:.2g}"
    return ""


def _discriminator_ahead(middle: _Middle, thresholds: Thresholds) -> str:
    if middle.accuracy > thresholds.certain and middle.adversarial > thresholds.exploding:
        return (
            f"the discriminator is too strong: it is right {middle.accuracy:.0%} of the time "
            f"and the adversarial loss is {middle.adversarial:.1f}"
        )
    return ""


def _discriminator_behind(middle: _Middle, thresholds: Thresholds) -> str:
    if middle.accuracy < thresholds.guessing:
        return f"the discriminator is too weak: it is right {middle.accuracy:.0%} of the time, and guessing gives 50%"
    return ""


def _gray_collapse(middle: _Middle, thresholds: Thresholds) -> str:
    if middle.chroma < thresholds.gray:
        return f"the output is nearly gray: it has {middle.chroma:.0%} of the true chroma"
    return ""


def _orange_collapse(middle: _Middle, thresholds: Thresholds) -> str:
    if middle.concentration > thresholds.one_hue and middle.beyond_truth > thresholds.beyond_truth:
        return (
            f"the output has one hue: its hues concentrate to {middle.concentration:.2f}, "
            f"the true ones to {middle.concentration - middle.beyond_truth:.2f}"
        )
    return ""


_FAILURES: tuple[tuple[State, Callable[[_Middle, Thresholds], str]], ...] = (
    (State.DEAD_GRADIENTS, _dead_gradients),
    (State.GENERATOR_COLLAPSED, _generator_collapsed),
    (State.DISCRIMINATOR_AHEAD, _discriminator_ahead),
    (State.DISCRIMINATOR_BEHIND, _discriminator_behind),
    (State.GRAY_COLLAPSE, _gray_collapse),
    (State.ORANGE_COLLAPSE, _orange_collapse),
)
