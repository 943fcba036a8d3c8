"""What a terminal is told of a run: a line for each epoch, and now and then one within it."""

import time
from collections.abc import Callable

from colornet.training.callbacks import Progress
from colornet.training.health import Action
from colornet.training.recipe import Recipe
from colornet.training.trainer import Measured

LINE_EVERY = 10.0
"""Seconds between two lines of progress within an epoch."""

Say = Callable[[str], None]
"""Prints a line, or does nothing on all workers but the first."""


def epoch_line(measured: Measured, recipe: Recipe) -> str:
    """Say in one line how an epoch went."""
    told = [
        f"{name} {measured[f'{name}_loss']:.3f}"
        for name in ("generator", "discriminator")
        if f"{name}_loss" in measured
    ]
    if "discriminator_accuracy" in measured:
        steps, after = measured["retraining_steps"], measured["accuracy_after_retraining"]
        retrained = f" (after {steps} steps of retraining {after:.0%})" if steps else ""
        told.append(f"its accuracy {measured['discriminator_accuracy']:.0%}{retrained}")
    rate, waiting = measured["photographs_per_second"], measured["waiting_for_data"]
    told += [
        f"held-out error {measured['held_out_error']:.1f}",
        f"{rate:.0f} photographs/s ({waiting:.0%} waiting for them)",
    ]
    if measured["nearly_gray"]:
        told.append(f"{measured['nearly_gray']} nearly gray ones left out")
    if "verdict" in measured:
        done = "" if measured["action"] == Action.GO_ON else f" ({measured['action'].replace('_', ' ')})"
        told.append(measured["verdict_sentence"] + done)
    return f"epoch {measured['epoch']}/{recipe.epochs} ({measured['stage']}): {', '.join(told)}"


def report_progress(say: Say) -> Callable[[Progress], None]:
    """Return what says now and then how far the run is."""
    said = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            losses = ", ".join(
                f"{name.removesuffix('_loss')} {value:.3f}"
                for name, value in now.losses.items()
                if name.endswith("_loss")
            )
            pace = f"{now.photographs_per_second:.0f} photographs/s, {_left(now.seconds_left)}"
            say(f"{now.stage}, step {now.step}/{now.steps}: {losses}, {pace}")

    return show


def _left(seconds: float) -> str:
    return f"{seconds / 60:.0f} min left" if seconds >= 120 else f"{seconds:.0f} s left"
