"""Quality against the number of hints: where they are put, what they tell, and what is reported of them."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from colornet.evaluation import hint_curve, measure, photographs
from colornet.evaluation.hint_curve import draw_places, reveal
from colornet.evaluation.learned import Learned
from colornet.evaluation.measure import EvaluationTask, Measure, Model
from colornet.evaluation.reference import Reference
from colornet.evaluation.report import Evaluation
from colornet.evaluation.trivial import Constant
from colornet.metrics.chroma_error import BINS
from tests import pictures
from tests.hinted import echo

SIZE = 32
COUNTS = (0, 1, 5, 50)


@given(st.integers(0, 1000), st.integers(1, 50), st.integers(1, 50))
def test_the_first_places_are_the_same_for_any_count(row, few, many):
    few, many = sorted((few, many))
    places = draw_places(row, many)
    assert places.shape == (many, 2) and np.all((places >= 0) & (places < 1))
    assert np.array_equal(draw_places(row, few), places[:few])
    assert not np.array_equal(draw_places(row + 1, few), places[:few])


def test_hints_tell_the_mean_of_the_patch_around_them():
    ab = np.random.default_rng(0).uniform(-50, 50, (2, 20, 20)).astype(np.float32)
    found = reveal(ab, np.array([[0.5, 0.25], [0.0, 0.99], [0.52, 0.26]]))  # the third is in the pixel of the first
    assert found.tolist() == [
        pytest.approx([0, 19, *ab[:, :4, 16:].mean((1, 2))], rel=1e-5),
        pytest.approx([10, 5, *ab[:, 7:14, 2:9].mean((1, 2))], rel=1e-5),
    ]
    assert reveal(ab, np.empty((0, 2))) is None


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    """A generator that paints what it is told, and one that takes no hints."""
    folder = tmp_path_factory.mktemp("data")
    images = [pictures.encoded(pictures.colour(SIZE, SIZE, seed), "PNG") for seed in range(4)]
    for seed, image in enumerate(images):
        (folder / f"{seed}.png").write_bytes(image)
    reference = Reference("training photographs", 1, 0.0, 0.0, np.ones(BINS, np.float32))
    models = (Model("echo", "", "", True), Model("deaf", "", ""))
    task = EvaluationTask(models, reference, SIZE, hint_counts=COUNTS)
    colorizers = {"echo": Learned(echo(SIZE)), "deaf": Constant(5, 5)}
    trivial = {measure.GRAY: Constant(0, 0), measure.MEAN_COLOUR: Constant(3, 3)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measure, "load_colorizers", lambda task: colorizers | trivial)
        patched.setattr(photographs, "_file", lambda uri, storage: storage.read(uri).data)  # they are small
        rows = Measure(task)(photographs.find(str(folder)).items()).drop_columns("features")
        evaluation = Evaluation(str(folder), task, rows)
        patched.setattr("colornet.evaluation.report.Gallery", NoGallery)
        evaluation.write(str(folder / "out"))
    return evaluation


class NoGallery:
    """There are no bundles that could colorize the photographs again."""

    def __init__(self, *_: object) -> None:
        pass

    def examples(self) -> list:
        return []

    def worst(self) -> bytes:
        return b""


def test_more_hints_are_better_and_none_change_nothing(evaluation):
    (points,) = evaluation.hint_curves.values()
    assert [each.hints for each in points] == list(COUNTS)
    assert points[0].psnr_over_none.mean == 0
    plain = evaluation.results[0]["echo"]
    assert (points[0].psnr.mean, points[0].ciede2000.mean) == pytest.approx(
        (plain["psnr"].mean, plain["ciede2000"].mean)
    )
    for fewer, more in itertools.pairwise(points):
        assert more.psnr.mean > fewer.psnr.mean and more.ciede2000.mean < fewer.ciede2000.mean
        assert more.psnr_over_none.mean == pytest.approx(more.psnr.mean - points[0].psnr.mean)


def test_the_curve_is_in_the_results_the_rows_the_page_and_a_plot(evaluation):
    output = evaluation.data + "/out"
    found = json.loads(Path(output, "evaluation.json").read_text())
    rows = pq.read_table(f"{output}/evaluation.parquet").to_pylist()
    assert list(found["hints"]) == ["echo"] and [each["hints"] for each in found["hints"]["echo"]] == list(COUNTS)
    assert [model["takes_hints"] for model in found["models"]] == [True, False]
    mine = np.array([row["hints_ciede2000"] for row in rows if row["colorizer"] == "echo"])
    assert mine.shape == (4, len(COUNTS))
    assert [each["ciede2000"]["mean"] for each in found["hints"]["echo"]] == pytest.approx(mine.mean(0).tolist())
    assert all(row["hints_psnr"] is None for row in rows if row["colorizer"] != "echo")
    assert Image.open(f"{output}/hints.png").format == "PNG"
    page = Path(output, "comparison.html").read_text()
    assert "<h2>Hints</h2>" in page and "quality against the number of hints" in page
    assert "These take no hints: deaf." in " ".join(evaluation.notes())


def test_a_plot_takes_one_photograph_and_any_name(evaluation):
    (points,) = evaluation.hint_curves.values()
    alone = [hint_curve.Point(each.hints, *3 * [hint_curve.estimate(np.ones(1), np.ones(1))]) for each in points]
    assert Image.open(io.BytesIO(hint_curve.plot({"$\\frac{\n\x00<m>": alone, "_b": points}))).format == "PNG"


def test_hints_reach_the_pixels_that_they_are_for():
    lightness = torch.full((1, 1, SIZE, SIZE), 50.0)
    cells = np.array([[3, 20, 40.0, -30.0]], np.float32)
    ab = Learned(echo(SIZE)).with_hints(lightness, [cells])
    assert ab[0, :, 3, 20].tolist() == pytest.approx([40, -30], abs=1)
