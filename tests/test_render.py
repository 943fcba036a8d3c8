"""Rendering: what is computed once, how much of it is in memory at a time, and what its settings' digest means."""

import dataclasses
import hashlib
import io
import weakref

import numpy as np
import pytest
import tifffile
from PIL import Image

from colornet.codecs import open_source
from colornet.inference.letterbox import Letterbox
from colornet.inference.page import prepare
from colornet.inference.predictor import Prediction
from colornet.rendering.render import Rendering, RenderSettings
from colornet.settings import settings
from tests import pictures

SIZE = 32


def tiff(pages: int) -> bytes:
    buffer = io.BytesIO()
    stack = np.stack([pictures.gray(120, 90, seed) for seed in range(pages)])
    tifffile.imwrite(buffer, stack, photometric="minisblack")
    return buffer.getvalue()


def predicted() -> Prediction:
    return Prediction(np.full((2, SIZE, SIZE), 10, np.float16), None)


def test_a_page_is_shrunk_once_for_prediction_and_rendering(monkeypatch):
    sizes, fitted = [], []
    resize, fit = Image.Image.resize, Letterbox.fit

    def counting(image: Image.Image, *args: object, **options: object) -> Image.Image:
        sizes.append(image.size)
        return resize(image, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", counting)
    monkeypatch.setattr(Letterbox, "fit", lambda *args: fitted.append(args) or fit(*args))
    options = RenderSettings()
    source = open_source(tiff(3))
    rendering = Rendering(source, options, options.origin("a.tif", source.data, ""))
    for _, scan in rendering.pages():
        page = prepare(scan, SIZE)
        rendering.add(page, predicted())
        np.testing.assert_array_equal(page.letterbox.pad(page.lightness / 50 - 1, SIZE).astype(np.float16), page.seen)
    assert rendering.finish().pages == 3
    assert sizes == [(90, 120)] * 3 and len(fitted) == 3


def test_of_many_pages_the_one_before_is_in_memory_at_most():
    source, decoded, counts = open_source(tiff(5)), [], []

    class Counting:
        """The source, telling how many of its pages are still held when it decodes the next."""

        def __getattr__(self, name):
            return getattr(source, name)

        def page(self, index):
            counts.append(sum(scan() is not None for scan in decoded))
            scan = source.page(index)
            decoded.append(weakref.ref(scan))
            return scan

    options = RenderSettings()
    rendering = Rendering(Counting(), options, options.origin("a.tif", source.data, ""))
    for _, scan in rendering.pages():
        rendering.add(prepare(scan, SIZE), predicted())
    assert rendering.finish().pages == 5
    assert counts == [0, 1, 1, 1, 1]


# --- the digest of the settings ---------------------------------------------------------------------------------------

CHANGED = {
    "size": 256,
    "upsampling": "plain",
    "in_colour": "copy",
    "damaged": "render",
    "output_format": "png",
    "quality": 80,
    "strength": 0.8,
    "neutral_below": 0.3,
    "digital_source_type": "algorithmicMedia",
}
"""Another value for each setting that decides what outputs look like."""


def test_the_digest_is_of_canonical_json_of_what_is_no_default():
    expected = '{"schema":2,"settings":{"quality":80,"size":256}}'
    assert RenderSettings(quality=80, size=256).digest == hashlib.sha256(expected.encode()).hexdigest()
    # Typed in once. If this fails, every archive in the world would be done again with the next version: either the
    # change is not meant to, or DIGEST_SCHEMA goes up, and docs/archive.md says so.
    assert RenderSettings().digest == "2a4458ed98d8eb716e38d23e75ea79c97f35a8c816ed975b54fb13e22a6c0e79"


def test_each_decisive_setting_changes_the_digest():
    digests = {RenderSettings(**{name: value}).digest for name, value in CHANGED.items()}
    assert len(digests | {RenderSettings().digest}) == len(CHANGED) + 1
    assert {each.name for each in dataclasses.fields(RenderSettings)} == {*CHANGED, "max_pixels"}
    assert RenderSettings(max_pixels=5).digest == RenderSettings().digest


def test_a_setting_that_a_later_version_adds_keeps_the_digest():
    @settings
    class Later(RenderSettings):
        sharpness: float = 0.5

    for options in ({}, {"quality": 80}):
        assert Later(**options).digest == RenderSettings(**options).digest
    assert Later(sharpness=0.7).digest != Later().digest


@pytest.mark.parametrize("name", CHANGED)
def test_a_default_that_is_given_is_the_default(name):
    default = getattr(RenderSettings(), name)
    assert RenderSettings(**{name: default}).digest == RenderSettings().digest
