"""The curves of a run as pictures: its plot, and one figure for each topic that has numbers."""

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from colornet.training.report.drawing import draw_run, draw_topic, title_of
from colornet.training.report.history import History, is_measured
from colornet.training.report.svg import svg
from colornet.training.report.topics import TOPICS

PLOT_SIZE = (1000, 560)
"""Width and height of the plot, pixels."""
_FIRST = ("generator_loss", "adversarial_loss", "discriminator_accuracy")


class Figure(NamedTuple):
    """A figure of a page."""

    title: str
    svg: Any
    """An `svg` element, as `svg` makes it."""
    good: str = ""
    """A sentence on what good curves look like; empty if there is none."""


def plot(history: History) -> bytes:
    """Plot generator loss (blue) and discriminator accuracy (red) over the epochs: a PNG of `PLOT_SIZE`.

    Without a discriminator, the held-out error stands in for its accuracy. Failures are coloured bands, named in the
    legend; below the curves a line has every epoch's verdict. Dashed lines part the stages.

    Args:
        history: what was measured, epoch by epoch.
    """
    from matplotlib.figure import Figure  # workers draw panels alone and need not load it

    figure = Figure(figsize=(PLOT_SIZE[0] / 100, PLOT_SIZE[1] / 100), dpi=100, layout="constrained")
    draw_run(figure, history, title_of(history))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def figures(history: History) -> Iterator[Figure]:
    """Draw all topics that have numbers, the plot of the run first; `history` is what was measured, epoch by epoch."""
    if is_measured(history, *_FIRST):
        yield Figure(title_of(history), svg("run", (7.0, 4.2), partial(draw_run, history=history, title=None)))
    for topic in TOPICS:
        lines = [line for line in topic.lines if is_measured(history, line.name)]
        if lines:
            drawn = replace(topic, lines=lines)
            drawing = svg(topic.title, (5.4, 3.3), partial(draw_topic, topic=drawn, history=history))
            yield Figure(topic.title, drawing, topic.good)
