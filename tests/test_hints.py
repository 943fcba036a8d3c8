"""People's hints: what may be said, where the network sees it, and where it comes out."""

import io
import re

import numpy as np
import pytest
import skimage.color
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet import Colorizer, Hint
from colornet.codecs import open_source
from colornet.errors import BundleError, InColourError, SettingsError
from colornet.hints import LONGEST_NAME, LONGEST_NOTE, from_json, in_order, parse, people, to_json
from colornet.inference import bundle as bundles
from colornet.inference import hints as located
from colornet.inference.bundle import Bundle
from colornet.inference.letterbox import Letterbox
from colornet.inference.page import prepare
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from tests import hinted, pictures

# --- what may be said ------------------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=50)
def test_a_colour_is_its_a_and_b(rgb):
    expected = skimage.color.rgb2lab(np.array(rgb, np.uint8)[None, None], illuminant="D65")[0, 0, 1:]
    text = "#{:02x}{:02x}{:02x}".format(*rgb)
    assert Hint(0, 0, rgb) == Hint(0, 0, text) == Hint(0, 0, text.upper())
    assert Hint(0, 0, rgb).ab == pytest.approx(expected, abs=0.05)
    assert Hint(0, 0, Hint(0, 0, rgb).ab).ab == Hint(0, 0, rgb).ab


def test_other_ways_to_say_it():
    assert Hint(0, 0, (12, -30.256)) == Hint(0, 0, "ab(12, -30.26)") == Hint(0, 0, "ab( +12.0,-30.26 )")
    assert Hint(0, 0, "#808080").ab == (0, 0)
    assert Hint(np.float32(7.9), np.int64(3), np.array([1, 2, 3]).tolist()) == Hint(7, 3, "#010203")
    assert parse("420,1310=#2F6b3a", "A") == Hint(420, 1310, "#2f6b3a", by="A")
    assert parse("1.5, 2, 3 = ab(1, 2)") == Hint(1, 2, (1, 2), page=3)


NAN = float("nan")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"color": "red"}, "color must be .*not 'red'"),
        ({"color": "#ff00"}, "not '#ff00'"),
        ({"color": "#ff00000"}, "not '#ff00000'"),
        ({"color": "#ff0000\n"}, r"not '#ff0000\\n'"),
        ({"color": (1, 2, 300)}, "not \\(1, 2, 300\\)"),
        ({"color": (0.5, 2, 3)}, "not \\(0.5, 2, 3\\)"),
        ({"color": (True, 2, 3)}, "not \\(True, 2, 3\\)"),
        ({"color": (NAN, 2)}, "not \\(nan, 2\\)"),
        ({"color": (1,)}, "not \\(1,\\)"),
        ({"color": None}, "not None"),
        ({"color": (200, 0)}, "lie between -128 and 127"),
        ({"color": "ab(0, -129)"}, "lie between -128 and 127"),
        ({"x": NAN}, "x must be a number of pixels, not nan"),
        ({"y": float("inf")}, "y must be a number of pixels, not inf"),
        ({"x": "4"}, "x must be a number of pixels, not '4'"),
        ({"y": True}, "y must be a number of pixels, not True"),
        ({"page": -1}, "page must be a whole number from 0, not -1"),
        ({"page": 1.0}, "page must be"),
        ({"by": 7}, "by must be text"),
        ({"by": "x" * (LONGEST_NAME + 1)}, "by has 201 characters"),
        ({"note": "x" * (LONGEST_NOTE + 1)}, "note has 2001"),
        ({"note": "\udc80"}, "note is not Unicode"),
    ],
)
def test_what_cannot_be_is_named_with_the_hint(wrong, words):
    place = re.escape(f"the hint at ({wrong.get('x', 3)}, {wrong.get('y', 5)})")
    with pytest.raises(SettingsError, match=f"^{place}.*{words}"):
        Hint(**{"x": 3, "y": 5, "color": "#000000"} | wrong)


@pytest.mark.parametrize("text", ["", "1,2", "1=#000000", "1;2=#000000", "1,2,-1=#000000", "a,b=#000000", "=#000000"])
def test_a_hint_of_a_command_line_that_is_none(text):
    with pytest.raises(SettingsError):
        parse(text)


HINTS = st.builds(
    Hint,
    st.integers(0, 9),
    st.integers(0, 9),
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    st.integers(0, 2),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


@given(st.lists(HINTS, max_size=5, unique_by=lambda hint: (hint.x, hint.y, hint.page)))
def test_the_order_in_which_hints_are_given_says_nothing(hints):
    assert in_order(hints) == in_order(reversed(hints))
    assert from_json(to_json(hints)) == tuple(hints)
    assert RenderSettings().digest_with(hints) == RenderSettings().digest_with(hints[::-1])
    assert (RenderSettings().digest_with(hints) == RenderSettings().digest) == (not hints)


@pytest.mark.parametrize("changed", [{"x": 2}, {"color": "#000001"}, {"page": 1}, {"by": "B"}, {"note": "n"}])
def test_whatever_a_hint_says_is_in_the_digest(changed):
    said = {"x": 1, "y": 1, "color": "#000000", "by": "A"}
    digest = RenderSettings().digest_with([Hint(**said)])
    assert digest != RenderSettings().digest_with([Hint(**said | changed)])
    assert digest != RenderSettings(quality=80).digest_with([Hint(**said)])


def test_two_colours_for_one_pixel_are_a_contradiction_and_too_many_are_too_many():
    with pytest.raises(SettingsError, match=r"the hint at \(1, 2\): it is given two colours, #000000 and #000001"):
        in_order([Hint(1, 2, "#000001"), Hint(1, 2, "#000000")])
    with pytest.raises(SettingsError, match="1001 hints for one scan"):
        in_order([Hint(number, 2, "#000000") for number in range(1001)])
    assert len(in_order([Hint(1, 2, "#000000"), Hint(1, 2, "#000000", by="B"), Hint(1, 2, "#ff0000", page=1)])) == 3
    assert people([Hint(1, 2, "#000000", by=by) for by in ("B", "", "A", "B")]) == "A; B"


# --- where the network sees it ---------------------------------------------------------------------------------------


def stored(picture: np.ndarray, orientation: int) -> bytes:
    """A PNG that, turned as it says, is this picture."""
    undo = {1: (), 2: (2,), 3: (3,), 4: (4,), 5: (5,), 6: (8,), 7: (7,), 8: (6,)}[orientation]
    image = Image.fromarray(picture)
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"}
    turns |= {7: "TRANSVERSE", 8: "ROTATE_90"}
    for each in undo:
        image = image.transpose(Image.Transpose[turns[each]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@given(st.data())
@settings(max_examples=80)
def test_a_hint_lands_on_what_it_is_put_on(data):
    """One white pixel on black, however the scan is turned, and however large: the network sees both at one place."""
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    picture = np.zeros((height, width), np.uint8)
    picture[y, x] = 255
    scan = open_source(stored(picture, data.draw(st.integers(1, 8)))).page(0)
    page = prepare(scan, 32, [Hint(x, y, (40, -20))])
    ((row, column, a, b),) = page.hints
    assert (a, b) == (40, -20)
    box = page.letterbox
    assert box.top <= row < box.top + box.height and box.left <= column < box.left + box.width
    light = page.seen.astype(np.float64) + 1
    seen_rows, seen_columns = np.nonzero(light >= light.max() * 0.999)
    distance = np.maximum(abs(seen_rows - row), abs(seen_columns - column))
    assert distance.min() <= 1


BOX = Letterbox(4, 0, 24, 32)


def test_the_network_is_shown_a_patch_that_ends_at_the_padding():
    cells = np.array([[4, 0, 10, -5], [20, 8, -128, 127]], np.float32)
    drawn = located.planes(cells, BOX, 32)
    known = np.zeros((32, 32))
    known[4:6, :2] = known[19:22, 7:10] = 1
    assert np.array_equal(drawn[2], known)
    assert np.all(drawn[:, known == 0] == 0)
    assert drawn[:2, 20, 8] == pytest.approx([-1, 1])
    assert drawn[:2, 5, 1] == pytest.approx([138 / 255 * 2 - 1, 123 / 255 * 2 - 1])
    assert np.array_equal(located.planes(None, BOX, 32), np.zeros((3, 32, 32)))


def test_hints_side_by_side_keep_their_own_pixels():
    cells = np.array([[10, 10, 60, 0], [10, 11, 0, 60]], np.float32)
    a, b, known = located.planes(cells, BOX, 32)[:, 10, 9:13]
    assert np.array_equal(known, [1, 1, 1, 1])
    scaled = [(each + 128) / 255 * 2 - 1 for each in (60, 60, 0, 0)]
    assert a == pytest.approx(scaled, abs=1e-6) and b == pytest.approx(scaled[::-1], abs=1e-6)


def test_hints_in_one_pixel_of_the_network_come_to_their_mean():
    scan = open_source(pictures.encoded(pictures.gray(320, 320), "PNG")).page(0)
    cells = prepare(scan, 32, [Hint(160, 160, (10, 0)), Hint(169, 169, (20, 6)), Hint(170, 160, (1, 1))]).hints
    assert cells.tolist() == [[16, 16, 15, 3], [16, 17, 1, 1]]
    assert prepare(scan, 32).hints is None


# --- where it comes out ----------------------------------------------------------------------------------------------


def colorizer(**options) -> Colorizer:
    return Colorizer(hinted.echo(64), RenderSettings(upsampling="plain", **options))


@pytest.mark.parametrize("upsampling", ["plain", "guided"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_colour_comes_out_on_what_the_hint_is_put_on(orientation, upsampling):
    """However a scan is turned, a hint's colour fills the thing that it is on, and nothing else."""
    picture = np.full((120, 200), 60, np.uint8)
    picture[16:44, 140:180] = 190
    options = RenderSettings(upsampling=upsampling)
    steered = Colorizer(hinted.echo(64), options)(stored(picture, orientation), hints=[Hint(150, 40, "#c02020")])
    chroma = hinted.chroma(hinted.upright(steered))
    assert chroma.shape == picture.shape
    assert chroma[22:38, 146:174].min() > 60
    chroma[10:50, 134:186] = 0  # the thing, and two small pixels around it
    assert chroma.max() < 3


def test_it_is_the_hints_own_colour_at_the_scans_own_lightness():
    data = pictures.encoded(np.full((64, 64), 119, np.uint8), "PNG")
    pixel = np.asarray(Image.open(io.BytesIO(colorizer()(data, hints=[Hint(32, 32, "#203060")]))))[32, 32]
    lab = skimage.color.rgb2lab(pixel[None, None])[0, 0]
    assert lab[1:] == pytest.approx(Hint(0, 0, "#203060").ab, abs=1)
    assert lab[0] == pytest.approx(skimage.color.rgb2lab(np.full((1, 1, 3), 119, np.uint8))[0, 0, 0], abs=0.5)


def test_each_page_has_its_own_hints():
    buffer = io.BytesIO()
    halves = np.full((3, 50, 40), 60, np.uint8)
    halves[:, 25:] = 190
    tifffile.imwrite(buffer, halves, photometric="minisblack")
    hints = [Hint(10, 40, "#00a000", page=2), Hint(30, 10, "#a00000")]
    pages = tifffile.imread(io.BytesIO(colorizer()(buffer.getvalue(), hints=hints)))
    found = [hinted.chroma(page) for page in pages]
    assert found[0][10, 30] > 50 and found[1].max() < 3 and found[2][40, 10] > 50
    assert found[0][40, 10] < 3 and found[2][10, 30] < 3
    with pytest.raises(SettingsError, match=r"^the hint at \(1, 1\) of page 3: there is no such page; .* has 3"):
        colorizer()(buffer.getvalue(), hints=[Hint(1, 1, "#000000", page=3)])
    with pytest.raises(SettingsError, match=r"of page 1: there is no such page; .* has 1"):
        colorizer(output_format="png")(buffer.getvalue(), hints=[Hint(1, 1, "#000000", page=1)])


@pytest.mark.parametrize(("x", "y"), [(90, 0), (0, 60), (-1, 0), (0, -0.5), (1e30, 0)])
def test_outside_of_the_picture_is_named(x, y):
    data = pictures.encoded(pictures.gray(60, 90), "JPEG")
    with pytest.raises(SettingsError, match=r"^the hint at .* lies outside of the picture, which has 90×60 pixels"):
        colorizer()(data, hints=[Hint(x, y, "#000000")])


def test_scans_in_colour_are_skipped_with_hints_too():
    data = pictures.encoded(pictures.colour(60, 90), "JPEG")
    with pytest.raises(InColourError):
        colorizer()(data, hints=[Hint(1, 1, "#000000")])


def test_hints_on_a_page_in_colour_beside_a_gray_one_are_not_used_and_the_ledger_says_so():
    pages, buffer = [np.dstack([pictures.gray(60, 90)] * 3), pictures.colour(60, 90)], io.BytesIO()
    tifffile.imwrite(buffer, np.stack(pages), photometric="rgb")
    hint = Hint(1, 1, "#000000", page=1)
    rendered = colorizer().render(buffer.getvalue(), hints=[hint])
    assert rendered.note.endswith("hints on pages in colour already are not used")
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(rendered.data), key=1), pages[1])
    on_gray = colorizer().render(buffer.getvalue(), hints=[Hint(1, 1, "#000000", page=0)])
    assert "hints" not in on_gray.note


def test_a_bundle_that_takes_none_says_so_with_its_name(tmp_path):
    generator = build_generator("unet", {"width": 2})
    place = str(tmp_path / "bundle")
    bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32), place)
    old = Colorizer.from_bundle(place)
    assert not old.bundle.takes_hints
    with pytest.raises(BundleError, match=f"^the bundle {re.escape(place)} takes no hints"):
        old(b"not even a picture", hints=[Hint(1, 1, "#000000")])
    page = prepare(open_source(pictures.encoded(pictures.gray(9, 9), "PNG")).page(0), 32, [Hint(1, 1, "#000000")])
    with pytest.raises(SettingsError, match="takes no hints"):
        old.predictor.predict(page.seen[None], [page.letterbox], [page.hints])
