"""Luminance in, the same scan in colour out."""

import hashlib
import io

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import skimage.color
import skimage.data
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import nn

from colornet import metadata
from colornet.codecs import Scan, decode, open_source, tiff_output
from colornet.color.srgb import gray_lightness
from colornet.colorize import Colorizer
from colornet.errors import InColourError, ScanError, SettingsError
from colornet.inference.bundle import Bundle
from colornet.inference.letterbox import Letterbox, turn
from colornet.inference.page import prepare
from colornet.inference.predictor import Predictor
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from tests import exiftool, pictures


def bundle(seed: int = 0) -> Bundle:
    torch.manual_seed(seed)
    settings = {"width": 4}
    return Bundle(generator=build_generator("unet", settings), network="unet", settings=settings, image_size=32)


class LeftRed(nn.Module):
    """A stand-in generator with a known answer: the left half of the square is reddish, the right half bluish."""

    def forward(self, lightness):
        ab = torch.zeros(lightness.shape[0], 2, *lightness.shape[2:])
        middle = lightness.shape[3] // 2
        ab[:, 0, :, :middle] = 0.3
        ab[:, 1, :, middle:] = -0.3
        return ab.to(lightness.dtype)


def left_red(data: bytes) -> bytes:
    return Colorizer(Bundle(generator=LeftRed(), network="", settings={}, image_size=32))(data)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_letterboxes_lie_inside_and_keep_the_aspect_ratio(height, width, size):
    blank = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (height, width), (0, 0))
    letterbox = Letterbox.fit(Scan(codes=blank, lightness=np.zeros(256, np.float32), bits=8), size)
    assert letterbox.top >= 0 and letterbox.left >= 0
    assert letterbox.top + letterbox.height <= size and letterbox.left + letterbox.width <= size
    assert max(letterbox.height, letterbox.width) == size
    assert abs(letterbox.height - max(1.0, height * size / max(height, width))) <= 0.5
    assert abs(letterbox.width - max(1.0, width * size / max(height, width))) <= 0.5


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (91, 30), (5, 3)])
def test_prepare_is_the_small_picture_in_its_letterbox(shape):
    scan = decode(pictures.encoded(pictures.gray(*shape), "PNG"))
    small = prepare(scan, 32).seen
    assert small.shape == (32, 32) and small.dtype == np.float16
    letterbox = Letterbox.fit(scan, 32)
    inner = small[letterbox.top : letterbox.top + letterbox.height, letterbox.left : letterbox.left + letterbox.width]
    mean = scan.lightness[scan.codes].mean() / 50 - 1
    assert abs(inner.astype(np.float64).mean() - mean) < 0.05
    np.testing.assert_array_equal(
        small[:, : letterbox.left + 1].T, np.tile(small[:, letterbox.left], (letterbox.left + 1, 1))
    )


def test_prepare_sees_a_deep_scan_as_the_shallow_one():
    gray = pictures.gray(80, 60)
    shallow = decode(pictures.encoded(gray, "PNG"))
    almost = np.dstack([gray, gray, gray])
    almost[0, 0, 2] ^= 1  # so that it does not count as gray saved in colour
    colour = decode(pictures.encoded(almost, "PNG"))
    assert colour.codes.dtype == np.uint16
    difference = prepare(shallow, 32).seen.astype(np.float32) - prepare(colour, 32).seen
    assert np.abs(difference).mean() * 50 < 0.5  # averaged as codes here, as L* there


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("shape", [(70, 100), (101, 33), (1, 1), (3, 200)])
def test_output_has_the_format_size_and_lightness_of_the_scan(format, shape):
    data = pictures.encoded(pictures.gray(*shape), format)
    source = decode(data)
    result = decode(Colorizer(bundle())(data))
    assert open_source(Colorizer(bundle())(data)).format == open_source(data).format
    assert result.codes.shape == source.codes.shape
    difference = np.abs(result.lightness[result.codes] - source.lightness[source.codes])
    assert difference.max() <= 0.5 if format != "JPEG" else difference.mean() < 2


def test_colour_lands_where_the_network_put_it():
    """Letter-boxed on both axes in turn, so that a letterbox that is off by its padding would show."""
    for shape in ((60, 120), (120, 60), (64, 64)):
        data = pictures.encoded(np.full(shape, 119, np.uint8), "PNG")
        lab = skimage.color.rgb2lab(pictures.decoded(left_red(data)))
        quarter = shape[1] // 4
        assert lab[:, :quarter, 1].min() > 30 and lab[:, -quarter:, 2].max() < -30


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_network_sees_scans_upright_and_files_keep_their_pixels(orientation):
    """Pillow turns the source upright, and the output: there the left half must be red, whatever was stored."""
    stored = (60, 120) if orientation < 5 else (120, 60)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pictures.encoded(np.full(stored, 119, np.uint8), "JPEG", exif=exif, quality=95)
    output = pictures.decoded(left_red(data))
    assert output.shape[:2] == stored
    buffer = io.BytesIO()
    Image.fromarray(output).save(buffer, "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    lab = skimage.color.rgb2lab(upright)
    assert lab[:, :30, 1].min() > 30 and lab[:, -30:, 2].max() < -30


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_agrees_with_pillow(orientation):
    picture = pictures.gray(7, 11)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(turn(picture, orientation), np.asarray(ImageOps.exif_transpose(Image.open(buffer))))


def test_the_same_photograph_at_any_size_gives_the_same_colours():
    """1, 4 and 16 megapixels of one photograph: mean colour difference under 2."""
    generator = bundle()
    small = Image.fromarray(pictures.gray(1000, 1000))
    found = []
    for factor in (1, 2, 4):
        codes = np.asarray(small.resize((1000 * factor,) * 2, Image.Resampling.BICUBIC))
        scan = Scan(codes=codes, lightness=gray_lightness(8), bits=8)
        found.append(Predictor(generator)(prepare(scan, 256).seen[None])[0].astype(np.float32))
    for other in found[1:]:
        assert np.hypot(*(found[0] - other)).mean() < 2


def test_every_page_of_a_tiff_gets_its_own_colour():
    pages = [pictures.gray(40, 60, 1), pictures.gray(64, 32, 2), pictures.gray(20, 20, 3)]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for page in pages:
            file.write(page)
    colorizer = Colorizer(bundle())
    rendered = colorizer.render(buffer.getvalue())
    assert (rendered.pages, rendered.pixels) == (3, sum(page.size for page in pages))
    with tifffile.TiffFile(io.BytesIO(rendered.data)) as file:
        for page, source in zip(file.pages, pages, strict=True):
            alone = colorizer(pictures.encoded(source, "PNG"))
            np.testing.assert_array_equal(page.asarray(), pictures.decoded(alone))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib"},
        {"compression": "zstd"},
        {"tile": (32, 48)},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"rowsperstrip": 7},
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiffs_keep_their_layout_depth_and_lightness(options, kind, monkeypatch):
    monkeypatch.setattr(tiff_output, "STRIP_BYTES", 16 * 101 * 3)  # several strips
    gray = (pictures.gray(150, 101).astype(kind) * (257 if kind == np.uint16 else 1)) ^ kind(1)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, gray, **options)
    output = Colorizer(bundle())(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as before, tifffile.TiffFile(io.BytesIO(output)) as after:
        assert (after.is_bigtiff, after.byteorder) == (before.is_bigtiff, before.byteorder)
        old, new = before.pages[0], after.pages[0]
        assert (new.compression, new.is_tiled, new.dtype) == (old.compression, old.is_tiled, old.dtype)
        assert not new.is_tiled or (new.tilelength, new.tilewidth) == (old.tilelength, old.tilewidth)
        rgb = new.asarray()
    full = np.iinfo(kind).max
    found = skimage.color.rgb2lab(rgb / full)[..., 0]
    expected = skimage.color.rgb2lab(np.repeat(gray[..., None], 3, axis=2) / full)[..., 0]
    assert np.abs(found - expected).max() <= (0.5 if kind == np.uint8 else 0.01)


def test_jpeg_compressed_and_bilevel_tiffs(monkeypatch):
    """JPEG-compressed pages become deflate: another JPEG generation would change their luminance."""
    monkeypatch.setattr(tiff_output, "STRIP_BYTES", 16 * 101 * 3)
    for pixels, options, expected in [
        (pictures.gray(150, 101), {"compression": "jpeg"}, tifffile.COMPRESSION.ADOBE_DEFLATE),
        (pictures.gray(150, 101) > 128, {}, tifffile.COMPRESSION.NONE),
    ]:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, **options)
        output = Colorizer(bundle())(buffer.getvalue())
        with tifffile.TiffFile(io.BytesIO(output)) as file:
            assert file.pages[0].compression == expected
        source, result = decode(buffer.getvalue()), decode(output)
        difference = np.abs(result.lightness[result.codes] - source.lightness[source.codes])
        assert difference.max() <= 0.5


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "jp2", "webp", "bmp"])
@pytest.mark.parametrize("deep", [False, True])
def test_any_format_out(format, deep):
    gray = pictures.gray(50, 70)
    alpha = gray[::-1].copy()
    layers = np.dstack([gray, alpha]).astype(np.uint16) * 257 if deep else np.dstack([gray, alpha])
    settings = RenderSettings(output_format=format, quality=95)
    rendered = Colorizer(bundle(), settings).render(imagecodecs.png_encode(layers))
    result = decode(rendered.data)
    assert (rendered.format, result.codes.shape) == (format, gray.shape)
    assert result.bits == (16 if deep and format in ("png", "tiff", "jp2") else 8)
    assert (result.alpha is not None) == (format not in ("jpeg", "bmp"))
    if result.alpha is not None:
        np.testing.assert_array_equal(result.alpha, alpha.astype(np.uint16) * 257 if result.bits == 16 else alpha)
    expected = decode(pictures.encoded(gray, "PNG"))
    difference = np.abs(result.lightness[result.codes] - expected.lightness[expected.codes])
    assert difference.max() <= 0.5 if format in ("png", "tiff", "jp2", "bmp") else difference.mean() < 2


def test_lossless_webp_stays_lossless():
    gray = np.dstack([pictures.gray(40, 50)] * 3)
    data = pictures.encoded(gray, "WEBP", lossless=True, quality=50)
    source, result = decode(data), decode(Colorizer(bundle())(data))
    difference = np.abs(result.lightness[result.codes] - source.lightness[source.codes])
    assert difference.max() <= 0.5


def test_plain_and_guided_differ_only_in_colour():
    data = pictures.encoded(pictures.gray(80, 80), "PNG")
    guided = decode(Colorizer(bundle())(data))
    plain = decode(Colorizer(bundle(), RenderSettings(upsampling="plain"))(data))
    assert np.abs(guided.lightness[guided.codes] - plain.lightness[plain.codes]).max() <= 1.0
    assert not np.array_equal(guided.thumbnail, plain.thumbnail)


def test_a_gray_jpeg_keeps_its_luma_bit_for_bit():
    for options in ({}, {"progressive": True}, {"quality": 35}):
        data = pictures.encoded(pictures.gray(101, 77), "JPEG", **options)
        output = Colorizer(bundle())(data)
        assert simplejpeg.decode_jpeg_header(output)[2] == "YCbCr"
        np.testing.assert_array_equal(
            simplejpeg.decode_jpeg(output, "GRAY", strict=True), simplejpeg.decode_jpeg(data, "GRAY", strict=True)
        )


def test_a_jpeg_with_another_gray_profile_is_rendered_through_its_pixels():
    """Its luma means something else than sRGB gray: to keep the bits would change the picture."""
    linear = imagecodecs.cms_profile("gray", gamma=1.0)
    data = pictures.encoded(pictures.gray(64, 64), "JPEG", icc_profile=linear, quality=98)
    source, result = decode(data), decode(Colorizer(bundle())(data))
    difference = result.lightness[result.codes] - source.lightness[source.codes]
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP"])
def test_damaged_scans_fail_or_are_rendered_and_marked(format):
    data = pictures.encoded(pictures.gray(200, 200), format)
    half = data[: len(data) * 2 // 3]
    with pytest.raises(ScanError, match="damaged"):
        Colorizer(bundle())(half)
    rendered = Colorizer(bundle(), RenderSettings(damaged="render")).render(half)
    assert "damaged" in rendered.note
    result, source = decode(rendered.data), decode(data)
    top = np.s_[:60]
    difference = np.abs(result.lightness[result.codes][top] - source.lightness[source.codes][top])
    assert difference.mean() < 2 or format == "BMP"  # a BMP begins with its last row
    assert Colorizer(bundle(), RenderSettings(damaged="render")).render(data).note is None


def test_outputs_say_what_they_are():
    data = pictures.encoded(pictures.gray(64, 64), "JPEG", dpi=(300, 300))
    output = Colorizer(bundle()).render(data, name="box/42.jpg").data
    found = metadata.read(output, "jpeg")
    packet = found.xmp.decode()
    assert "digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in packet
    assert hashlib.sha256(data).hexdigest() in packet and "42.jpg" in packet and "Colornet" in packet
    assert found.dpi == (300, 300) and found.icc == metadata.icc_profiles.srgb()


def test_scans_in_colour_are_skipped_unless_asked():
    data = pictures.encoded(skimage.data.astronaut(), "PNG")
    with pytest.raises(InColourError):
        Colorizer(bundle())(data)
    assert Colorizer(bundle(), RenderSettings(in_colour="copy"))(data) == data
    assert Colorizer(bundle(), RenderSettings(in_colour="recolor"))(data) != data


def test_bfloat16_is_close_to_float32():
    batch = (np.random.default_rng(0).random((1, 32, 32)) * 2 - 1).astype(np.float16)
    exact = Predictor(bundle(), precision="float32")(batch).astype(np.float32)
    fast = Predictor(bundle(), precision="bfloat16")(batch).astype(np.float32)
    assert np.abs(exact - fast).mean() < 1.0


def test_the_same_bytes_every_time():
    data = pictures.encoded(pictures.gray(50, 40), "JPEG")
    assert Colorizer(bundle())(data) == Colorizer(bundle())(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("size", -1), ("quality", 0), ("quality", 101), ("max_pixels", 0)),
        *(("strength", -0.1), ("strength", 2.1), ("neutral_below", -0.1), ("neutral_below", 1.1)),
    ],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(SettingsError, match=f"^{field} should be"):
        RenderSettings(**{field: value})


# --- how sure the generator was ---------------------------------------------------------------------------------------


@exiftool.needed
def test_an_output_says_how_sure_the_generator_was_of_its_least_certain_page(tmp_path):
    torch.manual_seed(0)
    settings = {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"}
    generator = build_generator("backbone", settings)
    nn.init.normal_(generator.out.weight)
    colorizer = Colorizer(Bundle(generator=generator, network="backbone", settings=settings, image_size=32))
    pages = [pictures.gray(40, 60, seed) for seed in range(3)]
    singly = [colorizer.render(pictures.encoded(page, "TIFF")) for page in pages]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack(pages), photometric="minisblack")
    together = colorizer.render(buffer.getvalue())
    assert together.confidence == min(each.confidence for each in singly) < max(each.confidence for each in singly)
    for rendered, name in ((together, "a.tif"), (colorizer.render(pictures.encoded(pages[0], "JPEG")), "a.jpg")):
        found = exiftool.read(rendered.data, tmp_path / name)
        assert found["XMP-colornet:Confidence"] == pytest.approx(rendered.confidence, abs=1e-4)
    silent = Colorizer(bundle()).render(pictures.encoded(pages[0], "JPEG"))
    assert silent.confidence is None
    assert "XMP-colornet:Confidence" not in exiftool.read(silent.data, tmp_path / "b.jpg")
