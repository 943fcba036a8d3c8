"""The curves of a run, drawn with matplotlib: its plot, and one figure for each topic that has numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lxml import etree

from colornet.training.health import State
from colornet.training.report.history import History, Stretch, epochs, numbers, stretches, words

if TYPE_CHECKING:  # loaded where it is used, because workers draw panels alone and need not load it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_SIZE = (1000, 560)
"""Width and height of the plot, pixels."""

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
_OTHER_VERDICT = "#444444"


def verdict_colour(name: str) -> str:
    """Return the colour of a verdict, also of one that this version does not know."""
    return VERDICTS.get(name, _OTHER_VERDICT)


def plot(history: History) -> bytes:
    """Plot generator loss (blue) and discriminator accuracy (red) over the epochs: a PNG of `PLOT_SIZE`.

    Where no discriminator fights, the held-out error stands in for its accuracy. Failures are coloured bands, named in
    the legend; below the curves a line has every epoch's verdict. Dashed lines part the stages.

    Args:
        history: what was measured, epoch by epoch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PLOT_SIZE[0] / 100, PLOT_SIZE[1] / 100), dpi=100, layout="constrained")
    _draw_run(figure, history, _title(history))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def figures(history: History) -> Iterator[tuple[str, Any]]:
    """Draw all topics that have numbers, the plot of the run first.

    Args:
        history: what was measured, epoch by epoch.

    Returns:
        For each its title and an `svg` element. Its text is text, in the colour of the page around it, and its
        background is that of the page.
    """
    if _measured(history, *_ADVERSARIAL):
        yield _title(history), _svg("run", (7.0, 4.2), partial(_draw_run, history=history, title=None))
    for topic in _TOPICS:
        lines = [line for line in topic.lines if _measured(history, line.name)]
        if lines:
            drawn = replace(topic, lines=lines)
            yield topic.title, _svg(topic.title, (5.4, 3.3), partial(_draw, topic=drawn, history=history))


# --- what is drawn ----------------------------------------------------------------------------------------------------


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


_BLUE, _RED, _GREEN, _PURPLE, _ORANGE, _BROWN, _TEAL = (
    f"tab:{name}" for name in ("blue", "red", "green", "purple", "orange", "brown", "cyan")
)
_ADVERSARIAL = ("generator_loss", "adversarial_loss", "discriminator_accuracy")
_TOPICS = (
    Topic(
        "Loss terms",
        "mean of the epoch",
        (
            Line("generator_loss", "generator, all terms", _BLUE),
            Line("adversarial_loss", "adversarial", _TEAL),
            Line("adversarial_entropy_loss", "its cross-entropy", _TEAL, ":"),
            Line("reconstruction_loss", "reconstruction", _GREEN),
            Line("distribution_loss", "distribution", _PURPLE),
            Line("perceptual_loss", "perceptual", _ORANGE),
            Line("discriminator_loss", "discriminator", _RED),
            Line("gradient_penalty_loss", "gradient penalty", _BROWN),
        ),
        limits=None,
    ),
    Topic(
        "Held-out error: mean distance from the true a*b*",
        "distance, units of a*b*",
        (Line("held_out_error", "held-out photographs", _BLUE),),
    ),
    Topic(
        "Mean chroma: mean length of (a*, b*)",
        "length, units of a*b*",
        (
            Line("mean_chroma", "as colorized", _BLUE),
            Line("true_mean_chroma", "true colour", _GREEN, "--"),
        ),
    ),
    Topic(
        "Hue concentration: 0 when hues balance each other, 1 when there is one",
        "concentration",
        (
            Line("hue_concentration", "as colorized", _BLUE),
            Line("true_hue_concentration", "true colour", _GREEN, "--"),
        ),
        limits=(0.0, 1.02),
    ),
    Topic(
        "Signal to noise of held-out photographs",
        "PSNR, dB",
        (Line("psnr", "held-out photographs", _BLUE),),
        limits=(None, None),
    ),
    Topic(
        "Discriminator on held-out photographs",
        "accuracy, %",
        (
            Line("discriminator_accuracy", "before retraining", _RED, factor=100),
            Line("accuracy_after_retraining", "after retraining", _ORANGE, "--", factor=100),
        ),
        limits=(0.0, 102.0),
        reference=50.0,
    ),
    Topic(
        "Gradients",
        "2-norm, mean of the epoch",
        (
            Line("generator_gradient_norm", "generator", _BLUE),
            Line("discriminator_gradient_norm", "discriminator", _RED),
        ),
        limits=None,
    ),
    Topic(
        "Learning rates",
        "step size",
        (
            Line("generator_learning_rate", "generator", _BLUE),
            Line("discriminator_learning_rate", "discriminator", _RED, "--"),
        ),
        limits=None,
    ),
    Topic("Throughput of all workers", "photographs/s", (Line("photographs_per_second", "photographs", _BLUE),)),
    Topic(
        "Waiting for data",
        "share of the time, %",
        (Line("waiting_for_data", "waiting", _ORANGE, factor=100),),
        limits=(0.0, 102.0),
    ),
)


def _measured(history: History, *names: str) -> bool:
    return any(not math.isnan(value) for name in names for value in numbers(history, name))


# --- how it is drawn --------------------------------------------------------------------------------------------------

_MARKED = 60
"""Up to so many epochs each has a dot."""
_ON_PAGE = "#012345"
"""Stands for the colour of the page's text, until the figure is an element of the page."""
_SVG_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _ON_PAGE),
}
_LEGEND: dict[str, Any] = {
    "loc": "outside lower center",
    "frameon": False,
    "fontsize": "small",
    "handlelength": 1.6,
    "columnspacing": 1.2,
}
_SVG = "{http://www.w3.org/2000/svg}"


def _title(history: History) -> str:
    return "Adversarial training" if _is_adversarial(history) else "The training"


def _is_adversarial(history: History) -> bool:
    return _measured(history, "adversarial_loss", "discriminator_accuracy")


def _draw_run(figure: Figure, history: History, title: str | None) -> None:
    from matplotlib.patches import Patch

    losses = figure.add_subplot(title=title)
    losses.set_ylabel("generator loss", color=_BLUE)
    lines = [
        _curve(losses, history, Line("generator_loss", "generator loss, all terms", _BLUE)),
        _curve(losses, history, Line("adversarial_loss", "adversarial term", _BLUE, ":")),
    ]
    _fit(losses, history, (0.0, None))
    lines.append(_draw_on_the_right(losses.twinx(), history))
    _part_stages(losses, history, named=True)
    verdicts = [stretch for stretch in stretches(history, "verdict") if stretch.value]
    for stretch in verdicts:
        _band(losses, stretch)
    names = dict.fromkeys(stretch.value for stretch in verdicts)
    patches = [Patch(color=verdict_colour(name), label=_label(words(name))) for name in names]
    handles = [*(line for line in lines if _drawn(line)), *patches]
    legend = figure.legend(handles=handles, ncols=int(figure.get_figwidth() / 2.3), **_LEGEND)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_on_the_right(axes: Axes, history: History) -> Any:
    """Draw the discriminator's accuracy, or where none fights, how far the generator is from the truth."""
    if not _is_adversarial(history):
        axes.set_ylabel("mean a*b* distance\non held-out photographs", color=_RED)
        drawn = _curve(axes, history, Line("held_out_error", "held-out error", _RED))
        _fit(axes, history, (0.0, None))
        return drawn
    axes.set_ylabel("discriminator accuracy\non held-out photographs", color=_RED)
    axes.axhline(0.5, color=_RED, linewidth=0.5)
    axes.set_ylim(0, 1.02)
    return _curve(axes, history, Line("discriminator_accuracy", "discriminator accuracy", _RED))


def _draw(figure: Figure, topic: Topic, history: History) -> None:
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
    colour = verdict_colour(verdict.value)
    axes.axvspan(verdict.first - 0.5, verdict.last + 0.5, 0, 0.025, color=colour, linewidth=0)
    if verdict.value != State.HEALTHY:
        axes.axvspan(verdict.first - 0.5, verdict.last + 0.5, color=colour, alpha=0.18, linewidth=0)


def _label(text: str) -> str:
    """Make any text fit for a figure."""
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return printable if len(printable) <= 24 else printable[:23] + "…"


def _svg(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Any:
    """Draw a figure as an element that can stand in a page beside others."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with matplotlib.rc_context(_SVG_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = etree.fromstring(buffer.getvalue().replace(_ON_PAGE.encode(), b"currentColor"))
    root.remove(root.find(f"{_SVG}metadata"))
    for group in root.iter(f"{_SVG}g"):  # axes_1 and the like, which every figure has
        group.attrib.pop("id", None)
    for attribute in ("width", "height"):
        del root.attrib[attribute]
    root.set("role", "img")
    root.set("aria-label", f"curves over the epochs: {name}")
    return root
