"""LPIPS and FID with weights from files: against other computations, nothing downloaded, wrong files named."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.linalg
import torch
import torch_fidelity
import torchmetrics
import torchvision
from torch import nn

from colornet.errors import SettingsError
from colornet.evaluation import photographs
from colornet.evaluation.fid import FEATURES, PHOTOGRAPHS, FeatureSets, Inception
from colornet.evaluation.lpips import Lpips
from colornet.evaluation.measure import GRAY, EvaluationTask, Measure, Truth, channels_first
from colornet.evaluation.perceptual_networks import PerceptualNetworks, load_perceptual_networks
from colornet.evaluation.reference import Reference
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.metrics.chroma_error import BINS
from colornet.networks import build_generator
from jobs.evaluate import EvaluateSettings, evaluate
from tests import pictures

SIZE = 32


@pytest.fixture(scope="module", autouse=True)
def nothing_is_downloaded():
    def refuse(*_, **__):
        pytest.fail("a download was tried")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "load_state_dict_from_url", refuse)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", refuse)
        patch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
        yield


def backbone(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    with torch.device("meta"):  # the classifiers are large
        features = getattr(torchvision.models, name)(weights=None).features
    features.to_empty(device="cpu")
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    return features


def save_backbone(features: nn.Sequential, path: Path) -> str:
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory) -> str:
    return save_backbone(backbone("alexnet"), tmp_path_factory.mktemp("weights") / "alexnet.pth")


@pytest.fixture(scope="module")
def inception(tmp_path_factory) -> str:
    """Torch-fidelity's network, with weights that let features differ from picture to picture."""

    class Bare(torch_fidelity.FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict, strict=True, assign=False):
            return None

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    torch.manual_seed(1)
    network = Bare("inception-v3-compat", [str(FEATURES)], str(path))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return str(path)


def pair(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    true = torch.randint(0, 256, (count, 3, 48, 40), generator=random)
    return (true + torch.randint(-60, 60, true.shape, generator=random)).clamp(0, 255).float(), true.float()


# --- LPIPS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "short", "layers"), [("alexnet", "alex", (1, 4, 7, 9, 11)), ("vgg16", "vgg", (3, 8, 15, 22, 29))]
)
def test_lpips_is_that_of_the_paper(name, short, layers, tmp_path):
    """Equation 1: features brought to unit length, weighted squared differences, means over pixels, summed up."""
    features = backbone(name).eval()
    lpips = Lpips(save_backbone(features, tmp_path / "weights.pth"))
    pictures, true = pair()
    file = Path(torchmetrics.__file__).parent / f"functional/image/lpips_models/{short}.pth"
    linear = torch.load(file, map_location="cpu")

    def described(rgb: torch.Tensor) -> list[torch.Tensor]:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of ImageNet
        x, found = (rgb / 255 - mean.reshape(3, 1, 1)) / deviation.reshape(3, 1, 1), []
        for number, layer in enumerate(features[: layers[-1] + 1]):
            x = torch.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
            if number in layers:
                found.append(x / x.norm(dim=1, keepdim=True))
        return found

    with torch.no_grad():
        wanted = sum(
            (linear[f"lin{index}.model.1.weight"] * (one - other) ** 2).sum(1).mean((-2, -1))
            for index, (one, other) in enumerate(zip(described(pictures), described(true), strict=True))
        )
    assert wanted.min() > 0.01
    torch.testing.assert_close(lpips(pictures, true), wanted, rtol=1e-3, atol=1e-5)
    assert torch.equal(lpips(true, true), torch.zeros(3))


# --- FID --------------------------------------------------------------------------------------------------------------


def distance(photographs: np.ndarray, pictures: np.ndarray) -> float:
    """FID of vectors that come in several tables."""
    sets = FeatureSets(photographs.shape[1])
    names = [PHOTOGRAPHS] * len(photographs) + ["m"] * len(pictures)
    rows = pa.table({"colorizer": names, "features": [*photographs.tolist(), *pictures.tolist()]})
    for start in range(0, rows.num_rows, 7):
        sets.take(rows.slice(start, 7))
    (found,) = sets.distances().items()
    assert found[0] == "m"
    return found[1]


def test_the_frechet_distance_is_that_of_a_matrix_root():
    random = np.random.default_rng(0)
    first = random.normal(3, 1, (50, 6)) @ random.normal(size=(6, 6))
    second = random.normal(size=(40, 6)) @ random.normal(size=(6, 6))
    root = scipy.linalg.sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    wanted = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)
    assert distance(first, second) == pytest.approx(wanted)
    assert distance(second, first) == pytest.approx(wanted)


def test_moved_vectors_are_as_far_as_they_were_moved_and_the_same_are_not_far():
    vectors = np.random.default_rng(1).normal(size=(5, 8))  # fewer than dimensions: the covariance is singular
    assert distance(vectors, vectors + 2) == pytest.approx(8 * 4, rel=1e-5)
    assert distance(vectors, vectors) == pytest.approx(0, abs=1e-5)
    assert np.isnan(distance(vectors, vectors[:1]))


def test_features_are_those_of_torch_fidelity(inception):
    """At Inception's own size, so that the way of resizing does not matter."""
    given = torch.randint(0, 256, (2, 3, 299, 299), generator=torch.Generator().manual_seed(5))
    theirs = torch_fidelity.FeatureExtractorInceptionV3("inception-v3-compat", [str(FEATURES)], inception)
    with torch.no_grad():
        (wanted,) = theirs(given.to(torch.uint8))
    assert wanted.std() > 1e-3
    torch.testing.assert_close(Inception(inception)(given.float()), wanted)


# --- wrong files ------------------------------------------------------------------------------------------------------


class Trap:
    def __reduce__(self):
        return print, ("run",)


def test_files_that_hold_something_else_are_named(alexnet, inception, tmp_path, capsys):
    state = torch.load(inception)
    torch.save({**state, "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "torchvision.pth")
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(SettingsError, match=r"inception\.pth holds neither torchvision's AlexNet nor its VGG16"):
        load_perceptual_networks(inception, None, SIZE)
    with pytest.raises(SettingsError, match=r"alexnet\.pth does not fit FID's Inception v3: it has no Conv2d_1a_3x3"):
        load_perceptual_networks(None, alexnet, SIZE)
    with pytest.raises(
        SettingsError, match=r"torchvision\.pth does not fit.*its fc\.weight has the shape \(1000, 2048"
    ):
        load_perceptual_networks(None, str(tmp_path / "torchvision.pth"), SIZE)
    for weights in ((str(tmp_path / "trap.pth"), None), (None, str(tmp_path / "trap.pth"))):
        with pytest.raises(SettingsError, match=r"trap\.pth"):
            load_perceptual_networks(*weights, SIZE)
    assert "run" not in capsys.readouterr().out


def test_pictures_that_are_too_small_for_lpips_are_named(alexnet):
    with pytest.raises(SettingsError, match="LPIPS needs pictures of at least 32 pixels, not 31"):
        load_perceptual_networks(alexnet, None, 31)
    assert Lpips(alexnet)(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)).shape == (1,)
    assert load_perceptual_networks(None, None, 8) == PerceptualNetworks()


def test_without_torch_fidelity_the_extra_is_named(inception, monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(SettingsError, match=r"pip install '.\[fid\]'"):
        Inception(inception)


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("photographs")
    images = [pictures.encoded(pictures.colour(40, 40, seed), "PNG") for seed in range(4)]
    pq.write_table(pa.table({"image": [*images, b"nothing"]}), folder / "val-00000.parquet")
    return str(folder)


@pytest.fixture
def quick_distance(monkeypatch):
    """Of the same means and covariances as the true one, which takes long for 2048 features."""
    monkeypatch.setattr(
        "torchmetrics.image.fid._compute_fid",
        lambda mean, covariance, other_mean, other: (mean - other_mean).norm() + (covariance - other).norm(),
    )


def test_measures_come_with_the_rows(alexnet, inception, data, quick_distance):
    perceptual_networks = load_perceptual_networks(alexnet, inception, SIZE)
    reference = Reference("training photographs", 1, 10.0, 20.0, np.ones(BINS, np.float32))
    found = photographs.find(data).items()
    measured = Measure(EvaluationTask(models=(), reference=reference, size=SIZE), perceptual_networks)(found)
    sets = FeatureSets()
    rows = pa.concat_tables(map(sets.take, (measured.slice(0, 3), measured.slice(3))))
    assert rows.num_rows == 2 * 4 + 1 and "features" not in rows.column_names
    assert PHOTOGRAPHS not in rows["colorizer"].to_pylist()

    read = [picture for _, picture in photographs.read(found, SIZE) if not isinstance(picture, str)]
    truth = Truth(np.stack(read), torch.ones(BINS))
    gray = channels_first(truth.render(torch.zeros(4, 2, SIZE, SIZE)))
    wanted = perceptual_networks.lpips(gray, truth.rgb)
    each = [row["lpips"] for row in rows.to_pylist() if row["colorizer"] == GRAY]
    assert each == pytest.approx(wanted.tolist(), rel=1e-4) and min(each) > 0

    one, other = (perceptual_networks.inception(rgb).double() for rgb in (truth.rgb, gray))
    wanted = (one.mean(0) - other.mean(0)).norm() + (one.T.cov() - other.T.cov()).norm()
    assert sets.distances()[GRAY] == pytest.approx(wanted.item(), rel=1e-3) and wanted > 0
    assert set(sets.distances()) == {GRAY, "mean colour"}


def test_the_job_tells_both(ray_local, alexnet, inception, data, tmp_path, capsys, quick_distance):
    torch.manual_seed(0)
    settings = {"width": 2}
    generator = build_generator("unet", settings)
    bundle = Bundle(generator=generator, network="unet", settings=settings, image_size=SIZE)
    bundles.save(bundle, str(tmp_path / "bundle"))
    output = tmp_path / "out"
    places = {"model": str(tmp_path / "bundle"), "data": data, "output": str(output)}
    assert evaluate(EvaluateSettings(**places, lpips_weights=alexnet, fid_weights=inception)) == 0
    found = json.loads((output / "evaluation.json").read_text())
    assert set(found["fid"]) == set(found["results"]) == {"bundle", "gray", "mean colour"}
    assert all(value > 0 for value in found["fid"].values())
    rows = pq.read_table(output / "evaluation.parquet")
    assert "features" not in rows.column_names and rows["lpips"].null_count == 0
    assert found["lpips_network"] == "AlexNet"
    gray = found["results"]["gray"]["lpips"]
    assert gray["photographs"] == 4 and gray["low"] <= gray["mean"] <= gray["high"]
    for text in (capsys.readouterr().out, (output / "comparison.html").read_text()):
        assert "LPIPS ↓" in text and "LPIPS is that of AlexNet" in text and "FID ↓" in text
        assert "no interval" in text and "With fewer than 5000 photographs FID is biased" in text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_on_a_gpu_it_is_nearly_the_same(alexnet, inception):
    given, true = pair()
    for make, arguments in ((Lpips, (alexnet,)), (Inception, (inception,))):
        inputs = (given, true) if make is Lpips else (given,)
        wanted = make(*arguments)(*inputs)
        torch.testing.assert_close(
            make(*arguments).to("cuda")(*(each.cuda() for each in inputs)).cpu(), wanted, rtol=0.01, atol=0.01
        )
