"""Extras: a photograph needs none, and what needs one says which."""

import re
import tomllib
from pathlib import Path

import pytest

from tests import blocked, pictures

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.fixture(scope="module")
def beyond_base() -> set[str]:
    """All packages that are installed here without being needed by the base."""
    packages = blocked.packages_beyond(PROJECT["dependencies"])
    assert {"ray", "boto3", "pyarrow", "duckdb", "matplotlib", "tensorboardX", "torchmetrics", "pytest"} <= packages
    return packages


def test_a_photograph_needs_no_extra(beyond_base, tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(pictures.gray(40, 60), "JPEG"))
    done = blocked.run(beyond_base, "colornet", "photo", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert pictures.decoded((tmp_path / "out" / "a.jpg").read_bytes()).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo", "s3://bucket/a.jpg", "-o", "out"], "s3:// needs {}, which the extra s3 installs"),
        (["colorize", "--input", "in", "--output", "out"], "colornet colorize needs {}, which the extra ray installs"),
        (["train", "--data", "in", "--output", "out"], "colornet train needs {}, which the extra (ray|train) installs"),
        (["ledger", "out"], "colornet ledger needs {}, which the extra ray installs"),
    ],
)
def test_what_is_missing_is_said_with_the_name_of_its_extra(beyond_base, arguments, words):
    done = blocked.run(beyond_base, "colornet", *arguments)
    assert done.returncode == 2
    assert re.fullmatch(f"error: {words.format(r'[a-z0-9_]+')}: pip install '.+' in Colornet's checkout\n", done.stderr)


def test_the_name_on_pypi_is_nobody_elses():
    """`colornet` on PyPI is another project: whoever installs it by name gets that one."""
    assert PROJECT["name"] == "colornet-archive"
    listed = [
        path
        for pattern in ("*.md", "Makefile", "Dockerfile", "*.yaml", "*.py", "*.toml", "*.cff")
        for path in ROOT.rglob(pattern)
        if not {".venv", ".demo", "build", ".git"} & set(path.parts)
    ]
    assert len(listed) > 100
    for path in listed:
        for line in path.read_text("utf-8").splitlines():
            named = re.search(r"\bcolornet\[|install\s[^#`]*(?<![\w./-])colornet(?![\w./-])", line)
            assert not named or path == Path(__file__), f"{path}: {line}"


def test_extras_that_messages_name_are_extras():
    from colornet import distribution

    named = {extra for extras in distribution._EXTRAS.values() for extra in extras}
    assert named <= set(EXTRAS)


def test_all_is_all_that_a_user_may_want():
    inside = re.fullmatch(r"colornet-archive\[(.*)\]", EXTRAS["all"][0])
    assert inside and set(inside[1].split(",")) == set(EXTRAS) - {"all", "demo", "test", "lint", "docs"}
