"""Hostile files: whatever the bytes, a worker lives, answers soon, and says why; large scans stay in bounded memory."""

import json
import subprocess
import sys

import pytest

MUTATE = """
import faulthandler, json, sys, time
faulthandler.enable()
import numpy as np
import torch
torch.set_num_threads(1)
from colornet.inference.bundle import Bundle
from colornet.colorize import Colorizer
from colornet.errors import ColornetError
from colornet.networks import build_generator
from tests.hostile import mutated

torch.manual_seed(0)
generator = build_generator("unet", {"width": 2})
colorizer = Colorizer(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32))
rendered, refused, slowest = 0, 0, 0.0
for seed in range(*map(int, sys.argv[1:])):
    print(seed, file=sys.stderr, flush=True)  # if the process dies, the last line says of which
    started = time.perf_counter()
    try:
        colorizer(mutated(seed))
        rendered += 1
    except ColornetError as error:
        assert str(error) and "\\n" not in str(error), error
        refused += 1
    slowest = max(slowest, time.perf_counter() - started)
print(json.dumps({"rendered": rendered, "refused": refused, "slowest": slowest}))
"""


def run_mutations(seeds: range) -> dict:
    command = [sys.executable, "-c", MUTATE, str(seeds.start), str(seeds.stop)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_mutated_files_are_rendered_or_refused_in_time():
    found = run_mutations(range(0, 300))
    assert found["rendered"] + found["refused"] == 300
    assert found["refused"] > 60 and found["rendered"] > 15
    assert found["slowest"] < 20


@pytest.mark.long
@pytest.mark.parametrize("start", range(300, 2300, 500))
def test_two_thousand_more(start):
    assert run_mutations(range(start, start + 500))["slowest"] < 20


LARGE = """
import io, resource, sys
import numpy as np
import tifffile
import torch
torch.set_num_threads(1)
from colornet.inference.bundle import Bundle
from colornet.colorize import Colorizer
from colornet.networks import build_generator

height, width = 12_500, 16_000
path = sys.argv[1]
rows = (np.arange(width, dtype=np.uint32)[None, :] * 4 % 65536).astype(np.uint16)
tifffile.imwrite(path, np.broadcast_to(rows, (height, width)), rowsperstrip=64)
generator = build_generator("unet", {"width": 2})
colorizer = Colorizer(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(path, "rb") as file:
    rendered = colorizer.render(file.read())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert rendered.pixels == height * width
print(peak / 2**20, before / 2**20)
"""


@pytest.mark.long
def test_two_hundred_megapixels_of_16_bits_stay_under_4_gib(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "large.tif")], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    peak, _ = map(float, done.stdout.split())
    assert peak < 4.0
