"""Rendering: what is computed once, how much of it is in memory at a time."""

import io
import weakref

import numpy as np
import tifffile
from PIL import Image

from colornet.codecs import open_source
from colornet.inference.letterbox import Letterbox, prepare
from colornet.inference.predictor import Prediction
from colornet.rendering.render import Rendering, RenderSettings
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
    for scan in rendering.pages():
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
    for scan in rendering.pages():
        rendering.add(prepare(scan, SIZE), predicted())
    assert rendering.finish().pages == 5
    assert counts == [0, 1, 1, 1, 1]
