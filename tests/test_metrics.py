"""Every metric against another implementation or a closed form."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.ndimage
import scipy.stats
import skimage.color
import skimage.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colornet.errors import SettingsError
from colornet.evaluation import comparison, metrics, photographs, summary
from colornet.evaluation.bootstrap import estimate, interval
from colornet.evaluation.comparison import Example, Table
from colornet.evaluation.gallery import CHOSEN, choose
from colornet.evaluation.learned import Learned
from colornet.evaluation.measure import Truth, channels_first
from colornet.evaluation.metrics import METRICS
from colornet.evaluation.reference import reference_of
from colornet.evaluation.trivial import Constant
from colornet.inference.bundle import Bundle
from colornet.metrics import chroma_error
from colornet.metrics.bleeding import bleeding, off_edge_share
from colornet.metrics.blotches import blotches
from colornet.metrics.ciede2000 import ciede2000
from colornet.metrics.colourfulness import colourfulness
from colornet.metrics.psnr import BEST_PSNR, psnr
from colornet.metrics.ssim import ssim
from colornet.networks import build_generator
from tests import pictures

# --- PSNR, SSIM -------------------------------------------------------------------------------------------------------


def noisy_pair() -> tuple[np.ndarray, np.ndarray]:
    true = pictures.colour(40, 50)
    noise = np.random.default_rng(1).normal(0, 20, true.shape)
    return np.clip(true + noise, 0, 255).astype(np.uint8), true


def tensor(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def test_psnr_is_that_of_scikit_image():
    noisy, true = noisy_pair()
    found = psnr(tensor(noisy, true), tensor(true, true), peak=255)
    assert found[0].item() == pytest.approx(skimage.metrics.peak_signal_noise_ratio(true, noisy), abs=1e-4)
    assert found[1].item() == pytest.approx(BEST_PSNR)


def test_ssim_is_that_of_scikit_image():
    noisy, true = noisy_pair()
    found = ssim(tensor(noisy, true), tensor(true, true))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    wanted = skimage.metrics.structural_similarity(true, noisy, channel_axis=2, **options)
    assert found[0].item() == pytest.approx(wanted, abs=1e-4)
    assert found[1].item() == pytest.approx(1.0)
    assert ssim(tensor(noisy), tensor(true)).shape == (1,)


# --- CIEDE2000 --------------------------------------------------------------------------------------------------------

# Table 1 of Sharma, Wu, Dalal (2005): two colours, and the difference to four decimals.
SHARMA = [
    (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
    (50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615),
    (50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412),
    (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
    (50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
    (50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065),
    (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
    (50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977),
    (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
    (50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000),
    (50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def test_ciede2000_of_the_published_pairs():
    data = torch.tensor(SHARMA, dtype=torch.float64)
    first, second = (part.T[:, :, None] for part in (data[:, :3], data[:, 3:6]))
    for found in (ciede2000(first, second), ciede2000(second, first)):
        assert (found[:, 0] - data[:, 6]).abs().max() < 5.1e-5


def test_ciede2000_is_that_of_scikit_image():
    random = np.random.default_rng(0)
    first, second = (random.uniform((0, -90, -110), (100, 100, 95), (30, 40, 3)) for _ in range(2))
    wanted = skimage.color.deltaE_ciede2000(first, second)
    found = ciede2000(*(torch.from_numpy(each).permute(2, 0, 1).float() for each in (first, second)))
    assert found.shape == (30, 40)
    assert np.abs(found.numpy() - wanted).max() < 2e-3
    same = torch.from_numpy(first).permute(2, 0, 1).float()
    assert ciede2000(same, same).abs().max() == 0


# --- AuC --------------------------------------------------------------------------------------------------------------


def area_by_the_curve(distances: np.ndarray, weights: np.ndarray) -> float:
    curve = [weights[distances <= threshold].sum() / weights.sum() for threshold in range(151)]
    return float(np.trapezoid(curve, dx=1) / 150 * 100)


@given(st.floats(0, 200))
def test_the_area_of_one_distance(distance):
    wanted = area_by_the_curve(np.array([distance]), np.ones(1))
    assert chroma_error.area(torch.tensor([distance], dtype=torch.float64)).item() == pytest.approx(wanted)


def test_the_area_of_many_distances_is_a_mean_over_pixels():
    random = np.random.default_rng(0)
    distances, weights = random.gamma(2, 20, 1000), random.uniform(0.1, 5, 1000)
    areas = chroma_error.area(torch.from_numpy(distances)).numpy()
    assert areas.mean() == pytest.approx(area_by_the_curve(distances, np.ones(1000)))
    assert np.average(areas, weights=weights) == pytest.approx(area_by_the_curve(distances, weights))


def test_rare_colours_count_as_frequent_ones_down_to_a_bound():
    ab = torch.zeros(1, 2, 100, 1000)
    ab[0, 0, 0, :500] = 62.0  # 0.5 % of the pixels
    ab[0, 1, 1, 0] = -47.0  # one of 100,000: rarer than the bound
    counts = chroma_error.count_bins(ab)
    assert counts.sum() == 100_000 and sorted(counts[counts > 0].tolist()) == [1, 500, 99_499]
    weights = chroma_error.balancing_weights(counts)[chroma_error.colour_bins(ab)]
    assert weights[0, 0, 0] == pytest.approx(200.0)
    assert weights[0, 1, 0] == pytest.approx(1 / chroma_error.LEAST_SHARE)
    assert weights[0, 50, 0] == pytest.approx(100_000 / 99_499)


def test_bins_are_centred_at_multiples_of_ten():
    def bin_of(a: float, b: float) -> int:
        return int(chroma_error.colour_bins(torch.tensor([a, b]).reshape(1, 2, 1, 1)))

    assert bin_of(0, 0) == bin_of(-4.9, 4.9) != bin_of(5.1, 0)
    assert bin_of(0, 5.1) != bin_of(0, 0)
    assert len({bin_of(a, b) for a in range(-110, 111, 10) for b in range(-110, 111, 10)}) == chroma_error.BINS
    assert 0 <= bin_of(-128, -128) < bin_of(127, 127) < chroma_error.BINS


# --- colourfulness ----------------------------------------------------------------------------------------------------


def test_colourfulness_of_two_colours():
    picture = torch.zeros(1, 3, 2, 10)
    picture[0, 0, 0], picture[0, 1, 1] = 90, 90  # red above, green below: rg is 90 and -90, yb is 45
    assert colourfulness(picture).item() == pytest.approx(90 + 0.3 * 45)
    assert colourfulness(picture, absolute=True).item() == pytest.approx(0.3 * np.hypot(90, 45))


def test_colourfulness_of_noise():
    picture = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3)).astype(np.float64)
    for index, absolute in ((0, False), (1, True)):
        red, green, blue = np.moveaxis(picture[index], 2, 0)
        channels = [red - green, 0.5 * (red + green) - blue]
        if absolute:
            channels = [np.abs(channel) for channel in channels]
        deviation, mean = np.std(channels, axis=(1, 2)), np.mean(channels, axis=(1, 2))
        wanted = np.sqrt((deviation**2).sum()) + 0.3 * np.sqrt((mean**2).sum())
        found = colourfulness(torch.from_numpy(picture).permute(0, 3, 1, 2), absolute=absolute)
        assert found[index].item() == pytest.approx(wanted)


# --- bleeding ---------------------------------------------------------------------------------------------------------


def two_halves(blur: float = 0.0, shift: int = 0, contrast: float = 60.0) -> torch.Tensor:
    """a*b* (1, 2, 32, 32) that changes in the middle."""
    plane = np.where(np.arange(32) < 16 + shift, -contrast / 2, contrast / 2)
    plane = scipy.ndimage.gaussian_filter1d(plane, blur, mode="nearest") if blur else plane
    return torch.from_numpy(np.broadcast_to(plane, (1, 2, 32, 32)).copy()).float()


EDGE_IN_THE_MIDDLE = torch.where(torch.arange(32) < 16, 30.0, 70.0).expand(1, 32, 32)


def test_colour_bleeds_more_the_further_it_is_from_the_edge():
    true = two_halves()
    assert off_edge_share(EDGE_IN_THE_MIDDLE, true).item() == 0
    found = [bleeding(EDGE_IN_THE_MIDDLE, two_halves(blur), true).item() for blur in (0, 1, 2, 4)]
    assert found[0] == 0 and found == sorted(found) and found[1] > 0.005 and found[3] > 0.3
    assert bleeding(EDGE_IN_THE_MIDDLE, two_halves(shift=6), true).item() == 1
    # It is about where colours change, not about how much.
    pale = bleeding(EDGE_IN_THE_MIDDLE, two_halves(2, contrast=6), true).item()
    assert pale == pytest.approx(found[2], abs=1e-5)
    # Where the photograph itself changes its colour off an edge, that is no bleeding.
    assert bleeding(torch.full((1, 32, 32), 50.0), two_halves(), true).item() == 0


def test_what_has_no_colour_has_no_bleeding_to_speak_of():
    assert bleeding(EDGE_IN_THE_MIDDLE, torch.zeros(1, 2, 32, 32), two_halves()).isnan().all()
    assert bleeding(EDGE_IN_THE_MIDDLE, two_halves(), torch.zeros(1, 2, 32, 32)).isnan().all()


# --- blotches ---------------------------------------------------------------------------------------------------------


def naive_blotches(lightness: np.ndarray, ab: np.ndarray) -> float:
    """Of one picture, segment by segment."""
    height, width = lightness.shape
    segments: dict[tuple[int, int, int], list[np.ndarray]] = {}
    for y, x in np.ndindex(height, width):
        key = y * 8 // height, x * 8 // width, min(int(lightness[y, x] // 10), 9)
        segments.setdefault(key, []).append(ab[:, y, x])
    apart = sum(((np.array(each) - np.mean(each, 0)) ** 2).sum() for each in segments.values())
    return float(np.sqrt(apart / (height * width)))


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 9))
def test_blotches_are_deviations_inside_segments(shape, seed):
    random = np.random.default_rng(seed)
    lightness = random.choice(np.float32([0, 5, 9.99, 10, 55, 99.9, 100]), (2, *shape))
    ab = random.normal(0, 30, (2, 2, *shape)).astype(np.float32)
    found = blotches(torch.from_numpy(lightness), torch.from_numpy(ab))
    assert found.tolist() == pytest.approx(
        [naive_blotches(*each) for each in zip(lightness, ab, strict=True)], rel=1e-4
    )
    doubled = blotches(torch.from_numpy(lightness), torch.from_numpy(2 * ab + 7))
    assert doubled.tolist() == pytest.approx((2 * found).tolist(), rel=1e-4)


def test_colour_that_changes_with_the_luminance_has_no_blotches_and_patches_are_some():
    lightness = torch.where(torch.arange(32) < 13, 30.0, 70.0).expand(1, 32, 32)
    colour = torch.where(torch.arange(32) < 13, -20.0, 30.0).expand(1, 2, 32, 32)
    assert blotches(lightness, colour).item() == pytest.approx(0, abs=1e-5)
    patchy = [blotches(lightness, colour + size * torch.eye(32)).item() for size in (5.0, 10.0, 20.0)]
    assert patchy == sorted(patchy) and patchy[0] > 1


# --- spread over sizes, luminance, the whole --------------------------------------------------------------------------


def test_spread_over_sizes():
    predictions = torch.zeros(2, 1, 2, 4, 4)
    predictions[1, :, 0], predictions[1, :, 1] = 6.0, -8.0  # 10 apart, 5 from the mean
    assert metrics.size_spread(predictions).item() == pytest.approx(5)
    assert metrics.size_spread(predictions[:1]).item() == 0


def bundle(size: int = 32) -> Bundle:
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 2})
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    generator.train()(torch.rand(4, 1, 32, 32) * 2 - 1)  # moving statistics that let colour depend on luminance
    return Bundle(generator=generator.eval(), network="unet", settings={"width": 2}, image_size=size)


def test_a_bundle_predicts_at_its_own_size():
    lightness = torch.rand(2, 1, 32, 32) * 100
    learned = Learned(bundle())
    found, confidence = learned.at_sizes(lightness)
    assert found.shape == (3, 2, 2, 32, 32)
    torch.testing.assert_close(found[-1], learned(lightness))
    assert not torch.equal(found[0], found[-1])
    assert confidence.shape == (2,) and confidence.isnan().all()  # it predicts no distribution
    even = torch.full((1, 1, 32, 32), 50.0)
    other = Learned(bundle(64))(even)
    assert other.shape == (1, 2, 32, 32)


@pytest.mark.parametrize("network", ["unet", "backbone"])
def test_input_sizes_are_fractions_of_the_bundles_own(network):
    """None is rounded to the generator's stride, or 24 of 48 pixels would be 32, and 36 be 32 as well."""
    settings = {"width": 2} if network == "unet" else {"width": 2, "encoder": "mobilenetv3_small_050"}
    generator = build_generator(network, settings).eval()
    learned = Learned(Bundle(generator=generator, network=network, settings=settings, image_size=48))
    seen, predict = [], learned.predictor.predict
    learned.predictor.predict = lambda pictures, letterboxes, hints: (
        seen.append(pictures.shape[-2:]) or predict(pictures, letterboxes)
    )
    assert learned.at_sizes(torch.rand(1, 1, 40, 40) * 100)[0].shape == (3, 1, 2, 40, 40)
    assert seen == [(24, 24), (36, 36), (48, 48)]


def measured(truth: Truth, colorizer: Constant) -> dict[str, torch.Tensor]:
    predictions, _ = colorizer.at_sizes(truth.lightness)
    return truth.measure(predictions, channels_first(truth.render(predictions[-1])))


def test_a_perfect_colorizer_is_perfect_and_gray_is_gray():
    photograph = pictures.colour(32, 32)
    truth = Truth(photograph[None], torch.ones(chroma_error.BINS))

    class Perfect(Constant):
        def __call__(self, lightness):
            return truth.ab

    perfect = {name: value.item() for name, value in measured(truth, Perfect(0, 0)).items()}
    assert perfect["ab_distance"] == 0 and perfect["auc"] == 100 and perfect["auc_balanced"] == pytest.approx(100)
    assert perfect["psnr_ab"] == pytest.approx(BEST_PSNR) and perfect["psnr"] > 45 and perfect["ssim"] > 0.99
    assert perfect["ciede2000"] < 0.3 and perfect["bleeding"] == 0 and perfect["size_spread"] == 0
    assert abs(perfect["colourfulness_difference"]) < 0.5
    gray = {name: value.item() for name, value in measured(truth, Constant(0, 0)).items()}
    assert gray["colourfulness"] == gray["colourfulness_absolute"] == 0
    assert gray["colourfulness_difference"] == pytest.approx(-colourfulness(tensor(photograph)).item())
    lab = skimage.color.rgb2lab(photograph)
    assert gray["ab_distance"] == pytest.approx(np.hypot(lab[..., 1], lab[..., 2]).mean(), abs=0.02)
    assert gray["lightness_error"] < 0.25  # a step of 8 bits is 0.3 to 0.4
    assert np.isnan(gray["bleeding"])


def test_the_rendered_picture_keeps_its_luminance_whatever_is_predicted():
    truth = Truth(pictures.colour(32, 32)[None], torch.ones(chroma_error.BINS))
    wild = torch.from_numpy(np.random.default_rng(0).uniform(-128, 127, (1, 2, 32, 32))).float()
    rendered = truth.render(wild)
    lightness = skimage.color.rgb2lab(rendered[0])[..., 0]
    assert np.abs(lightness - truth.lightness[0, 0].numpy()).mean() < 0.3


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_of_many_photographs_are_those_of_a_normal_distribution():
    values = np.random.default_rng(3).gamma(2, 5, 2000)
    found = estimate(values, np.ones(2000))
    assert found.mean == pytest.approx(values.mean()) and found.photographs == 2000
    half = 1.96 * values.std() / np.sqrt(2000)
    assert [found.low, found.high] == pytest.approx([found.mean - half, found.mean + half], abs=0.15 * half)
    assert found == estimate(values, np.ones(2000)) != estimate(values, np.ones(2000), seed=1)


def test_intervals_hold_the_truth_about_as_often_as_they_should():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        values, weights = random.normal(5, 2, 60), random.uniform(0.5, 2, 60)
        found = estimate(values, weights)
        held += found.low <= 5 <= found.high
    assert 88 <= held <= 99


def test_weights_missing_values_and_single_photographs():
    ones = np.ones(3)
    weighted = estimate(np.array([1.0, 4.0, 10.0]), np.array([1.0, 2.0, 1.0]))
    assert weighted.mean == pytest.approx(19 / 4) and 1 <= weighted.low < weighted.mean < weighted.high <= 10
    assert estimate(np.array([1.0, np.nan, 4.0, 10.0]), np.array([1.0, 9.0, 2.0, 1.0])) == weighted
    single, none = estimate(np.array([7.0, np.nan, np.nan]), ones), estimate(np.full(3, np.nan), ones)
    assert (single.mean, single.photographs) == (7, 1) and np.isnan(single.low)
    assert np.isnan(none.mean) and none.photographs == 0


def test_draws_without_a_value_do_not_count():
    def spread_or_nothing(values: np.ndarray, axis: int) -> np.ndarray:
        spread = np.ptp(values, axis=axis)
        return np.where(spread > 0, spread, np.nan)

    assert interval(spread_or_nothing, np.array([1.0, 3.0])) == (2, 2)  # half of the draws hold one value twice


def rows_of(values: dict[str, list[float]]) -> pa.Table:
    rows = [
        {"row": row, "colorizer": name, "balance": 1.0 + row, **dict.fromkeys(METRICS, value)}
        for name, each in values.items()
        for row, value in enumerate(each)
    ]
    return pa.Table.from_pylist(rows)


def test_differences_are_paired():
    random = np.random.default_rng(0)
    first = random.normal(20, 5, 50)
    second = first + 1 + random.normal(0, 0.1, 50)
    rows = rows_of({"A": first.tolist(), "B": second.tolist(), "gray": [0.0] * 50})
    results, differences = summary.summarize(rows, ["A", "B", "gray"], ["A", "B"])
    found = differences["B - A"]["psnr"]
    assert found.mean == pytest.approx((second - first).mean()) and 0.9 < found.low < found.high < 1.1
    assert results["A"]["psnr"].high - results["A"]["psnr"].low > 1  # alone, each is uncertain
    assert results["A"]["auc_balanced"].mean == pytest.approx(np.average(first, weights=1 + np.arange(50)))
    head, lines = summary.table({**results, **differences})
    assert head == ["", "A", "B", "gray", "B - A"] and len(lines) == len(METRICS)
    assert lines[0][3] == "0.000 [0.000;0.000]"


def test_what_was_not_measured_is_not_in_the_table():
    rows = rows_of({"A": [1.0, 2.0]})
    rows = rows.set_column(rows.column_names.index("lpips"), "lpips", pa.nulls(2, pa.float64()))
    results, _ = summary.summarize(rows, ["A"], ["A"])
    titles = [line[0] for line in summary.table(results)[1]]
    assert len(titles) == len(METRICS) - 1 and not any("LPIPS" in title for title in titles)
    assert summary.to_json(results)["A"]["lpips"]["mean"] is None


# --- photographs ------------------------------------------------------------------------------------------------------


def shard(path, images: list[bytes | None]) -> None:
    pq.write_table(pa.table({"image": pa.array(images, pa.binary())}), path, row_group_size=2)


def png(colour: tuple[int, int, int], width: int = 60, height: int = 40) -> bytes:
    return pictures.encoded(np.full((height, width, 3), colour, np.uint8), "PNG")


def test_held_out_photographs_are_measured_and_the_others_are_the_reference(tmp_path):
    held_out = [png((200, 30, 30)), b"broken", png((0, 200, 0)), None, png((0, 0, 200))]
    shard(tmp_path / "val-00000.parquet", held_out)
    shard(tmp_path / "train-00000.parquet", [png((255, 0, 0)), png((0, 0, 255)), b"broken"])
    shard(tmp_path / "rejected.parquet", [])
    found = photographs.find(str(tmp_path))
    items = found.items()
    assert items.num_rows == 5 and items["row_group"].to_pylist() == [0, 0, 1, 1, 2]
    answers = [answer for _, answer in photographs.read(items, 16)]
    assert [answer if isinstance(answer, str) else answer[8, 8].tolist() for answer in answers] == [
        [200, 30, 30],
        "unreadable: of no known format",
        [0, 200, 0],
        "unreadable: empty",
        [0, 0, 200],
    ]
    reference = reference_of(found, items, 16)
    assert (reference.of, reference.photographs) == ("training photographs", 2)
    red, blue = skimage.color.rgb2lab(np.array([[[1.0, 0, 0], [0, 0, 1.0]]]))[0]
    assert (reference.mean_a, reference.mean_b) == pytest.approx(tuple((red + blue)[1:] / 2), abs=0.02)
    chosen = photographs.sample(items, 2)
    assert chosen.num_rows == 2 and chosen.equals(photographs.sample(items, 2))


def test_a_folder_is_screened_and_is_its_own_reference(tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.encoded(pictures.colour(200, 300), "JPEG"))
    (tmp_path / "b.jpg").write_bytes(pictures.encoded(pictures.gray(200, 300), "JPEG"))
    found = photographs.find(str(tmp_path))
    (_, colour), (_, gray) = photographs.read(found.items(), 32)
    assert colour.shape == (32, 32, 3) and gray.startswith("gray: ")
    reference = reference_of(found, found.items(), 32)
    assert (reference.of, reference.photographs) == ("measured photographs", 1)


def test_places_without_photographs_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        photographs.find(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="no photographs"):
        photographs.find(str(tmp_path))
    shard(tmp_path / "train-00000.parquet", [png((1, 2, 3))])
    with pytest.raises(SettingsError, match="no held-out photographs"):
        photographs.find(str(tmp_path))
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "val-0.parquet")
    with pytest.raises(SettingsError, match="no column `image`"):
        photographs.find(str(tmp_path))


# --- the page ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.floats(0, 50), min_size=1, max_size=40))
def test_the_largest_differences_are_shown_beside_a_blind_choice(differences):
    blind, largest = choose(differences)
    assert len(blind) == min(CHOSEN, len(differences)) and not set(blind) & set(largest)
    assert len(blind) + len(largest) == min(2 * CHOSEN, len(differences))
    assert blind == choose([0.0] * len(differences))[0]
    left = set(range(len(differences))) - set(blind) - set(largest)
    assert all(differences[index] <= min(differences[shown] for shown in largest) for index in left)


def test_the_page_escapes_names_and_holds_its_pictures():
    picture = pictures.colour(8, 8)
    page = comparison.page(
        "<A>", ["a & b"], [Table("<t>", ["", "<M>"], [["x", "1 < 2"]])], [Example("<i>.jpg", {"<M>": picture})]
    )
    text = page.decode()
    assert "&lt;A&gt;" in text and "a &amp; b" in text and "1 &lt; 2" in text and "&lt;i&gt;.jpg" in text
    assert "<M>" not in text and "<i>" not in text and "<t>" not in text and "://" not in text and "<script" not in text
    embedded = text.partition("base64,")[2].partition('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(embedded))).size == (8, 8)
