"""The networks have the reference's parameters to the last one, take any size, and fold without changing."""

import pytest
import torch
from torch import nn

from colornet.networks import build_discriminator, build_generator, fold_normalisation


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
    gan = nn.Sequential(generator, discriminator)
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
    assert discriminator(torch.zeros(3, 2, 32, 32)).shape == (3,)
    with pytest.raises(ValueError, match="32×32"):
        discriminator(torch.zeros(3, 2, 64, 64))
    with pytest.raises(ValueError, match="multiple of 16"):
        build_discriminator("reference", {"image_size": 40})


def test_unknown_networks_and_settings_are_named():
    with pytest.raises(ValueError, match=r"'vgg'.*unet"):
        build_generator("vgg", {})
    with pytest.raises(ValueError, match="depth"):
        build_generator("unet", {"depth": 3})
