"""The demo's own parts: what it makes gray keeps its lightness, and its archive and sheet can be opened."""

import shutil
import subprocess

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.color import rgb2lab

from colornet.archive.hints import read_hints
from colornet.datasets.shapes import KINDS
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.storage import Storage
from demo import __main__ as demo
from demo import archive, measure, sheet, steered
from demo.gray import lab_of, to_gray
from tests import pictures


def test_gray_has_the_lightness_of_the_colour():
    colour = pictures.colour(40, 50)
    gray = np.rint(to_gray(colour)).astype(np.uint8)
    lab = rgb2lab(np.dstack([gray] * 3))
    assert np.abs(lab[..., 0] - rgb2lab(colour)[..., 0]).max() < 0.4  # half a level
    assert np.abs(lab_of(colour) - rgb2lab(colour)).max() < 0.05


def test_the_archive_is_gray_and_says_where_it_comes_from(tmp_path):
    count = archive.write(tmp_path / "archive", tmp_path / "ORIGINS.txt")
    paths = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert len(paths) == count == 8
    assert {path.suffix for path in paths} == {".jpg", ".png", ".tif"}
    for path in paths:
        pixels = tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))
        assert pixels.ndim == 2 and min(pixels.shape) >= 300 and pixels.std() > 10
    origins = (tmp_path / "ORIGINS.txt").read_text()
    assert all(path.relative_to(tmp_path / "archive").as_posix() in origins for path in paths)
    assert origins.count("public domain") + origins.count("CC0 1.0") + origins.count("CC BY 2.0") == count


def test_the_sheet_shows_pairs_and_what_failed(tmp_path):
    for folder, names in (("gray", ("a.jpg", "b.tif", "c.png")), ("colour", ("a.jpg", "b.tif"))):
        (tmp_path / folder).mkdir()
        for name in names:
            path, pixels = tmp_path / folder / name, pictures.gray(200, 600)
            if name == "b.tif":
                tifffile.imwrite(path, pixels.astype(np.uint16) * 257)
            else:
                Image.fromarray(pixels).save(path)
    sheet.write(tmp_path / "gray", tmp_path / "colour", tmp_path / "sheet.png")
    drawn = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert drawn.shape[1] == 2 * (2 * sheet.CELL + 2 * sheet.GAP)
    assert drawn.std() > 20


def test_hints_lie_in_their_photograph_and_their_table_can_be_read(tmp_path):
    (photograph,) = (each for each in archive.PHOTOGRAPHS if each.key == steered.KEY)
    height, width = photograph.load().shape[:2]
    assert all(0 <= hint.x < width and 0 <= hint.y < height for hint in steered.HINTS)
    steered.write_hints(tmp_path / "hints.csv")
    rows = read_hints(str(tmp_path / "hints.csv"), Storage())
    assert [row.source for row in rows] == [steered.KEY] * len(steered.HINTS)
    assert [row.hint for row in rows] == list(steered.HINTS)


def test_a_generator_that_has_learned_nothing_is_found_out(tmp_path, capsys):
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 2})
    bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=64), str(tmp_path))
    tallies = measure.measure(str(tmp_path))
    assert {kind: tally.total for kind, tally in tallies.items()} == dict.fromkeys(KINDS, measure.SHAPES // len(KINDS))
    assert not measure.report(tallies)
    told = capsys.readouterr().out
    assert "of 30 shapes in their own colour" in told and "MISSED: at least 27 are expected" in told


@pytest.mark.parametrize(("right", "enough"), [(27, True), (26, False)])
def test_nine_of_ten_are_enough(right, enough):
    assert measure.report({"circle": measure.Tally(right, 30, 3.0)}) is enough


class Commands:
    """Takes the place of `subprocess.run`."""

    def __init__(self):
        self.modules, self.failing = [], None

    def __call__(self, command, **_):
        self.modules.append(command[2])
        if command[2] == "jobs.colorize":  # the archive's gray stands for its colour
            shutil.copytree(demo.GRAY, demo.COLOUR, dirs_exist_ok=True)
        return subprocess.CompletedProcess(command, 3 if command[2] == self.failing else 0)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The commands that the demo runs, in a folder of its own. None does anything; the archive is one photograph."""
    monkeypatch.chdir(tmp_path)
    (coffee,) = (each for each in archive.PHOTOGRAPHS if each.key == steered.KEY)
    monkeypatch.setattr(archive, "PHOTOGRAPHS", (coffee,))
    ran = Commands()
    monkeypatch.setattr(subprocess, "run", ran)
    return ran


@pytest.mark.parametrize("right", [26, 27])
def test_a_missed_measure_is_told_and_the_demo_goes_on(commands, monkeypatch, capsys, right):
    monkeypatch.setattr(measure, "measure", lambda bundle: {"circle": measure.Tally(right, 30, 3.0)})
    assert demo.main() == 0
    assert commands.modules == ["jobs.prepare", "jobs.train", "jobs.colorize", "jobs.colorize"]
    assert demo.SHEET.exists() and demo.STEERED.exists()
    assert (demo.MISSED in capsys.readouterr().out) == (right == 26)


@pytest.mark.parametrize("failing", ["jobs.prepare", "jobs.train", "jobs.colorize"])
def test_a_job_that_fails_ends_the_demo_with_its_code(commands, monkeypatch, failing):
    commands.failing = failing
    monkeypatch.setattr(measure, "measure", lambda bundle: {"circle": measure.Tally(30, 30, 3.0)})
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert ended.value.code == 3
    assert commands.modules[-1] == failing
    assert not demo.SHEET.exists()
