"""The wheel: what is in it, and that the command which it installs works away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests import pictures

ROOT = Path(__file__).parents[1]
NOT_SHIPPED = {"__pycache__", ".pytest_cache"}


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy of the checkout, since a build writes beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("colornet", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=source)
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The programs of a virtual environment with nothing but the wheel; what it depends on is found where it is here.

    The path of the packages here is named in a .pth file, so that their own .pth files are not read: the
    checkout, which is installed here, cannot be found.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    [packages] = (folder / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_two_packages_and_all_their_files(wheel):
    files = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert wheel.name.startswith("colornet_archive-")
    assert {path.parts[0] for path in files if not path.parts[0].endswith(".dist-info")} == {
        "colornet",
        "colornet_jobs",
    }
    for folder, package in (("colornet", "colornet"), ("jobs", "colornet_jobs")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not NOT_SHIPPED & set(path.parts):
                assert Path(package) / path.relative_to(ROOT / folder) in files
    assert Path("colornet/shipped/generator.safetensors") in files
    assert any(path.parent.name == "templates" for path in files)


def test_the_installed_command_colorizes_a_photograph(installed, tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(pictures.gray(40, 60), "JPEG"))
    printed = run(installed / "colornet", "photo", "a.jpg", "-o", "out", cwd=tmp_path)
    assert "a.jpg -> " in printed
    assert pictures.decoded((tmp_path / "out" / "a.jpg").read_bytes()).shape == (40, 60, 3)


def test_the_installed_command_is_what_is_installed(installed, tmp_path):
    check = "import colornet, colornet_jobs; print(colornet.__file__, colornet_jobs.__file__, colornet.__version__)"
    library, jobs, version = run(installed / "python", "-c", check, cwd=tmp_path).split()
    assert Path(library).is_relative_to(installed.parent) and Path(jobs).is_relative_to(installed.parent)
    assert run(installed / "colornet", "--version", cwd=tmp_path) == f"colornet {version}\n"
    help = run(installed / "colornet", "ledger", "--help", cwd=tmp_path)
    assert help.startswith("usage: colornet ledger ")
