"""The page of a run: one file of HTML that needs no other, runs no script and opens from a disk."""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from lxml import html

from colornet.training.report import curves
from colornet.training.report.history import History, Stretch, epochs, number, numbers, stretches, words
from colornet.training.report.markup import E, nested, table, text
from colornet.training.report.panels import jpeg, shrink

SHOWN_PANELS = 8


def page(history: History, panels: Sequence[tuple[int, bytes]], about: Mapping[str, Any]) -> bytes:
    """Write the page of a run in UTF-8: how it stands, curves, verdicts, panels, what it was made of and how fast.

    The same arguments give the same bytes.

    Args:
        history: what was measured, epoch by epoch.
        panels: epochs and their panels (PNG). At most `SHOWN_PANELS` are shown: the first, the last, and some between.
        about: `name` of the run, and plain data under `recipe`, `data` (counts, sources, licences) and `hardware`.
            What is missing has no section.
    """
    name = text(about.get("name") or "Training")
    body = E.body(
        E.header(E.h1(name), *_state(history)),
        *_section("Curves", _curves(history)),
        *_section("Verdicts", _verdicts(history)),
        *_section("Held-out photographs through time", _panels(panels)),
        *(part for key in ("recipe", "data", "hardware") for part in _section(key.title(), _plain(about.get(key)))),
        *_section("Throughput", _throughput(history)),
    )
    head = E.head(
        E.meta(charset="utf-8"),
        E.meta(name="viewport", content="width=device-width, initial-scale=1"),
        E.title(name),
        E.style(_STYLE),
    )
    return html.tostring(E.html(head, body, lang="en"), doctype="<!doctype html>", encoding="utf-8") + b"\n"


def _section(title: str, content: Sequence[Any]) -> list[Any]:
    return [E.section(E.h2(title), *content)] if content else []


def _plain(value: object) -> list[Any]:
    return [E.div(nested(value), {"class": "wide"})] if value else []


# --- how it stands ----------------------------------------------------------------------------------------------------


def _state(history: History) -> list[Any]:
    if not history:
        return [E.p("No epoch is finished yet.")]
    last = history[-1]
    stage = f", stage “{text(last['stage'])}”" if last.get("stage") else ""
    sentence = text(last.get("verdict_sentence") or "")
    verdict = [E.p(_badge(str(last["verdict"])), " " + sentence)] if last.get("verdict") else []
    facts = [E.div(E.dt(title), E.dd(value)) for title, value in _facts(history) if value]
    return [E.p(f"After epoch {epochs(history)[-1]}{stage}."), *verdict, E.dl(*facts)]


def _badge(verdict: str) -> Any:
    style = f"background: {curves.verdict_colour(verdict)}"
    return E.span(E.i({"style": style}), text(words(verdict)), {"class": "badge"})


def _facts(history: History) -> list[tuple[str, str]]:
    """Return what is said at the top, and text for it; empty where nothing was measured."""
    now = {name: number(value) for name, value in history[-1].items()}

    def say(name: str, format: str) -> str:
        value = now.get(name, math.nan)
        return "" if math.isnan(value) else format.format(value)

    chroma, truth = say("mean_chroma", "{:.1f}"), say("true_mean_chroma", "{:.1f}")
    return [
        ("held-out error, units of a*b*", say("held_out_error", "{:.2f}")),
        ("best held-out error", _best(history)),
        ("PSNR", say("psnr", "{:.1f} dB")),
        ("mean chroma", f"{chroma}, true {truth}" if chroma and truth else chroma),
        ("steps", say("steps", "{:,.0f}")),
        ("photographs used", say("photographs", "{:,.0f}")),
        ("throughput", say("photographs_per_second", "{:,.1f} photographs/s")),
        ("waiting for data", say("waiting_for_data", "{:.0%} of the time")),
        ("workers", say("workers", "{:.0f}")),
        ("time spent", _duration(numbers(history, "seconds"))),
        ("last epoch ended", _moment(now.get("finished", math.nan))),
    ]


def _best(history: History) -> str:
    errors = [pair for pair in zip(numbers(history, "held_out_error"), epochs(history), strict=True) if pair[0] >= 0]
    return "{:.2f} in epoch {}".format(*min(errors)) if errors else ""


def _duration(seconds: Sequence[float]) -> str:
    measured = [each for each in seconds if not math.isnan(each)]
    minutes, rest = divmod(round(sum(measured)), 60)
    if not measured:
        return ""
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # NaN, or no time that there is
        return ""


# --- curves, verdicts, panels, throughput -----------------------------------------------------------------------------


def _curves(history: History) -> list[Any]:
    drawn = [E.figure(E.figcaption(title), svg) for title, svg in curves.figures(history)]
    return [E.div(*drawn, {"class": "curves"})] if drawn else []


def _verdicts(history: History) -> list[Any]:
    merged = stretches(history, "verdict")
    if not any(stretch.value for stretch in merged):
        return []
    lines = (
        (
            stretch.title,
            _badge(stretch.value) if stretch.value else "not judged",
            str(stretch.history[-1].get("verdict_sentence") or ""),
            _actions(stretch),
        )
        for stretch in merged
    )
    return [table(("epochs", "verdict", "in words, at the end", "what was done"), lines)]


def _actions(stretch: Stretch) -> str:
    """Say what was done, and after which epochs."""
    done: dict[str, list[str]] = {}
    for epoch, each in zip(epochs(stretch.history), stretch.history, strict=True):
        action = str(each.get("action") or "go_on")
        if action != "go_on":
            done.setdefault(action, []).append(str(epoch))
    return "; ".join(f"{words(action)} (epoch {', '.join(after)})" for action, after in done.items())


def _panels(given: Sequence[tuple[int, bytes]]) -> list[Any]:
    """Show panels beside one another, the newest first: along a row is one photograph through time."""
    ordered = sorted(given, key=lambda pair: pair[0])
    places = np.linspace(0, len(ordered) - 1, min(SHOWN_PANELS, len(ordered))).round().astype(int)
    shown = [_panel(*ordered[place]) for place in reversed(places)]
    return [E.div(*shown, {"class": "strip"})] if shown else []


def _panel(epoch: int, encoded: bytes) -> Any:
    caption = f"epoch {epoch}"
    picture = shrink(encoded)
    if picture is None:
        return E.figure(E.figcaption(f"{caption}: the panel is damaged"))
    source = "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()
    size = {"width": str(picture.width), "height": str(picture.height)}
    return E.figure(E.figcaption(caption), E.img(size, src=source, alt=f"panel of {caption}"))


def _throughput(history: History) -> list[Any]:
    lines = [_pace(stage) for stage in stretches(history, "stage")]
    if not any(any(line[2:]) for line in lines):
        return []
    return [table(("epochs", "stage", "time", "photographs/s", "waiting for data", "left out as nearly gray"), lines)]


def _pace(stage: Stretch) -> tuple[str, ...]:
    """Return a line of the table; means are weighted with the epochs' seconds."""
    seconds = numbers(stage.history, "seconds")

    def mean(name: str, format: str) -> str:
        pairs = zip(numbers(stage.history, name), seconds, strict=True)
        known = [(value, weight) for value, weight in pairs if not math.isnan(value) and weight > 0]
        whole = sum(weight for _, weight in known)
        return format.format(sum(value * weight for value, weight in known) / whole) if known else ""

    gray = [value for value in numbers(stage.history, "nearly_gray") if not math.isnan(value)]
    return (
        stage.title,
        stage.value,
        _duration(seconds),
        mean("photographs_per_second", "{:,.1f}"),
        mean("waiting_for_data", "{:.0%}"),
        f"{sum(gray):,.0f}" if gray else "",
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --faint: #f1f1ee; --line: #ccc; --quiet: #666; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #17181a; --faint: #232528; --line: #44474b; --quiet: #a0a0a0; }
}
@media print { :root { --ink: #000; --paper: #fff; --faint: #fff; --line: #999; --quiet: #444; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 76rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word; }
h1 { margin: .5rem 0; line-height: 1.2; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); font-size: 1.25rem; }
header p { margin: .25rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem; margin: 1rem 0; }
dl div { padding: .5rem .75rem; border-radius: .4rem; background: var(--faint); }
dt { color: var(--quiet); font-size: .8rem; }
dd { margin: 0; font-weight: 600; }
.badge { font-weight: 600; white-space: nowrap; }
.badge i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 50%; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem; }
.curves figure:first-child { grid-column: 1 / -1; width: 100%; max-width: 52rem; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: .9rem; color: var(--quiet); }
svg { display: block; width: 100%; height: auto; }
.strip { display: flex; gap: .75rem; overflow-x: auto; padding-bottom: .5rem; }
.strip figure { flex: none; }
.strip img { display: block; width: 24rem; max-width: 88vw; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .75rem; border: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; background: var(--faint); }
ol { margin: 0; padding-left: 1.5rem; }
@media print {
  body { max-width: none; font-size: 11pt; print-color-adjust: exact; }
  .strip { flex-wrap: wrap; overflow: visible; }
  .strip img { width: 16rem; }
  .wide { overflow: visible; }
  tr { break-inside: avoid; }
}
"""
