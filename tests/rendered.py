"""Scans rendered as the archive job does, with one colour in place of a network."""

import numpy as np

from colornet.inference.page import prepare
from colornet.inference.predictor import Prediction
from colornet.rendering.render import Rendered, Rendering, RenderSettings

SIZE = 32


def predicted(colour: float = 10.0) -> Prediction:
    """A prediction of a* = b* = `colour` everywhere."""
    return Prediction(np.full((2, SIZE, SIZE), colour, np.float16), None)


def render(data: bytes, *, colour: float = 10.0, **settings: object) -> Rendered:
    """Render an encoded scan; `settings` are those of RenderSettings."""
    options = RenderSettings(**settings)
    source = options.open(data)
    rendering = Rendering(source, options, options.origin("scan", data, ""))
    for _, scan in rendering.pages():
        rendering.add(prepare(scan, SIZE), predicted(colour))
    return rendering.finish()
