"""Version and commands: of a checkout that nobody installed, and of a folder that is nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colornet import distribution

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout of another version than the one that is installed here."""
    for name in ("colornet", "jobs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(re.sub(r"^version = .*$", 'version = "98.7"', text, flags=re.MULTILINE))
    return tmp_path


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_checkout_speaks_for_itself(checkout):
    assert run(checkout, "-m", "colornet", "--version") == "colornet 98.7\n"
    assert run(checkout, "-c", "import colornet; print(colornet.__version__)") == "98.7\n"
    places = run(checkout, "-c", "from colornet import distribution; print(distribution.commands())")
    assert "'ledger': 'jobs.ledger:main'" in places and "'photo': 'colornet.cli.photo:main'" in places


def test_a_checkouts_commands_are_its_own(checkout):
    """Here another checkout is installed, as colornet_jobs."""
    ledger = checkout / "jobs" / "ledger.py"
    ledger.write_text(ledger.read_text().replace('"""', '"""Told by the copy.\n\n', 1))
    assert re.search(r"^  ledger +Told by the copy$", run(checkout, "-m", "colornet", "--help"), re.MULTILINE)
    assert "Told by the copy." in run(checkout, "-m", "colornet", "ledger", "--help")


def test_a_folder_without_more_has_an_unknown_version(checkout):
    (checkout / "pyproject.toml").unlink()
    check = "import colornet, importlib.metadata as m; m.version = lambda _: m.distribution('no such thing')"
    assert run(checkout, "-c", f"{check}; print(colornet.__version__)") == f"{distribution.UNKNOWN}\n"


def test_a_project_around_an_installed_package_is_not_its_checkout(checkout):
    (checkout / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "98.7"\n')
    assert run(checkout, "-c", "import colornet; print(colornet.__version__)") != "98.7\n"
