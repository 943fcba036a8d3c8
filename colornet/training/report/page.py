"""The page of a run: one file of HTML that needs no other, runs no script and opens from a disk."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from lxml import etree
from markupsafe import Markup

from colornet import pages
from colornet.training.report import curves
from colornet.training.report.history import History, Stretch, epochs, number, numbers, stretches, words
from colornet.training.report.panels import jpeg, shrink
from colornet.training.report.topics import OTHER_VERDICT, VERDICTS

SHOWN_PANELS = 8

_STYLE = "".join(
    f".verdict-{name} {{ background: {colour}; }}\n" for name, colour in {**VERDICTS, "other": OTHER_VERDICT}.items()
)


_ABOUT = ("recipe", "started_from", "data", "hardware")


def page(history: History, panels: Sequence[tuple[int, bytes]], about: Mapping[str, Any]) -> bytes:
    """Write the page of a run in UTF-8: how it stands, curves, verdicts, panels, what it was made of and how fast.

    The same arguments give the same bytes.

    Args:
        history: what was measured, epoch by epoch.
        panels: epochs and their panels (PNG). At most `SHOWN_PANELS` are shown: the first, the last, and some between.
        about: `name` of the run, and plain data under `recipe`, `started_from` (a bundle), `data` (counts,
            sources, licences) and `hardware`. What is missing has no section.
    """
    return pages.render(
        "training.html",
        style=_STYLE,
        title=about.get("name") or "Training",
        state=_state(history),
        figures=[each._replace(svg=_markup(each.svg)) for each in curves.figures(history)],
        verdicts=_verdicts(history),
        panels=_panels(panels),
        about=[(words(key).capitalize(), about[key]) for key in _ABOUT if about.get(key)],
        pace=_throughput(history),
    )


def _markup(svg: Any) -> Markup:
    return Markup(etree.tostring(svg, encoding="unicode"))


# --- how it stands ----------------------------------------------------------------------------------------------------


def _state(history: History) -> dict[str, Any] | None:
    if not history:
        return None
    last = history[-1]
    return {
        "epoch": epochs(history)[-1],
        "stage": last.get("stage"),
        "verdict": _badge(last.get("verdict")),
        "sentence": last.get("verdict_sentence") or "",
        "facts": [(title, value) for title, value in _facts(history) if value],
    }


def _badge(verdict: object) -> dict[str, str] | None:
    """Return a verdict's words and the name of its colour; None if there is none."""
    name = str(verdict or "")
    return {"words": words(name), "colour": name if name in VERDICTS else "other"} if name else None


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
        ("worse than gray by 1 dB", say("worse_than_gray", "{:.0%} of photographs")),
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


# --- verdicts, panels, throughput -----------------------------------------------------------------------------


def _verdicts(history: History) -> list[dict[str, Any]]:
    merged = stretches(history, "verdict")
    if not any(stretch.value for stretch in merged):
        return []
    return [
        {
            "epochs": stretch.title,
            "verdict": _badge(stretch.value),
            "sentence": stretch.history[-1].get("verdict_sentence") or "",
            "actions": _actions(stretch),
        }
        for stretch in merged
    ]


def _actions(stretch: Stretch) -> str:
    """Say what was done, and after which epochs."""
    done: dict[str, list[str]] = {}
    for epoch, each in zip(epochs(stretch.history), stretch.history, strict=True):
        action = str(each.get("action") or "go_on")
        if action != "go_on":
            done.setdefault(action, []).append(str(epoch))
    return "; ".join(f"{words(action)} (epoch {', '.join(after)})" for action, after in done.items())


def _panels(given: Sequence[tuple[int, bytes]]) -> list[dict[str, Any]]:
    """Show panels beside one another, the newest first: along a row is one photograph through time."""
    ordered = sorted(given, key=lambda pair: pair[0])
    places = np.linspace(0, len(ordered) - 1, min(SHOWN_PANELS, len(ordered))).round().astype(int)
    return [_panel(*ordered[place]) for place in reversed(places)]


def _panel(epoch: int, encoded: bytes) -> dict[str, Any]:
    picture = shrink(encoded)
    if picture is None:
        return {"epoch": epoch, "uri": None}
    uri = pages.data_uri(jpeg(picture), "jpeg")
    return {"epoch": epoch, "uri": uri, "width": picture.width, "height": picture.height}


def _throughput(history: History) -> list[tuple[str, ...]]:
    lines = [_pace(stage) for stage in stretches(history, "stage")]
    return lines if any(any(line[2:]) for line in lines) else []


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
