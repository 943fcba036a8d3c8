"""What people look at: panels of held-out photographs and the plot of the duel, as PNG bytes."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colornet import color

COLUMNS = ("ground truth", "grayscale", "colorized")
CELL = 128
"""Side in pixels that small photographs are enlarged to at least."""
GAP = 4
HEADER = 24
PLOT_SIZE = (1000, 560)
"""Width and height of the plot, pixels."""


def panel(photographs: Tensor, predicted: Tensor) -> bytes:
    """Draw held-out photographs, one a row, as "ground truth | grayscale | colorized".

    Args:
        photographs: (N, 3, S, S), sRGB uint8, N at least 1.
        predicted: (N, 2, S, S), scaled a*b* in [-1, 1], float32.

    Returns:
        A PNG: a header, then N rows of three pictures that are enlarged by a whole factor to at least `CELL` pixels.
    """
    photographs, predicted = photographs.cpu(), predicted.cpu().float()
    lightness, _ = color.split_scaled(photographs)
    gray = color.join_scaled(lightness, color.scale_ab(torch.zeros_like(predicted)))
    columns = [photographs, _to_bytes(gray), _to_bytes(color.join_scaled(lightness, predicted))]
    factor = -(-CELL // photographs.shape[-1])
    cells = torch.stack(columns, dim=1).repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    return _png(_grid(cells.permute(0, 1, 3, 4, 2).numpy()))


def plot(history: Sequence[Mapping[str, float]]) -> bytes:
    """Plot generator loss (blue) and discriminator accuracy (red) over the epochs: a PNG of `PLOT_SIZE`.

    Args:
        history: what `Trainer.run_epoch` returned, epoch by epoch.
    """
    from matplotlib.figure import Figure  # here, because workers draw panels alone and need not load it
    from matplotlib.ticker import MaxNLocator

    epochs = [each["epoch"] for each in history]
    figure = Figure(figsize=(PLOT_SIZE[0] / 100, PLOT_SIZE[1] / 100), dpi=100, layout="constrained")
    losses = figure.add_subplot(title="The duel", xlabel="epoch")
    losses.set_ylabel("generator loss", color="tab:blue")
    losses.plot(epochs, [each["generator_loss"] for each in history], "o-", color="tab:blue", label="all terms")
    losses.plot(epochs, [each["adversarial_loss"] for each in history], ":", color="tab:blue", label="adversarial term")
    losses.set_ylim(bottom=0)
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend(loc="upper left")
    accuracy = losses.twinx()
    accuracy.set_ylabel("discriminator accuracy on held-out photographs", color="tab:red")
    accuracy.plot(epochs, [each["discriminator_accuracy"] for each in history], "o-", color="tab:red")
    accuracy.axhline(0.5, color="tab:red", linewidth=0.5)
    accuracy.set_ylim(0, 1.02)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def table(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the history as JSON: a list with one object an epoch."""
    return (json.dumps(list(history), indent=2, allow_nan=False) + "\n").encode()


def _grid(cells: np.ndarray) -> Image.Image:
    """Lay out (rows, columns, S, S, 3) uint8 under a header."""
    rows, columns, side = cells.shape[:3]
    width = columns * (side + GAP) + GAP
    canvas = Image.new("RGB", (width, HEADER + rows * (side + GAP) + GAP), "lightgray")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(COLUMNS):
        left = GAP + column * (side + GAP)
        draw.text((left + side / 2, HEADER / 2), title, fill="black", anchor="mm", font=ImageFont.load_default(14))
        for row in range(rows):
            canvas.paste(Image.fromarray(cells[row, column]), (left, HEADER + GAP + row * (side + GAP)))
    return canvas


def _to_bytes(rgb: Tensor) -> Tensor:
    return (rgb * 255).round().to(torch.uint8)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
