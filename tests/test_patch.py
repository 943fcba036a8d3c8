"""The conditional discriminator judges 70×70 pixels of L* and a*b* at a time, and cannot be steep."""

import pytest
import torch
from torch import nn

from colornet.errors import SettingsError
from colornet.networks import build_discriminator


def patch(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return build_discriminator("patch", {"width": width})


@pytest.mark.parametrize("plane", ["lightness", "ab"])
def test_each_logit_sees_70_pixels_of_both(plane):
    discriminator = patch(2).double().eval()
    planes = {"lightness": torch.rand(1, 1, 160, 160), "ab": torch.rand(1, 2, 160, 160)}
    planes = {name: value.double().requires_grad_() for name, value in planes.items()}
    discriminator(**planes)[0, 0, 9, 9].backward()
    seen = planes[plane].grad[0].abs().sum(dim=0)
    rows, columns = seen.sum(dim=1).nonzero().flatten(), seen.sum(dim=0).nonzero().flatten()
    for axis in (rows, columns):
        assert len(axis) == 70 == axis[-1] - axis[0] + 1
    assert (seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0).all()


def test_convolutions_do_not_stretch():
    discriminator = patch(8)
    weights = [module.weight for module in discriminator.modules() if isinstance(module, nn.Conv2d)]
    assert len(weights) == 5
    with torch.no_grad():  # far from the norm of 1, as a long training without it would get
        for module in discriminator.modules():
            if isinstance(module, nn.Conv2d):
                module.parametrizations.weight.original.mul_(30)
    for _ in range(20):  # a step of the power iteration each
        discriminator(torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32))
    discriminator.eval()
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.05)


def test_a_verdict_does_not_depend_on_company():
    discriminator = patch().train()
    lightness, ab = torch.rand(3, 1, 64, 64), torch.rand(3, 2, 64, 64)
    discriminator.eval()  # the power iteration moves in training, for all alike
    together = discriminator(lightness, ab)
    torch.testing.assert_close(discriminator(lightness[1:2], ab[1:2]), together[1:2])
    assert not any(isinstance(module, nn.modules.batchnorm._NormBase) for module in discriminator.modules())


@pytest.mark.parametrize(("size", "map_size"), [((256, 256), (30, 30)), ((70, 70), (6, 6)), ((24, 97), (1, 10))])
def test_any_size(size, map_size):
    assert patch()(torch.zeros(2, 1, *size), torch.zeros(2, 2, *size)).shape == (2, 1, *map_size)


def test_too_small_is_named():
    with pytest.raises(SettingsError, match=r"24×24, not \(64, 23\)"):
        patch()(torch.zeros(1, 1, 64, 23), torch.zeros(1, 2, 64, 23))
    with pytest.raises(SettingsError, match="width"):
        patch(0)


def test_it_is_built_without_memory():
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in build_discriminator("patch", {}).parameters())
