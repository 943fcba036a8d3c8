"""What stands in several files of the project at once agrees, and the files that others read can be read."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTRUCTIONS = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == PROJECT["version"]


def test_size_and_time_of_the_install_are_the_same_everywhere():
    texts = [(ROOT / name).read_text() for name in ("README.md", "Makefile", "CONTRIBUTING.md")]
    sizes = [set(re.findall(r"([\d.]+) GB", text)) for text in texts]
    assert all("7.3" in found for found in sizes)
    assert all(re.search(r"about (5|five) minutes", text) for text in texts)


@pytest.mark.parametrize("name", ["Dockerfile", "cluster/kuberay/Dockerfile"])
def test_dockerfiles_can_be_followed(name):
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    lines = [line.partition(" ") for line in text.replace("\\\n", " ").splitlines() if line]
    assert lines[0][0] == "FROM" and {instruction for instruction, _, _ in lines} <= INSTRUCTIONS
    for instruction, _, words in lines:
        if instruction == "COPY":
            *sources, _ = [word for word in shlex.split(words) if not word.startswith("--")]
            assert sources and all((ROOT / source).exists() for source in sources)
        if instruction in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(words))


def test_the_image_for_laptops_calls_a_command_with_flags_that_there_are():
    text = (ROOT / "Dockerfile").read_text()
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    [command] = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert json.loads(entry) == ["colornet"]
    name, source, flag, target = json.loads(command)
    assert name in PROJECT["entry-points"]["colornet.commands"] and flag == "--output"
    assert f":{source}:ro" in text and f":{target}" in text


def test_pythons_are_those_that_the_makefile_takes():
    first, last = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert f"(3, {first}) <= sys.version_info < (3, {last})" in (ROOT / "Makefile").read_text()
    for minor in range(int(first), int(last)):
        assert f"3.{minor}" in (ROOT / "README.md").read_text()
        assert f"Programming Language :: Python :: 3.{minor}" in PROJECT["classifiers"]


def test_the_hooks_run_what_is_installed_here():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert [hook["entry"].split()[0] for hook in hooks] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_files_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)`", text):
        places = [ROOT / name, ROOT / "colornet" / name, ROOT / "tests" / name]
        assert any(place.exists() for place in places), name
