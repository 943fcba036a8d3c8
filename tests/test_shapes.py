"""The shapes tell their colour by their form and by nothing else, and are the same wherever they are made."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from skimage.color import rgb2lab

from colornet.datasets.shapes import KINDS, MIN_SIZE, SRGB, draw_shape, generate


def test_kinds_are_told_apart_by_colour_alone():
    assert set(KINDS) == set(SRGB)
    for kind, lab in KINDS.items():
        assert np.allclose(rgb2lab(np.array(SRGB[kind], np.uint8)), lab, atol=0.01)
        assert abs(lab[0] - 60) < 0.03
        assert np.hypot(*lab[1:]) >= 45
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in combinations(KINDS.values(), 2)) > 60


@pytest.mark.parametrize("size", [MIN_SIZE, 33, 64, 257])
@pytest.mark.parametrize("kind", KINDS)
def test_inside_has_the_kinds_colour_and_the_ground_is_white(kind, size):
    for seed in range(20):
        rgb, mask = draw_shape(kind, size, np.random.default_rng(seed))
        assert rgb.shape == (size, size, 3) and rgb.dtype == np.uint8
        assert mask.shape == (size, size) and mask.dtype == bool and mask.any()
        lab = rgb2lab(rgb)
        assert np.abs(np.linalg.norm(lab[mask] - KINDS[kind], axis=-1)).max() < 2
        border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
        assert (border == 255).all(-1).mean() > 0.5
        assert (rgb == 255).all(-1).mean() > 0.4


def test_edges_have_the_same_luminance_for_every_colour():
    """The same coverage gives the same L*, whatever the colour: mixed in gamma-encoded sRGB, edges would tell it."""
    for kind in KINDS:
        rgb, _ = draw_shape(kind, 64, np.random.default_rng(1))
        lightness = rgb2lab(rgb)[..., 0]
        linear = ((lightness + 16) / 116) ** 3
        covered = (1 - linear) / (1 - ((60 + 16) / 116) ** 3)
        assert np.abs(covered * 16 - np.rint(covered * 16)).max() < 0.25  # whole sixteenths, as drawn at 4×


def test_samples_depend_on_seed_and_index_alone():
    whole = list(generate(20, size=32, seed=5))
    parts = [*generate(7, size=32, seed=5), *generate(13, size=32, seed=5, start=7)]
    for one, other in zip(whole, parts, strict=True):
        assert (one.kind, one.name) == (other.kind, other.name)
        assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.mask, other.mask)
    assert any(not np.array_equal(a.rgb, b.rgb) for a, b in zip(whole, generate(20, size=32, seed=6), strict=True))


def test_kinds_are_balanced_and_names_unique():
    shapes = list(generate(120, size=MIN_SIZE, seed=0))
    assert set(Counter(shape.kind for shape in shapes).values()) == {20}
    assert len({shape.name for shape in shapes}) == 120
    assert len({tuple(s.kind for s in shapes[i : i + 6]) for i in range(0, 120, 6)}) > 5


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"count": 0, "size": 64, "seed": 1}, "count"),
        ({"count": 1, "size": 15, "seed": 1}, "size"),
        ({"count": 1, "size": 64, "seed": -1}, "seed"),
        ({"count": 1, "size": 64, "seed": 1, "start": -1}, "start"),
    ],
)
def test_wrong_numbers_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        generate(settings.pop("count"), **settings)


def test_wrong_kind_is_named():
    with pytest.raises(ValueError, match="hexagon"):
        draw_shape("hexagon", 64, np.random.default_rng(0))
