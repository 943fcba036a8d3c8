"""Are the two networks balanced? A verdict on each epoch from a few numbers, and what to do about it.

Every number is a median over the last epochs, so that one noisy epoch is no alarm. The failures are looked for in the
order of `State`, causes before their symptoms, and an epoch has the first that fits.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from colornet.errors import SettingsError


class State(StrEnum):
    """How adversarial training stands."""

    NOT_FINITE = "not_finite"
    """A loss or a gradient is infinite or not a number."""
    DEAD_GRADIENTS = "dead_gradients"
    """A network has next to no gradient: it learns nothing."""
    GENERATOR_COLLAPSED = "generator_collapsed"
    """The discriminator believes whatever the generator makes up, so the adversarial term teaches nothing."""
    DISCRIMINATOR_AHEAD = "discriminator_ahead"
    """The discriminator is all but always right, and the generator finds no way to fool it."""
    DISCRIMINATOR_BEHIND = "discriminator_behind"
    """The discriminator is guessing, even after it has been retrained."""
    GRAY_COLLAPSE = "gray_collapse"
    """The generator paints next to no colour."""
    ORANGE_COLLAPSE = "orange_collapse"
    """The generator paints everything in one hue."""
    HEALTHY = "healthy"
    """None of these, or too early to say."""


class Action(StrEnum):
    """What to do after an epoch."""

    GO_ON = "go_on"
    WARN = "warn"
    """Tell the operator the verdict's sentence; all actions below do that too."""
    RETRAIN_DISCRIMINATOR = "retrain_discriminator"
    """Train the discriminator alone for a while, as at the end of an epoch in which it has fallen behind."""
    LOWER_LEARNING_RATE = "lower_learning_rate"
    """Multiply the discriminator's step size by `Policy.lower_by`, from now on."""
    STOP = "stop"
    """End the run: starting it anew from the checkpoint would end the same way."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What is judged of an epoch, under the names of the trainer's history.

    None means not recorded. Of what is measured on held-out photographs, NaN means the same: there were none.
    """

    adversarial_loss: float | None = None
    """Mean cross-entropy of the verdict "real" for made-up colour, nats; ln 2 = 0.69 for a discriminator that
    guesses. Where the generator trains with another kind of loss, the history has this as adversarial_entropy_loss."""
    reconstruction_loss: float | None = None
    """Mean distance from the true colour, unweighted."""
    discriminator_accuracy: float | None = None
    """On held-out photographs, before any retraining, in [0, 1]; 0.5 is guessing."""
    accuracy_after_retraining: float | None = None
    """The same after it; this is what counts, where it is recorded."""
    mean_chroma: float | None = None
    """Of the held-out photographs as colorized: mean of the length of (a*, b*) over all pixels, unscaled."""
    true_mean_chroma: float | None = None
    """Of the same photographs themselves."""
    hue_concentration: float | None = None
    """Of the held-out photographs as colorized: length of the mean (a*, b*) over all pixels, divided by
    `mean_chroma`. In [0, 1]: 0 when hues balance each other, 1 when there is one."""
    true_hue_concentration: float | None = None
    """Of the same photographs themselves."""
    generator_gradient_norm: float | None = None
    """Mean over the epoch's steps of the 2-norm of all gradients of the generator together, before any clipping."""
    discriminator_gradient_norm: float | None = None
    """The same of the discriminator."""

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> "Epoch":
        """Pick what is judged from an epoch of the trainer's history."""
        picked = {each.name: measured.get(each.name) for each in fields(cls)}
        entropy = measured.get("adversarial_entropy_loss")
        return cls(**picked if entropy is None else picked | {"adversarial_loss": entropy})


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From where on a number is an alarm. All are compared with medians over `window` epochs.

    Raises `SettingsError`, with the field's name in it, if a value is out of range.
    """

    window: int = 5
    """Epochs that are judged together; before so many there is no alarm, because every run begins gray."""
    no_gradient: float = 1e-6
    """A gradient norm below this is none. Healthy ones are about 0.01 to 100."""
    fooled: float = 0.05
    """An adversarial loss below this: made-up colour passes for real with a probability above 95 %."""
    exploding: float = 8.0
    """An adversarial loss above this: made-up colour passes for real with a probability below 0.03 %."""
    certain: float = 0.98
    """Accuracy above which, with an exploding adversarial loss, the discriminator is ahead. Alone it is none: beside
    a strong reconstruction term a discriminator is often right, and the generator learns on."""
    guessing: float = 0.55
    """Accuracy below which the discriminator is behind."""
    gray: float = 0.2
    """Share of the true mean chroma below which the output is gray. Averaging over what may be true costs half of it,
    in a healthy run too."""
    one_hue: float = 0.9
    """Hue concentration above which the output has one hue."""
    beyond_truth: float = 0.2
    """So much more must it be than that of the true colour, which may have one hue by nature."""

    def __post_init__(self) -> None:
        """Check every field."""
        _require("window", self.window, self.window >= 1, "at least 1")
        for name in ("no_gradient", "fooled", "exploding"):
            _require(name, getattr(self, name), 0.0 <= getattr(self, name) < math.inf, "at least 0")
        for name in ("certain", "guessing", "gray", "one_hue", "beyond_truth"):
            _require(name, getattr(self, name), 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")


@dataclass(frozen=True)
class Verdict:
    """How adversarial training stands after an epoch."""

    state: State
    sentence: str
    """Says so to people."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do when the networks are out of balance: for each failure the name of an `Action`.

    Raises `SettingsError`, with the field's name in it, if a value is not one that there is.
    """

    not_finite: str = "stop"
    dead_gradients: str = "stop"
    generator_collapsed: str = "retrain_discriminator"
    discriminator_ahead: str = "lower_learning_rate"
    discriminator_behind: str = "retrain_discriminator"
    gray_collapse: str = "warn"
    orange_collapse: str = "warn"
    repeat_every: int = 5
    """Epochs that an action is given to work before it is taken again, while the failure lasts."""
    stop_after: int = 0
    """End the run when a failure has lasted for so many epochs; 0 never does."""
    lower_by: float = 0.5
    """What a lowered step size is multiplied by; in (0, 1)."""

    def __post_init__(self) -> None:
        """Check every field."""
        for state in State:
            action = getattr(self, state, Action.GO_ON)
            _require(state, action, action in list(Action), f"one of {', '.join(Action)}")
        _require("repeat_every", self.repeat_every, self.repeat_every >= 1, "at least 1")
        _require("stop_after", self.stop_after, self.stop_after >= 0, "at least 0")
        _require("lower_by", self.lower_by, 0.0 < self.lower_by < 1.0, "between 0 and 1")


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


def _require(name: str, value: object, fine: bool, what: str) -> None:
    if not fine:
        raise SettingsError(f"{name} must be {what}, not {value!r}")
