"""Run the demo: every job as the command line that a user would type, in the folder `.demo`."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo import archive, measure, sheet, steered

FOLDER = Path(".demo")
SHAPES = FOLDER / "shapes"
SHAPES_BUNDLE = FOLDER / "shapes-bundle"
GRAY = FOLDER / "archive"
COLOUR = FOLDER / "colour"
ORIGINS = FOLDER / "ORIGINS.txt"
SHEET = FOLDER / "contact-sheet.png"
HINTS = FOLDER / "hints.csv"
GUESSED = FOLDER / f"guessed{Path(steered.KEY).suffix}"
STEERED = FOLDER / "hints.png"
MISSED = """MISSED: the generator of step 2 gave too many shapes another colour than their own (the figures are under
step 3). It has learned less than it should have. Nothing else is touched by that: the photographs are colorized with
the model that comes with Colornet. `python -m benchmarks.shapes` tells how often this happens on this machine."""


def main() -> int:
    """Run all steps; returns 0, also if the generator did not learn the shapes. A job that fails ends the demo."""
    started = time.monotonic()
    for place in (SHAPES, SHAPES_BUNDLE, GRAY, COLOUR):
        shutil.rmtree(place, ignore_errors=True)

    say("1. Make training data: shapes, each kind in its own colour")
    run("jobs.prepare", "--input", measure.TRAINING_SHAPES, "--output", str(SHAPES))

    say("2. Train on them: the generator colours, the discriminator tells its colours from true ones")
    run("jobs.train", "--data", str(SHAPES), "--output", str(SHAPES_BUNDLE), "--recipe", "shapes", "--num-workers", "2")

    say("3. Has it learned? It sees shapes that it has never seen, in gray")
    learned = measure.report(measure.measure(str(SHAPES_BUNDLE)))

    say("4. Make an archive of black-and-white photographs, from packages that are installed here")
    count = archive.write(GRAY, ORIGINS)
    print(f"{count} photographs in {GRAY}, where they come from in {ORIGINS}")

    say("5. Colorize the archive, with the model that comes with Colornet")
    run("jobs.colorize", "--input", str(GRAY), "--output", str(COLOUR))
    sheet.write(GRAY, COLOUR, SHEET)

    say("6. Correct a photograph: somebody knows three of its colours. The others stay as they are")
    shutil.copy(COLOUR / steered.KEY, GUESSED)
    steered.write_hints(HINTS)
    run("jobs.colorize", "--input", str(GRAY), "--output", str(COLOUR), "--hints", str(HINTS))
    steered.draw(GUESSED, COLOUR / steered.KEY, STEERED)

    say(f"Done in {time.monotonic() - started:.0f} seconds. Look at")
    print(f"  {SHEET}                  the archive before and after")
    print(f"  {STEERED}                          one of them before and after three hints")
    print(f"  {COLOUR}/                            the colour photographs, {COLOUR}/_colornet/ what became of each")
    print(f"  {SHAPES_BUNDLE}/report/report.html  the training: curves, verdicts, shapes it was tried on")
    if not learned:
        print(f"\n{MISSED}")
    return 0


def run(module: str, *arguments: str) -> None:
    """Print a command line and run it; ends the demo with its exit code if it fails."""
    print("$ " + shlex.join(["python", "-m", module, *arguments]), flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}  # run here, wherever
    ended = subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=False)
    if ended.returncode:
        sys.exit(ended.returncode)


def say(line: str) -> None:
    """Print a headline."""
    print(f"\n{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
