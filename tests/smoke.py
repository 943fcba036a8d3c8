"""All jobs on the smallest of data, one after the other in this process: `python -m tests.smoke PACKAGE FOLDER`."""

import importlib
import sys
from pathlib import Path

from colornet.training import presets
from tests import pictures


def smoke(package: str, folder: Path) -> None:
    """Prepare, train, evaluate and colorize with the jobs of this package."""
    prepare, train, evaluate, colorize = (
        importlib.import_module(f"{package}.{name}") for name in ("prepare", "train", "evaluate", "colorize")
    )
    shards, model, scans, colour = (str(folder / name) for name in ("shards", "model", "scans", "colour"))
    Path(scans).mkdir()
    for index in range(3):
        Path(scans, f"{index}.png").write_bytes(pictures.encoded(pictures.gray(40, 50, index), "PNG"))
    given = prepare.PrepareSettings(input=("shapes://60?size=32&seed=7",), output=shards)
    assert prepare.prepare(given) == 0
    assert train.train(train.TrainSettings(data=shards, output=model, recipe=presets.preset("smoke"))) == 0
    assert evaluate.evaluate(evaluate.EvaluateSettings(model=model, data=shards, output=str(folder / "results"))) == 0
    assert colorize.colorize(colorize.ColorizeSettings(input=scans, output=colour, model=model, max_workers=1)) == 0


if __name__ == "__main__":
    smoke(sys.argv[1], Path(sys.argv[2]))
