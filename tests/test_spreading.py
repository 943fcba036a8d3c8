"""Colour is spread by confidence, as far as edges of L* let it; hints are held."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from colornet.codecs import Scan, decode
from colornet.color.srgb import gray_lightness
from colornet.inference.letterbox import Letterbox
from colornet.inference.page import PreparedPage, prepare
from colornet.inference.predictor import Prediction
from colornet.rendering.render import RenderSettings, small_colour
from colornet.rendering.spreading import HINT_REACH, Hint, spread
from tests import pictures

HEIGHT, WIDTH = 48, 64
FLAT = np.full((HEIGHT, WIDTH), 50, np.float32)
LEFT = np.arange(WIDTH) < WIDTH // 2
RED, BLUE = np.float32([[[40]], [[20]]]), np.float32([[[-5]], [[-40]]])
NOISE = np.random.default_rng(0)


def where(mask: NDArray[np.bool], inside: object, outside: object) -> NDArray[np.float32]:
    """One of two values or colours for each pixel."""
    return np.where(np.broadcast_to(mask, (HEIGHT, WIDTH)), inside, outside).astype(np.float32)


SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(SIZES, st.integers(0, 99), st.floats(0.01, 1), st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_a_constant_colour_stays_if_nothing_fades(shape, seed, least, colour):
    random = np.random.default_rng(seed)
    lightness, sure = random.uniform(0, 100, shape), random.uniform(least, 1, shape)
    ab = np.broadcast_to(np.float32(colour)[:, None, None], (2, *shape))
    found = spread(ab, sure.astype(np.float32), lightness.astype(np.float32), neutral_below=0)
    np.testing.assert_allclose(found, ab, rtol=1e-4, atol=1e-4)


@given(SIZES, st.integers(0, 99), st.floats(0, 1))
def test_no_channel_goes_beyond_what_was_predicted(shape, seed, neutral_below):
    random = np.random.default_rng(seed)
    ab = random.uniform(-90, 90, (2, *shape)).astype(np.float32)
    lightness, sure = random.uniform(0, 100, shape), random.uniform(0, 1, shape)
    found = spread(ab, sure.astype(np.float32), lightness.astype(np.float32), neutral_below=neutral_below)
    assert np.isfinite(found).all() and found.dtype == np.float32
    for channel, given_ in zip(found, ab, strict=True):
        assert min(given_.min(), 0) - 1e-3 <= channel.min() and channel.max() <= max(given_.max(), 0) + 1e-3


@pytest.mark.parametrize("neutral_below", [0.0, 0.2])
def test_where_nobody_knows_it_is_neutral(neutral_below):
    ab = NOISE.uniform(-90, 90, (2, HEIGHT, WIDTH)).astype(np.float32)
    assert not spread(ab, np.zeros_like(FLAT), FLAT, neutral_below=neutral_below).any()


def test_half_of_the_colour_is_left_of_what_is_as_sure_as_the_setting_and_less_of_the_less_sure():
    ab = np.broadcast_to(RED, (2, HEIGHT, WIDTH))
    shares = [
        spread(ab, np.full_like(FLAT, sure), FLAT, neutral_below=0.3)[0].mean() / 40 for sure in (0.1, 0.3, 0.6, 1.0)
    ]
    assert shares == pytest.approx([1 / 4, 1 / 2, 2 / 3, 1 / 1.3], abs=1e-3)


def test_with_0_nothing_fades_however_unsure():
    sure = where(LEFT, 0.01, 0.02)
    found = spread(np.broadcast_to(RED, (2, HEIGHT, WIDTH)), sure, FLAT, neutral_below=0)
    np.testing.assert_allclose(found, np.broadcast_to(RED, found.shape), rtol=1e-4)


def test_the_unsure_takes_the_colour_of_the_sure_on_the_same_thing():
    ab, sure = where(LEFT, RED, BLUE), where(LEFT, 0.9, 0.1)
    found = spread(ab, sure, FLAT, neutral_below=0)
    assert np.abs(found[:, :, : WIDTH // 2 + 16] - RED).max() < 6


@pytest.mark.parametrize("difference", [15, -15, 50])
def test_colour_does_not_cross_an_edge_of_lightness(difference):
    """Red and sure on the left, blue and unsure on the right: at the edge itself, less than a tenth crosses."""
    ab, sure, lightness = where(LEFT, RED, BLUE), where(LEFT, 0.9, 0.25), where(LEFT, 50, 50 + difference)
    found = spread(ab, sure, lightness, neutral_below=0)
    crossed = (found - BLUE)[0] / (RED - BLUE)[0]
    assert crossed[:, WIDTH // 2].max() < 0.1
    assert crossed[:, WIDTH // 2 - 1].min() > 0.9


def test_blotches_are_smoothed_and_the_mean_of_the_sure_is_kept():
    """A field with noise in its colour, more of it where less is known: less than a fifth of it is left."""
    sure = NOISE.uniform(0.1, 0.6, (HEIGHT, WIDTH)).astype(np.float32)
    ab = RED + NOISE.normal(0, 10, (2, HEIGHT, WIDTH)) / (sure + 0.5)
    found = spread(ab.astype(np.float32), sure, FLAT, neutral_below=0)
    assert np.std(found[0]) < 0.2 * np.std(ab[0])
    assert np.abs(found.mean((1, 2)) - RED[:, 0, 0]).max() < 1


def test_what_knows_nothing_of_certainty_is_left_as_it_is():
    ab = NOISE.uniform(-90, 90, (2, HEIGHT, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(spread(ab, None, FLAT, neutral_below=0.9), ab)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_tiny_pictures(shape):
    found = spread(
        np.ones((2, *shape), np.float32), np.ones(shape, np.float32), np.ones(shape, np.float32), neutral_below=0
    )
    np.testing.assert_allclose(found, 1, rtol=1e-6)


# --- hints ------------------------------------------------------------------------------------------------------------


GREEN = (-30.0, 25.0)
DISC = (np.mgrid[:HEIGHT, :WIDTH][0] - 24) ** 2 + (np.mgrid[:HEIGHT, :WIDTH][1] - 30) ** 2 < 14**2


@pytest.mark.parametrize("certainty", [0.0, 0.2, 1.0, None])
@pytest.mark.parametrize("neutral_below", [0.0, 0.5])
def test_a_hint_is_held_where_it_is_put(certainty, neutral_below):
    sure = None if certainty is None else np.full_like(FLAT, certainty)
    ab = np.broadcast_to(RED, (2, HEIGHT, WIDTH))
    hints = [Hint(24, 30, *GREEN), Hint(0, 0, 0.0, 0.0)]
    found = spread(ab, sure, where(DISC, 70, 40), neutral_below=neutral_below, hints=hints)
    for hint in hints:
        assert np.hypot(*(found[:, hint.row, hint.column] - (hint.a, hint.b))) < 1


def test_a_hint_reaches_over_its_thing_and_not_beyond():
    """A disc that was taken for red, with one hint in it: green up to the rim, and as it was outside."""
    lightness, sure = where(DISC, 70, 40), np.full_like(FLAT, 0.3)
    ab = np.broadcast_to(RED, (2, HEIGHT, WIDTH))
    without = spread(ab, sure, lightness, neutral_below=0)
    found = spread(ab, sure, lightness, neutral_below=0, hints=[Hint(24, 30, *GREEN)])
    error = np.hypot(*(found - np.float32(GREEN)[:, None, None]))
    assert error[DISC].mean() < 5
    assert np.hypot(*(found - without))[~DISC].mean() < 0.5


def test_between_two_hints_on_one_thing_colour_goes_over():
    hints = [Hint(24, 20, 30.0, 0.0), Hint(24, 44, -30.0, 0.0)]
    found = spread(
        np.zeros((2, HEIGHT, WIDTH), np.float32), np.full_like(FLAT, 0.3), FLAT, neutral_below=0, hints=hints
    )
    line = found[0, 24, 20:45]
    assert (np.diff(line) <= 0).all() and abs(line[12]) < 1


def test_far_from_a_hint_nothing_changes():
    ab, sure = np.broadcast_to(RED, (2, HEIGHT, WIDTH)), np.full_like(FLAT, 0.4)
    found = spread(ab, sure, FLAT, neutral_below=0, hints=[Hint(24, 0, *GREEN)])
    assert np.abs(found - RED)[:, :, int(4 * HINT_REACH * WIDTH) :].max() < 0.1


@pytest.mark.parametrize(("row", "column"), [(-1, 0), (HEIGHT, 0), (0, WIDTH)])
def test_a_hint_outside_is_an_error_that_says_where(row, column):
    with pytest.raises(ValueError, match=f"row {row}, column {column} lies outside of 48×64"):
        spread(np.zeros((2, HEIGHT, WIDTH), np.float32), None, FLAT, neutral_below=0, hints=[Hint(row, column, 0, 0)])


# --- as rendering does it ---------------------------------------------------------------------------------------------


SIZE = 64


def predicted(seed: int = 0) -> Prediction:
    random = np.random.default_rng(seed)
    cells = random.uniform(0.1, 0.8, (SIZE // 4, SIZE // 4)).astype(np.float16)
    return Prediction(random.uniform(-60, 60, (2, SIZE, SIZE)).astype(np.float16), 0.5, cells)


def page_of(shape: tuple[int, int] = (90, 60)) -> PreparedPage:
    return prepare(decode(pictures.encoded(pictures.gray(*shape), "PNG")), SIZE)


def painted(
    page: PreparedPage, prediction: Prediction, options: RenderSettings, hints: Sequence[Hint] = ()
) -> NDArray[np.float32]:
    return small_colour(prediction, page.letterbox, page.lightness, options, hints)


@given(st.floats(0, 2))
def test_strength_scales_chroma_and_keeps_the_hue(strength):
    plain = painted(page_of(), predicted(), RenderSettings())
    found = painted(page_of(), predicted(), RenderSettings(strength=strength))
    np.testing.assert_allclose(found, strength * plain, rtol=1e-3, atol=1e-4)


def test_strength_0_is_gray_but_for_hints():
    assert not painted(page_of(), predicted(), RenderSettings(strength=0)).any()
    found = painted(page_of(), predicted(), RenderSettings(strength=0), [Hint(30, 20, *GREEN)])
    assert np.hypot(*(found[:, 30, 20] - GREEN)) < 1


def test_strength_counts_without_a_distribution_too():
    prediction = Prediction(predicted().ab, None)
    found = painted(page_of(), prediction, RenderSettings(strength=0.5, neutral_below=1))
    expected = page_of().letterbox.cut(prediction.ab.astype(np.float32)) / 2
    np.testing.assert_array_equal(found, expected)


@given(st.integers(1, 90), st.integers(1, 90), hnp.arrays(np.float16, (2, SIZE, SIZE), elements=st.integers(-60, 60)))
def test_the_padding_does_not_count(height, width, other):
    """What is predicted of the padding is anything: the picture's colour stays as it is."""
    page = page_of((height, width))
    box = page.letterbox
    inside = np.zeros((SIZE, SIZE), np.bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    cells = inside.reshape(SIZE // 4, 4, SIZE // 4, 4).any((1, 3))
    prediction = predicted()
    changed = Prediction(np.where(inside, prediction.ab, other), 0.5, np.where(cells, prediction.certainty, 0))
    found, expected = (painted(page, each, RenderSettings()) for each in (changed, prediction))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_scan_gets_the_same_colour(orientation):
    upright = page_of()
    letterbox = Letterbox(
        *(getattr(upright.letterbox, name) for name in ("top", "left", "height", "width")), orientation
    )
    scan = Scan(codes=np.zeros((1, 1), np.uint8), lightness=gray_lightness(8), bits=8, orientation=orientation)
    turned = PreparedPage(scan, letterbox, letterbox.as_stored(upright.lightness[None])[0], upright.seen)
    found = painted(turned, predicted(), RenderSettings(), [Hint(5, 9, *GREEN)])
    expected = painted(upright, predicted(), RenderSettings(), [Hint(5, 9, *GREEN)])
    np.testing.assert_array_equal(found, letterbox.as_stored(expected))
