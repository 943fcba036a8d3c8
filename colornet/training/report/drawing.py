"""How matplotlib draws a run: its plot, and the curves of a topic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from colornet.training.health import State
from colornet.training.report.history import History, Stretch, epochs, is_measured, numbers, stretches, words
from colornet.training.report.topics import BLUE, OTHER_VERDICT, RED, VERDICTS, Line, Topic

if TYPE_CHECKING:  # loaded where it is used, because workers draw panels alone and need not load it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKED = 60
"""Up to so many epochs each has a dot."""
_LEGEND: dict[str, Any] = {
    "loc": "outside lower center",
    "frameon": False,
    "fontsize": "small",
    "handlelength": 1.6,
    "columnspacing": 1.2,
}


def title_of(history: History) -> str:
    """Name what is drawn by `draw_run`."""
    return "Adversarial training" if _is_adversarial(history) else "The training"


def _is_adversarial(history: History) -> bool:
    return is_measured(history, "adversarial_loss", "discriminator_accuracy")


def draw_run(figure: Figure, history: History, title: str | None) -> None:
    """Draw losses, discriminator accuracy or held-out error, stages and verdicts over the epochs."""
    from matplotlib.patches import Patch

    losses = figure.add_subplot(title=title)
    losses.set_ylabel("generator loss", color=BLUE)
    lines = [
        _curve(losses, history, Line("generator_loss", "generator loss, all terms", BLUE)),
        _curve(losses, history, Line("adversarial_loss", "adversarial term", BLUE, ":")),
    ]
    _fit(losses, history, (0.0, None))
    lines.append(_draw_on_the_right(losses.twinx(), history))
    _part_stages(losses, history, named=True)
    verdicts = [stretch for stretch in stretches(history, "verdict") if stretch.value]
    for stretch in verdicts:
        _band(losses, stretch)
    names = dict.fromkeys(stretch.value for stretch in verdicts)
    patches = [Patch(color=VERDICTS.get(name, OTHER_VERDICT), label=_label(words(name))) for name in names]
    handles = [*(line for line in lines if _drawn(line)), *patches]
    legend = figure.legend(handles=handles, ncols=int(figure.get_figwidth() / 2.3), **_LEGEND)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_on_the_right(axes: Axes, history: History) -> Any:
    """Draw the discriminator's accuracy, or without a discriminator, how far the generator is from the truth."""
    if not _is_adversarial(history):
        axes.set_ylabel("mean a*b* distance\non held-out photographs", color=RED)
        drawn = _curve(axes, history, Line("held_out_error", "held-out error", RED))
        _fit(axes, history, (0.0, None))
        return drawn
    axes.set_ylabel("discriminator accuracy\non held-out photographs", color=RED)
    axes.axhline(0.5, color=RED, linewidth=0.5)
    axes.set_ylim(0, 1.02)
    return _curve(axes, history, Line("discriminator_accuracy", "discriminator accuracy", RED))


def draw_topic(figure: Figure, topic: Topic, history: History) -> None:
    """Draw the curves of a topic, all of which have numbers, over the epochs."""
    axes = figure.add_subplot(ylabel=topic.axis)
    for line in topic.lines:
        _curve(axes, history, line)
    if topic.reference is not None:
        axes.axhline(topic.reference, color="gray", linewidth=0.5)
    if topic.limits is None:
        _scale(axes, [value for line in topic.lines for value in numbers(history, line.name)])
    _fit(axes, history, topic.limits or (None, None))
    _part_stages(axes, history, named=False)
    if len(topic.lines) > 1:
        figure.legend(ncols=min(3, len(topic.lines)), **_LEGEND)


def _curve(axes: Axes, history: History, line: Line) -> Any:
    """Draw one curve: a gap where nothing was measured, dots if there is room, and always one on an epoch alone."""
    values = [value * line.factor for value in numbers(history, line.name)]
    padded = [math.nan, *values, math.nan]
    alone = [place for place in range(len(values)) if math.isnan(padded[place]) and math.isnan(padded[place + 2])]
    dots = list(range(len(values))) if len(values) <= _MARKED else alone
    return axes.plot(
        epochs(history), values, line.style, marker="o", markersize=3.5, markevery=dots, color=line.colour,
        label=line.label,
    )[0]  # fmt: skip


def _drawn(line: Any) -> bool:
    return not all(math.isnan(value) for value in line.get_ydata())


def _fit(axes: Axes, history: History, limits: tuple[float | None, float | None]) -> None:
    """Let the horizontal axis have whole epochs, and the vertical one these limits unless a curve goes below them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if history:
        axes.set_xlim(min(epochs(history)) - 0.5, max(epochs(history)) + 0.5)
    bottom, top = limits
    lowest, highest = axes.dataLim.intervaly
    if bottom is not None and bottom <= lowest <= highest:  # both are infinite where there is no curve
        axes.set_ylim(bottom, top or 1.05 * highest or 1)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic if that is possible and of use."""
    finite = [value for value in values if not math.isnan(value)]
    if min(finite) > 0 and max(finite) / min(finite) > 5:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 5))


def _part_stages(axes: Axes, history: History, *, named: bool) -> None:
    found = stretches(history, "stage")
    for place, stage in enumerate(found):
        if place > 0:
            axes.axvline(stage.first - 0.5, color="gray", linewidth=0.8, linestyle="--")
        if named and stage.value:  # in two rows, because a stage can be shorter than its name
            axes.annotate(
                _label(stage.value), (stage.first - 0.5, 1), (2, 2 + 11 * (place % 2)), axes.get_xaxis_transform(),
                textcoords="offset points", fontsize="small", color="gray", parse_math=False,
            )  # fmt: skip


def _band(axes: Axes, verdict: Stretch) -> None:
    colour = VERDICTS.get(verdict.value, OTHER_VERDICT)
    axes.axvspan(verdict.first - 0.5, verdict.last + 0.5, 0, 0.025, color=colour, linewidth=0)
    if verdict.value != State.HEALTHY:
        axes.axvspan(verdict.first - 0.5, verdict.last + 0.5, color=colour, alpha=0.18, linewidth=0)


def _label(text: str) -> str:
    """Make any text fit for a figure."""
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return printable if len(printable) <= 24 else printable[:23] + "…"
