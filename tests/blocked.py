"""Run a module as if some packages were not installed: `python -m tests.blocked NAMES MODULE ARGUMENT...`."""

import importlib.metadata
import re
import runpy
import subprocess
import sys
from collections.abc import Collection, Iterable
from importlib.machinery import ModuleSpec
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class _Finder:
    """Finds what another finder finds, but for some packages."""

    def __init__(self, finder: Any, packages: Collection[str]) -> None:
        self.finder = finder
        self.packages = packages

    def find_spec(self, name: str, *place: Any) -> ModuleSpec | None:
        return None if name.partition(".")[0] in self.packages else self.finder.find_spec(name, *place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def run(packages: Iterable[str], module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a process that finds none of these packages."""
    command = [sys.executable, "-m", "tests.blocked", ",".join(packages), module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def packages_beyond(requirements: Iterable[str]) -> set[str]:
    """Return all packages that can be imported here and come with none of these requirements, nor with what they need.

    Args:
        requirements: as they stand in pyproject.toml.
    """
    brought = _closure(requirements)
    installed = importlib.metadata.packages_distributions()
    return {
        package
        for package, owners in installed.items()
        if brought.isdisjoint(map(canonicalize_name, owners)) and re.fullmatch(r"[A-Za-z]\w*", package)
    } - {"colornet", "colornet_jobs", "jobs", "tests", "packaging", "setuptools", "pip", "_distutils_hack"}


def _closure(requirements: Iterable[str]) -> set[str]:
    """Return the names of all distributions that these requirements bring."""
    waiting = [Requirement(each) for each in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = map(Requirement, importlib.metadata.requires(name) or ())
            except importlib.metadata.PackageNotFoundError:  # of another platform
                continue
            waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


if __name__ == "__main__":
    names, module, *arguments = sys.argv[1:]
    sys.meta_path[:] = [_Finder(finder, set(names.split(","))) for finder in sys.meta_path]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
