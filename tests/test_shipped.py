"""The bundle that comes with Colornet: there under its name, sound, small, and nobody's to write."""

import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import skimage.color
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch.utils.flop_counter import FlopCounterMode

from colornet.__main__ import main
from colornet.cli import photo
from colornet.colorize import Colorizer
from colornet.errors import ColornetError, SettingsError
from colornet.evaluation.measure import find_models
from colornet.inference import bundle as bundles
from colornet.inference.bundle import SHIPPED, Bundle
from colornet.training import presets
from colornet.training.recipe import Recipe
from jobs.colorize import colorize
from jobs.colorizing.settings import ColorizeSettings
from jobs.evaluate import EvaluateSettings, evaluate
from jobs.train import TrainSettings, train
from tests import pictures

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "colornet" / "shipped"


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return bundles.load(SHIPPED)


def no_network(*_arguments: object, **_options: object) -> None:
    pytest.fail("the network was asked")


def test_its_name_leads_to_it_from_anywhere_and_without_a_network(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    copy = bundles.load(shutil.copytree(FOLDER, tmp_path / "copy").as_posix())
    named = bundles.load("Shipped://default/")
    assert copy.digest == named.digest == shipped.digest
    lightness = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(named.generator(lightness), copy.generator(lightness))


def test_names_have_one_spelling(tmp_path):
    assert bundles.normalize("SHIPPED://default/") == bundles.normalize(SHIPPED) == SHIPPED
    assert bundles.normalize(f"{tmp_path}/bundle/") == f"{tmp_path}/bundle"
    assert bundles.normalize("s3://models/bundle/") == "s3://models/bundle"


@pytest.mark.parametrize("name", ["", "other", "default/generator.safetensors", "../shipped", "default?x"])
def test_another_name_is_an_error_that_says_which_there_are(name, tmp_path):
    places = {"model": f"shipped://{name}", "output": str(tmp_path / "out")}
    (tmp_path / "in").mkdir()
    photograph = tmp_path / "in" / "a.png"
    photograph.write_bytes(pictures.encoded(pictures.gray(8, 8), "PNG"))
    for attempt in (
        lambda: bundles.load(f"shipped://{name}"),
        lambda: photo.colorize_all(photo.PhotoSettings(photographs=(str(photograph),), **places)),
        lambda: colorize(ColorizeSettings(input=str(tmp_path / "in"), **places)),
        lambda: evaluate(EvaluateSettings(data=str(tmp_path / "in"), **places)),
    ):
        with pytest.raises(SettingsError, match=r"shipped://.* comes with Colornet; there are: shipped://default$"):
            attempt()
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_to_it(shipped, tmp_path):
    before = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    for name in ("default", "mine"):
        with pytest.raises(SettingsError, match=f"shipped://{name}: what comes with Colornet cannot be written"):
            bundles.save(shipped, f"shipped://{name}")
    with pytest.raises(ColornetError, match=r"shipped://default: .*use a local path, file:// or s3://"):
        train(TrainSettings(data=str(tmp_path), output=SHIPPED, recipe=presets.preset("smoke")))
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == before


def test_photographs_are_colorized_without_a_word_about_a_model(tmp_path, monkeypatch, capsys):
    data = pictures.encoded(pictures.gray(40, 60), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["colornet", "photo", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0 and "a.png -> " in capsys.readouterr().out
    made = pictures.decoded((tmp_path / "out" / "a.png").read_bytes())
    np.testing.assert_array_equal(made, pictures.decoded(Colorizer.from_bundle()(data)))


def test_it_brings_photographs_that_it_never_saw_nearer_to_their_colours():
    colorizer = Colorizer.from_bundle()
    distances, gains = [], []
    for photograph in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()):
        lab = skimage.color.rgb2lab(photograph)
        gray = np.rint(255 * skimage.color.lab2rgb(lab * [1, 0, 0])).astype(np.uint8)
        colorized = pictures.decoded(colorizer(pictures.encoded(gray[..., 0], "PNG")))
        distances.append(np.linalg.norm((skimage.color.rgb2lab(colorized) - lab)[..., 1:], axis=2).mean())
        distances[-1] /= np.linalg.norm(lab[..., 1:], axis=2).mean()
        gains.append(peak_signal_noise_ratio(photograph, colorized) - peak_signal_noise_ratio(photograph, gray))
    assert np.mean(distances) < 0.9, "as shares of those from gray"
    assert np.mean(gains) > 1


def test_skin_is_the_colour_of_skin():
    photograph = skimage.data.astronaut()
    gray = np.rint(255 * skimage.color.rgb2gray(photograph)).astype(np.uint8)
    colorized = pictures.decoded(Colorizer.from_bundle()(pictures.encoded(gray, "PNG")))
    (_, a, b), (_, true_a, true_b) = (
        np.median(skimage.color.rgb2lab(picture[80:180, 190:260]), axis=(0, 1)) for picture in (colorized, photograph)
    )
    assert np.hypot(a, b) > 8, "neither gray"
    # From pink to yellowish brown, as human skin is in photographs: hue angles of 30 to 80 degrees.
    assert all(30 < np.degrees(np.arctan2(*ba)) < 80 for ba in ((b, a), (true_b, true_a))), "nor green, nor violet"


def test_its_recipe_is_the_one_that_the_documents_name(shipped):
    # A field that is younger than the bundle has its default.
    assert Recipe.from_dict(shipped.recipe) == presets.preset("shipped")
    assert shipped.metrics["epoch"] == presets.preset("shipped").epochs


def test_it_is_measured_beside_a_copy(shipped, tmp_path):
    copy = shutil.copytree(FOLDER, tmp_path / "copy").as_posix()
    models, size = find_models([SHIPPED, copy])
    assert [(model.uri, model.digest) for model in models] == [(SHIPPED, shipped.digest), (copy, shipped.digest)]
    assert size == shipped.image_size


def test_it_is_small_and_quick(shipped):
    """What may be in a checkout and a wheel, and what one core does in a moment; multiply-adds count as two."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 25e6
    with safetensors.safe_open(FOLDER / bundles.WEIGHTS, "pt") as weights:
        kinds = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118  (no mapping)
    assert set(kinds.values()) <= {"F16", "I64"}
    assert all(kind == "F16" for name, kind in kinds.items() if not name.endswith("num_batches_tracked"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        shipped.generator(torch.zeros(1, 1, 256, 256))
    assert 0 < counter.get_total_flops() <= 6e9


def test_it_is_in_the_wheel(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "colornet").mkdir()
    shutil.copy(ROOT / "colornet" / "__init__.py", tmp_path / "colornet")
    shutil.copytree(FOLDER, tmp_path / "colornet" / "shipped")
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        for name in (bundles.WEIGHTS, bundles.DESCRIPTION):
            assert wheel.read(f"colornet/shipped/{name}") == (FOLDER / name).read_bytes()
