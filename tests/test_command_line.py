"""The command `colornet`: what it offers, and `colornet photo`, a photograph or a few without Ray."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from colornet.errors import ExitCode
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from tests import blocked, hinted, pictures

ROOT = Path(__file__).parents[1]


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


def photo(*arguments: str) -> subprocess.CompletedProcess:
    return run("photo", *arguments)


# --- the command -----------------------------------------------------------------------------------------------------


def test_help_names_all_commands_at_once():
    started = time.monotonic()
    done = run("--help")
    # A second on an idle machine: it is the fastest of several that counts, since others may compute here.
    seconds = [time.monotonic() - started]
    while min(seconds) > 1 and len(seconds) < 5:
        started = time.monotonic()
        run("--help")
        seconds.append(time.monotonic() - started)
    assert done.returncode == 0 and min(seconds) < 1
    for name in ("photo", "colorize", "prepare", "train", "evaluate", "ledger"):
        assert re.search(rf"^  {name} +[A-Z]\w+ ", done.stdout, re.MULTILINE)


def test_help_imports_nothing_that_takes_long():
    check = """
import sys
from colornet.__main__ import main
sys.argv = ["colornet", "--help"]
main()
sys.exit(bool({"torch", "ray", "tyro", "numpy", "pydantic"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", check], timeout=60, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("name", ["photo", "train", "ledger"])
def test_help_calls_a_command_by_its_name(name):
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: colornet {name} ")
    assert f"    colornet {name} " in done.stdout and "python -m" not in done.stdout
    assert "--config FILE" in done.stdout and "--quiet" in done.stdout and "--version" in done.stdout


def test_help_calls_a_job_by_its_module():
    command = [sys.executable, "-m", "jobs.ledger", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert printed.startswith("usage: python -m jobs.ledger ") and "    python -m jobs.ledger " in printed


@pytest.mark.parametrize("arguments", [["--version"], ["photo", "--version"], ["ledger", "--version"]])
def test_the_version_is_the_checkouts(arguments):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(*arguments).stdout == f"colornet {version}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["colorise"], "Did you mean colorize?"),
        (["README.md"], "colornet photo README.md -o FOLDER"),
        (["--print-completion", "fish"], "bash, zsh, tcsh"),
    ],
)
def test_an_unknown_command_is_one_line_and_exit_code_2(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash"])
def test_shells_complete_commands_and_their_flags(shell):
    script = run("--print-completion", shell).stdout
    assert "colornet" in script
    for word in ("photo", "ledger", "--least-certain", "--held-out", "--gpu-share"):
        assert word in script


def test_a_command_whose_extra_is_not_installed_says_so():
    done = blocked.run(["ray", "duckdb"], "colornet", "colorize", "--input", "a", "--output", "b")
    assert done.returncode == 2
    assert re.search(r"colornet colorize needs (ray|duckdb), which the extra ray installs: pip install", done.stderr)


# --- colornet photo --------------------------------------------------------------------------------------------------


def test_photographs_come_out_under_their_names(tmp_path, model):
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(pictures.gray(40, 60), "JPEG"))
    (tmp_path / "b.png").write_bytes(pictures.encoded(pictures.gray(60, 40), "PNG"))
    (tmp_path / "c.tif").write_bytes(b"II*\0 broken")
    files = [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.tif")]
    done = photo(*files, "--model", model, "-o", str(tmp_path / "out"))
    assert done.returncode == ExitCode.FINDINGS
    assert "c.tif: damaged TIFF" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "b.png"]
    assert pictures.decoded((tmp_path / "out" / "b.png").read_bytes()).shape == (60, 40, 3)


def test_a_folder_of_photographs_keeps_its_folders(tmp_path, model):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/a.png"):
        (tmp_path / "in" / name).write_bytes(pictures.encoded(pictures.gray(20, 30), "PNG"))
    done = photo(str(tmp_path / "in"), "--model", model, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    found = [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")]
    assert sorted(found) == ["a.png", "deep/a.png"]


def test_a_photograph_is_steered_from_the_command_line(tmp_path):
    hinted.save(str(tmp_path / "bundle"))
    (tmp_path / "a.png").write_bytes(pictures.encoded(np.full((64, 64), 128, np.uint8), "PNG"))
    line = [str(tmp_path / "a.png"), "--model", str(tmp_path / "bundle"), "--hints-by", "A", "--strength", "0"]
    hints = ["--hint", "10,10=#c02020", "--hint", "50,50=ab(0, -40)"]
    done = photo(*line, *hints, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "out" / "a.png").read_bytes()
    pixels = pictures.decoded(data).astype(int)
    assert pixels[10, 10, 0] > pixels[10, 10, 2] + 40 and pixels[50, 50, 2] > pixels[50, 50, 0] + 40
    assert data.count(b"<colornet:By>A</colornet:By>") == 2
    (tmp_path / "hints.toml").write_text('hint = ["64,1=#c02020"]\n')
    done = photo(*line, "--config", str(tmp_path / "hints.toml"), "-o", str(tmp_path / "none"))
    assert done.returncode == ExitCode.FINDINGS and "(64, 1) lies outside of the picture" in done.stderr


def test_importing_the_command_does_not_import_ray():
    check = "import colornet.cli.photo, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere.jpg", "--model", "{model}", "-o", "{tmp}/out"], "no photograph at"),
        (["{tmp}/a.jpg", "--model", "{tmp}", "-o", "{tmp}/out"], "not a model bundle"),
        (["{tmp}/a.jpg", "--model", "{model}", "-o", "{tmp}"], "give another output"),
        (["{tmp}/a.jpg", "{tmp}/b/a.jpg", "--model", "{model}", "-o", "{tmp}/out"], "two photographs"),
        (["{tmp}/a.jpg", "--model", "{model}"], "-o"),
        (["--model", "{model}", "-o", "{tmp}/out"], "name a photograph or a folder"),
        (["{tmp}/b", "--model", "{model}", "-o", "{tmp}/b/out"], "must lie outside of"),
        (["{tmp}/empty", "--model", "{model}", "-o", "{tmp}/out"], "no photographs in"),
        (["{tmp}/a.jpg", "-o", "{tmp}/out", "--hint", "1,2=red"], "the hint at (1, 2): color must be"),
        (["{tmp}/a.jpg", "-o", "{tmp}/out", "--hint", "1;2=#000000"], "a hint is X,Y=#rrggbb"),
        (["{tmp}/a.jpg", "-o", "{tmp}/out", "--model", "{model}", "--hint", "1,2=#000000"], "takes no hints"),
        (["{tmp}/a.jpg", "{tmp}/c.jpg", "-o", "{tmp}/out", "--hint", "1,2=#000000"], "is for one photograph"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path, model, arguments, words):
    (tmp_path / "b").mkdir()
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "a.jpg", tmp_path / "b" / "a.jpg", tmp_path / "c.jpg"):
        place.write_bytes(pictures.encoded(pictures.gray(10, 10), "JPEG"))
    before = Path(tmp_path / "a.jpg").read_bytes()
    done = photo(*(argument.format(tmp=tmp_path, model=model) for argument in arguments))
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "a.jpg").read_bytes() == before
