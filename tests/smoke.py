"""Jobs on the smallest of data, one after the other in this process: `python -m tests.smoke PACKAGE FOLDER JOB…`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from colornet.training import presets
from tests import pictures


def settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each job is given, in the order in which they need one another."""
    shards, model, scans = (str(folder / name) for name in ("shards", "model", "scans"))
    return {
        "prepare": {"input": ("shapes://60?size=32&seed=7",), "output": shards},
        "train": {"data": shards, "output": model, "recipe": presets.preset("smoke")},
        "evaluate": {"model": model, "data": shards, "output": str(folder / "results")},
        "colorize": {"input": scans, "output": str(folder / "colour"), "model": model, "max_workers": 1},
    }


def smoke(package: str, folder: Path, jobs: list[str]) -> None:
    """Run the jobs of this package."""
    (folder / "scans").mkdir()
    for index in range(3):
        (folder / "scans" / f"{index}.png").write_bytes(pictures.encoded(pictures.gray(40, 50, index), "PNG"))
    for name, given in settings(folder).items():
        if name in jobs:
            module = importlib.import_module(f"{package}.{name}")
            job: Callable[[Any], int] = getattr(module, name)
            assert job(getattr(module, f"{name.capitalize()}Settings")(**given)) == 0


if __name__ == "__main__":
    smoke(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
