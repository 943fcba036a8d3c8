"""A bundle comes back as it was saved, or is refused."""

import json
from pathlib import Path

import pytest
import torch

from colornet.errors import BundleError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator


def small(seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    settings = {"width": 2}
    generator = build_generator("unet", settings)
    generator(torch.rand(2, 1, 16, 16))  # moving statistics of its own
    return Bundle(
        generator=generator.eval(),
        network="unet",
        settings=settings,
        image_size=64,
        recipe={"epochs": 3},
        data={"photographs": 12},
        metrics={"accuracy": 0.5},
    )


def test_round_trip(tmp_path):
    saved = small()
    digest = bundles.save(saved, str(tmp_path))
    loaded = bundles.load(str(tmp_path))
    assert loaded.digest == digest and len(digest) == 64
    assert (loaded.network, loaded.settings, loaded.image_size) == ("unet", {"width": 2}, 64)
    assert (loaded.recipe, loaded.data, loaded.metrics) == ({"epochs": 3}, {"photographs": 12}, {"accuracy": 0.5})
    lightness = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(loaded.generator(lightness), saved.generator(lightness), rtol=0, atol=0)
    assert not loaded.generator.training


def test_round_trip_on_s3(s3):
    digest = bundles.save(small(), f"{s3}/models/first")
    assert bundles.load(f"{s3}/models/first").digest == digest


def test_half_precision_halves_the_file(tmp_path):
    bundles.save(small(), str(tmp_path / "full"))
    bundles.save(small(), str(tmp_path / "half"), dtype=torch.float16)
    full, half = ((tmp_path / name / bundles.WEIGHTS).stat().st_size for name in ("full", "half"))
    assert half < 0.7 * full
    assert next(bundles.load(str(tmp_path / "half")).generator.parameters()).dtype == torch.float32


def test_digest_tells_weights_and_use_apart(tmp_path):
    first = bundles.save(small(0), str(tmp_path / "a"))
    assert bundles.save(small(0), str(tmp_path / "b")) == first
    assert bundles.save(small(1), str(tmp_path / "c")) != first
    description = tmp_path / "b" / bundles.DESCRIPTION
    description.write_text(description.read_text().replace('"image_size": 64', '"image_size": 128'))
    assert bundles.load(str(tmp_path / "b")).digest != first


def damage_weights(folder: Path) -> None:
    weights = bytearray((folder / bundles.WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / bundles.WEIGHTS).write_bytes(weights)


def exchange_network(folder: Path) -> None:
    edit(folder, "network", {"name": "unet", "settings": {"width": 3}})


def unknown_network(folder: Path) -> None:
    edit(folder, "network", {"name": "vgg", "settings": {}})


def newer_format(folder: Path) -> None:
    edit(folder, "format", 99)


def edit(folder: Path, key: str, value: object) -> None:
    place = folder / bundles.DESCRIPTION
    place.write_text(json.dumps({**json.loads(place.read_text()), key: value}))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damage_weights, "SHA-256"),
        (exchange_network, "do not fit"),
        (unknown_network, "no generator is called 'vgg'"),
        (newer_format, "format 99"),
        (lambda folder: (folder / bundles.WEIGHTS).unlink(), "not a model bundle"),
        (lambda folder: (folder / bundles.DESCRIPTION).unlink(), "not a model bundle"),
        (lambda folder: (folder / bundles.DESCRIPTION).write_text("{"), "cannot be understood"),
        (lambda folder: (folder / bundles.DESCRIPTION).write_text("[]"), "cannot be understood"),
    ],
)
def test_what_is_not_sound_is_refused(tmp_path, harm, reason):
    bundles.save(small(), str(tmp_path))
    harm(tmp_path)
    with pytest.raises(BundleError, match=reason) as error:
        bundles.load(str(tmp_path))
    assert str(tmp_path) in str(error.value)
