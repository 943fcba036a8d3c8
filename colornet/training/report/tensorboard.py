"""The history of a run as files of events for TensorBoard."""

import math
from collections.abc import Iterator, Mapping
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
        "gain_a",
        "gain_b",
        "bias_a",
        "bias_b",
        "correlation_a",
        "correlation_b",
        "worse_than_gray",
    ),
    "discriminator": ("discriminator_accuracy", "accuracy_after_retraining", "retraining_steps"),
    "gradients": ("generator_gradient_norm", "discriminator_gradient_norm"),
    "learning_rates": ("generator_learning_rate", "discriminator_learning_rate"),
    "speed": ("photographs_per_second", "waiting_for_data", "seconds"),
    "run": ("epoch", "photographs", "workers", "nearly_gray"),
}
"""Groups of tags, and the names in the history of what is in them."""


class EventFile:
    """The events of a run since it was started or went on, each epoch's appended to those before.

    A run that goes on from a checkpoint has a file of its own, whose name comes after those of the earlier ones. It
    begins with what makes readers forget all events from the checkpoint's epoch on, and with those of that epoch.
    """

    def __init__(self, path: Path, resumed: History = (), panel: bytes | None = None) -> None:
        """Begin a file.

        Args:
            path: of the file, in a folder that there is. "tfevents" must be in its name.
            resumed: the epochs up to the checkpoint; none for a new run.
            panel: of the last of them.

        Raises:
            OSError: if it cannot be written; so do all methods.
        """
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._writer = RecordWriter(str(path))
        moment, step = _moment(resumed), _step(resumed) if resumed else 0
        self._write(wall_time=moment, file_version="brain.Event:2")
        self._write(wall_time=moment, step=step, session_log=SessionLog(status=SessionLog.START))
        if resumed:
            self.add(resumed, panel)
        else:
            self._writer.flush()

    def add(self, history: History, panel: bytes | None = None) -> None:
        """Append the last epoch: scalars under `TAGS`, such as "losses/generator_loss", its verdict as text.

        Args:
            history: what was measured, epoch by epoch; at least one. `steps` is the step of an epoch's events, and
                `finished` their time; where they are missing, the epoch's number and the time of the epoch before
                (1970 for the first).
            panel: of the last epoch (PNG), which is a picture of its events; left out if it is damaged.
        """
        step, moment = _step(history), _moment(history)
        for summary in _summaries(epochs(history)[-1], history[-1], panel):
            self._write(wall_time=moment, step=step, summary=summary)
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(**fields).SerializeToString())


def _step(history: History) -> int:
    steps = number(history[-1].get("steps"))
    return epochs(history)[-1] if math.isnan(steps) else int(steps)


def _moment(history: History) -> float:
    known = [finished for finished in numbers(history, "finished") if not math.isnan(finished)]
    return known[-1] if known else 0.0


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
