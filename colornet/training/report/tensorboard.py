"""The history of a run as a file of events for TensorBoard."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from colornet.training.report.history import History, epochs, number, numbers, words
from colornet.training.report.panels import jpeg, shrink

TAGS = {
    "losses": (
        "generator_loss",
        "adversarial_loss",
        "adversarial_entropy_loss",
        "reconstruction_loss",
        "distribution_loss",
        "perceptual_loss",
        "discriminator_loss",
        "gradient_penalty_loss",
    ),
    "held_out": (
        "held_out_error",
        "psnr",
        "mean_chroma",
        "true_mean_chroma",
        "hue_concentration",
        "true_hue_concentration",
    ),
    "discriminator": ("discriminator_accuracy", "accuracy_after_retraining", "retraining_steps"),
    "gradients": ("generator_gradient_norm", "discriminator_gradient_norm"),
    "learning_rates": ("generator_learning_rate", "discriminator_learning_rate"),
    "speed": ("photographs_per_second", "waiting_for_data", "seconds"),
    "run": ("epoch", "photographs", "workers", "nearly_gray"),
}
"""Groups of tags, and the names in the history of what is in them."""


def events(history: History, panels: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """Return the content of an event file: scalars under `TAGS`, such as "losses/generator_loss", the verdicts as text,
    panels as pictures.

    An epoch's events follow those of the epochs before it, so the file of a longer history begins with the bytes of a
    shorter one: a reader that has come to its end can go on from there. TensorBoard does with `--load_fast=false`; its
    fast loader holds on to a local file that has been replaced.

    Args:
        history: what was measured, epoch by epoch. `steps` is the step of an epoch's events, and `finished` their time;
            where they are missing, the epoch's number and the time of the epoch before (1970 for the first).
        panels: epochs and their panels (PNG). Those of epochs that are not in the history, and damaged ones, are left
            out.

    Returns:
        Records of TensorBoard events; nothing for an empty history.
    """
    from tensorboardX import RecordWriter
    from tensorboardX.proto.event_pb2 import Event

    if not history:
        return b""
    pictures = dict(panels)
    steps, moments = _steps(history), _moments(history)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        writer.write(Event(wall_time=moments[0], file_version="brain.Event:2").SerializeToString())
        for epoch, measured, step, moment in zip(epochs(history), history, steps, moments, strict=True):
            for summary in _summaries(epoch, measured, pictures.get(epoch)):
                writer.write(Event(wall_time=moment, step=step, summary=summary).SerializeToString())
        writer.close()
        return path.read_bytes()


def _steps(history: History) -> list[int]:
    return [
        epoch if math.isnan(steps) else int(steps)
        for epoch, steps in zip(epochs(history), numbers(history, "steps"), strict=True)
    ]


def _moments(history: History) -> list[float]:
    moments, latest = [], 0.0
    for finished in numbers(history, "finished"):
        latest = latest if math.isnan(finished) else finished
        moments.append(latest)
    return moments


def _summaries(epoch: int, measured: Mapping[str, Any], panel: bytes | None) -> Iterator[Any]:
    from tensorboardX import summary

    for group, names in TAGS.items():
        for name in names:
            value = number(measured.get(name))
            if not math.isnan(value):
                yield summary.scalar(f"{group}/{name}", value)
    if measured.get("verdict"):
        yield summary.text("verdict", _verdict(epoch, measured))
    picture = panel and shrink(panel)
    if picture:
        yield _image("held_out_photographs", picture)


def _verdict(epoch: int, measured: Mapping[str, Any]) -> str:
    action = words(str(measured.get("action") or "go_on"))
    sentence = str(measured.get("verdict_sentence") or "")
    return f"Epoch {epoch}: {words(str(measured['verdict']))}: {sentence}. Action: {action}."


def _image(tag: str, picture: Any) -> Any:
    """Make a summary of a JPEG; tensorboardX would write a PNG, many times as large."""
    from tensorboardX.proto.summary_pb2 import Summary

    image = Summary.Image(width=picture.width, height=picture.height, colorspace=3, encoded_image_string=jpeg(picture))
    return Summary(value=[Summary.Value(tag=tag, image=image)])
