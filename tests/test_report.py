"""Panels and plot are pictures of the right size that show what they should."""

import io
import json

import numpy as np
import torch
from PIL import Image

from colornet import color
from colornet.training import report


def decode(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_panel_shows_truth_gray_and_colour():
    photographs = torch.empty(2, 3, 50, 50, dtype=torch.uint8)
    photographs[0] = torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None]
    photographs[1] = torch.tensor([40, 40, 200], dtype=torch.uint8)[:, None, None]
    _, truth = color.split_scaled(photographs)
    picture = decode(report.panel(photographs, truth.flip(0)))  # each is colorized as the other is
    side = 150  # 50 pixels, three times
    assert picture.shape == (
        report.HEADER + 2 * (side + report.GAP) + report.GAP,
        3 * (side + report.GAP) + report.GAP,
        3,
    )
    middles = [[middle(picture, row, column, side) for column in range(3)] for row in range(2)]
    assert middles[0][0].tolist() == [200, 40, 40] and middles[1][0].tolist() == [40, 40, 200]
    for row in middles:
        assert np.ptp(row[1]) <= 1  # gray
    assert middles[0][2][2] > middles[0][2][0] and middles[1][2][0] > middles[1][2][2]  # blue for red, red for blue
    assert (picture[: report.HEADER] < 128).any(), "the titles are missing"


def middle(picture: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    top = report.HEADER + report.GAP + row * (side + report.GAP) + side // 2
    return picture[top, report.GAP + column * (side + report.GAP) + side // 2].astype(int)


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "generator_loss": 5 - epoch / 2,
            "adversarial_loss": 1 + epoch / 10,
            "discriminator_accuracy": 0.9 - epoch / 20,
        }
        for epoch in range(1, epochs + 1)
    ]


def test_the_plot_is_blue_and_red():
    for epochs in (1, 5):
        picture = decode(report.plot(history(epochs))).astype(int)
        assert picture.shape[1::-1] == report.PLOT_SIZE
        red, green, blue = picture.reshape(-1, 3).T
        assert ((blue > 150) & (red < 60)).sum() > 100
        assert ((red > 190) & (blue < 60) & (green < 60)).sum() > 100


def test_the_table_is_json():
    assert json.loads(report.table(history(3))) == history(3)
