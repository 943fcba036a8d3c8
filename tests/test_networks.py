"""The networks have the reference's parameters to the last one, take any size, and fold without changing."""

import pytest
import torch
from torch import nn

from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_discriminator, build_generator, fold_normalisation
from colornet.networks.unet import ConvBlock


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def moving_statistics(network: nn.Module) -> int:
    """Keras counts the moving mean and variance as non-trainable parameters; the batch counter is PyTorch's own."""
    return sum(value.numel() for name, value in network.named_buffers() if "running_" in name)


def test_reference_parameter_counts():
    generator = build_generator("unet", {})
    discriminator = build_discriminator("reference", {})
    assert trainable(generator) + moving_statistics(generator) == 4_729_922
    assert moving_statistics(generator) == 3_840
    assert trainable(discriminator) + moving_statistics(discriminator) == 455_457


def test_gan_parameter_counts():
    """The GAN is the generator followed by a frozen discriminator."""
    generator = build_generator("unet", {})
    discriminator = build_discriminator("reference", {}).requires_grad_(False)
    gan = nn.ModuleList([generator, discriminator])
    total = trainable(gan) + moving_statistics(gan)
    learned = sum(parameter.numel() for parameter in gan.parameters() if parameter.requires_grad)
    assert (total, learned, total - learned) == (5_185_379, 4_726_082, 459_297)


@pytest.mark.parametrize("size", [(256, 256), (64, 64), (8, 8), (1, 1), (7, 65), (33, 12)])
def test_generator_takes_any_size(size):
    generator = build_generator("unet", {"width": 4}).eval()
    ab = generator(torch.rand(2, 1, *size) * 2 - 1)
    assert ab.shape == (2, 2, *size)
    assert ab.abs().max() <= 1


def test_feature_map_sizes_are_the_designs():
    generator = build_generator("unet", {})
    sizes = {}
    for name, module in generator.named_children():
        module.register_forward_hook(lambda _, __, output, name=name: sizes.update({name: tuple(output.shape[1:])}))
    generator(torch.zeros(1, 1, 256, 256))
    assert sizes == {
        "down1": (64, 128, 128),
        "down2": (128, 128, 128),
        "down3": (128, 64, 64),
        "down4": (256, 64, 64),
        "down5": (512, 32, 32),
        "up1": (256, 64, 64),
        "up2": (256, 64, 64),
        "up3": (128, 128, 128),
        "up4": (128, 128, 128),
        "up5": (64, 256, 256),
        "out": (2, 256, 256),
    }


def test_folding_keeps_the_output():
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 4})
    for _ in range(3):  # moving statistics that are not the identity
        generator(torch.randn(4, 1, 32, 32) * 2 + 1)
    generator.eval()
    lightness = torch.rand(1, 1, 40, 24) * 2 - 1
    before = generator(lightness)
    folded = fold_normalisation(generator)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(lightness), before, rtol=1e-4, atol=1e-5)


def test_discriminator_judges_its_own_size_only():
    discriminator = build_discriminator("reference", {"image_size": 32})
    assert discriminator(torch.zeros(3, 1, 32, 32), torch.zeros(3, 2, 32, 32)).shape == (3,)
    with pytest.raises(SettingsError, match="32×32"):
        discriminator(torch.zeros(3, 1, 64, 64), torch.zeros(3, 2, 64, 64))
    with pytest.raises(SettingsError, match="multiple of 16"):
        build_discriminator("reference", {"image_size": 40})


def test_the_reference_discriminator_does_not_look_at_lightness():
    discriminator = build_discriminator("reference", {"image_size": 32, "width": 4}).eval()
    ab = torch.rand(2, 2, 32, 32) * 2 - 1
    bright, dark = (discriminator(torch.full((2, 1, 32, 32), value), ab) for value in (1.0, -1.0))
    assert torch.equal(bright, dark)
    assert not torch.allclose(bright, discriminator(torch.zeros(2, 1, 32, 32), -ab))


def test_unknown_networks_and_settings_are_named():
    with pytest.raises(SettingsError, match=r"'vgg'.*unet"):
        build_generator("vgg", {})
    with pytest.raises(SettingsError, match="depth"):
        build_generator("unet", {"depth": 3})


# --- the choice of normalisation --------------------------------------------------------------------------------------

GROUPED = [
    ("unet", {"width": 8, "norm": "group"}),
    ("backbone", {"encoder": "mobilenetv3_small_050", "width": 4, "norm": "group"}),
]


def grouped(name: str, settings: dict) -> nn.Module:
    """With scales and shifts that are not the identity."""
    torch.manual_seed(0)
    generator = build_generator(name, settings)
    for module in generator.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return generator


@pytest.mark.parametrize("channels", [1, 7, 12, 16, 96, 512])
def test_group_normalisation_in_closed_form(channels):
    """Each group of each picture has mean 0 and variance 1, and as many channels as the others."""
    norm = ConvBlock(3, channels, nn.ReLU(), norm="group").norm
    assert isinstance(norm, nn.GroupNorm) and channels % norm.num_groups == 0 and norm.num_groups <= 32
    assert channels // norm.num_groups >= min(channels, 8)
    groups = norm(torch.randn(2, channels, 9, 9) * 5 + 3).reshape(2 * norm.num_groups, -1)
    assert torch.allclose(groups.mean(dim=1), torch.zeros(len(groups)), atol=1e-5)
    assert torch.allclose(groups.var(dim=1, unbiased=False), torch.ones(len(groups)), atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_with_groups_a_picture_does_not_depend_on_its_batch_in_training(name, settings):
    generator = grouped(name, settings).train()
    if name == "backbone":
        generator.encoder.eval()  # keeps the normalisation that it was trained with
    pictures = torch.rand(3, 1, 64, 64) * 2 - 1
    together = generator(pictures)
    alone = torch.cat([generator(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.std() > 1e-3
    plain = build_generator("unet", {"width": 8}).train()
    assert not torch.allclose(plain(pictures)[:1], plain(pictures[:1]), atol=1e-3)


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_folding_leaves_groups_alone(name, settings):
    generator = grouped(name, settings).eval()
    lightness = torch.rand(2, 1, 40, 24) * 2 - 1
    before = generator(lightness).detach()
    blocks = sum(isinstance(module, nn.GroupNorm) for module in generator.modules())
    folded = fold_normalisation(generator)
    assert sum(isinstance(module, nn.GroupNorm) for module in folded.modules()) == blocks > 0
    torch.testing.assert_close(folded(lightness), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_a_bundle_with_groups_comes_back(name, settings, tmp_path):
    generator = grouped(name, settings).eval()
    digest = bundles.save(
        Bundle(generator=generator, network=name, settings=settings, image_size=32), str(tmp_path / "bundle")
    )
    loaded = bundles.load(str(tmp_path / "bundle"))
    lightness = torch.rand(1, 1, 32, 32) * 2 - 1
    assert loaded.digest == digest and torch.equal(loaded.generator(lightness), generator(lightness))


@pytest.mark.parametrize(("name", "settings"), GROUPED)
def test_without_the_setting_names_are_those_of_batch_normalisation(name, settings):
    plain = {key: value for key, value in settings.items() if key != "norm"}
    older, named = build_generator(name, plain), build_generator(name, {**plain, "norm": "batch"})
    assert list(older.state_dict()) == list(named.state_dict())
    assert any(key.endswith("norm.running_mean") for key in older.state_dict())
    assert not any(isinstance(module, nn.GroupNorm) for module in older.modules())


@pytest.mark.parametrize(("name", "settings"), GROUPED)
@pytest.mark.parametrize("norm", ["layer", None, ["group"]])
def test_another_normalisation_is_named(name, settings, norm):
    with pytest.raises(SettingsError, match="norm must be one of batch, group, not"):
        build_generator(name, {**settings, "norm": norm})
