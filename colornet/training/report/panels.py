"""Panels: held-out photographs as they were, in gray, and as they are colorized."""

import io

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from colornet.color import lab

COLUMNS = ("ground truth", "grayscale", "colorized")
CELL = 128
"""Side in pixels that small photographs are enlarged to at least."""
GAP = 4
HEADER = 24
_BACKGROUND = 211  # light gray
EMBEDDED_SIZE = (512, 4096)
"""Width and height that an embedded panel has at most, pixels."""


def panel(photographs: Tensor, predicted: Tensor) -> bytes:
    """Draw held-out photographs, one a row, as "ground truth | grayscale | colorized".

    Args:
        photographs: (N, 3, S, S), sRGB uint8, N at least 1.
        predicted: (N, 2, S, S), scaled a*b* in [-1, 1], float32.

    Returns:
        A PNG: a header, then N rows of three pictures that are enlarged by a whole factor to at least `CELL` pixels.
    """
    photographs, predicted = photographs.cpu(), predicted.cpu().float()
    lightness, _ = lab.split_scaled(photographs)
    gray = lab.join_scaled(lightness, lab.scale_ab(torch.zeros_like(predicted)))
    columns = [photographs, _to_bytes(gray), _to_bytes(lab.join_scaled(lightness, predicted))]
    factor = -(-CELL // photographs.shape[-1])
    cells = torch.stack(columns, dim=1).repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    grid = make_grid(cells.flatten(0, 1), nrow=len(COLUMNS), padding=GAP, pad_value=_BACKGROUND)
    return _png(_titled(Image.fromarray(grid.permute(1, 2, 0).numpy()), cells.shape[-1]))


def shrink(encoded: bytes) -> Image.Image | None:
    """Open a panel, made small enough to embed many of them; None if it is damaged.

    Args:
        encoded: a panel as PNG.

    Returns:
        The same in RGB, at most `EMBEDDED_SIZE` pixels wide and high.
    """
    try:
        picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all of them mean a damaged PNG
        return None
    picture.thumbnail(EMBEDDED_SIZE)
    return picture


def jpeg(picture: Image.Image) -> bytes:
    """Encode a picture as JPEG with its chroma at full size, because colour is what panels are looked at for."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85, subsampling=0, optimize=True)
    return buffer.getvalue()


def _titled(grid: Image.Image, side: int) -> Image.Image:
    """Put a header with the columns' titles over a grid of pictures of so many pixels a side."""
    canvas = Image.new("RGB", (grid.width, HEADER + grid.height), (_BACKGROUND,) * 3)
    canvas.paste(grid, (0, HEADER))
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(COLUMNS):
        middle = GAP + column * (side + GAP) + side / 2
        draw.text((middle, HEADER / 2), title, fill="black", anchor="mm", font=ImageFont.load_default(14))
    return canvas


def _to_bytes(rgb: Tensor) -> Tensor:
    return (rgb * 255).round().to(torch.uint8)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
