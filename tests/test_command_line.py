"""`python -m colornet`: a photograph or a few, without Ray."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from colornet.errors import ExitCode
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from tests import pictures


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    place = str(tmp_path_factory.mktemp("bundle"))
    generator = build_generator("unet", {"width": 2})
    bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32), place)
    return place


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "colornet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_photographs_come_out_under_their_names(tmp_path, model):
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(pictures.gray(40, 60), "JPEG"))
    (tmp_path / "b.png").write_bytes(pictures.encoded(pictures.gray(60, 40), "PNG"))
    (tmp_path / "c.tif").write_bytes(b"II*\0 broken")
    files = [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.tif")]
    done = run(*files, "--model", model, "-o", str(tmp_path / "out"))
    assert done.returncode == ExitCode.FINDINGS
    assert "c.tif: damaged TIFF" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.png"]
    assert pictures.decoded((tmp_path / "out" / "b.png").read_bytes()).shape == (60, 40, 3)


def test_importing_the_command_does_not_import_ray():
    check = "import colornet.__main__, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere.jpg", "--model", "{model}", "-o", "{tmp}/out"], "no photograph at"),
        (["{tmp}/a.jpg", "--model", "{tmp}", "-o", "{tmp}/out"], "not a model bundle"),
        (["{tmp}/a.jpg", "--model", "{model}", "-o", "{tmp}"], "give another output"),
        (["{tmp}/a.jpg", "{tmp}/b/a.jpg", "--model", "{model}", "-o", "{tmp}/out"], "two photographs"),
        (["{tmp}/a.jpg", "--model", "{model}"], "-o"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path, model, arguments, words):
    (tmp_path / "b").mkdir()
    for place in (tmp_path / "a.jpg", tmp_path / "b" / "a.jpg"):
        place.write_bytes(pictures.encoded(pictures.gray(10, 10), "JPEG"))
    before = Path(tmp_path / "a.jpg").read_bytes()
    done = run(*(argument.format(tmp=tmp_path, model=model) for argument in arguments))
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "a.jpg").read_bytes() == before
