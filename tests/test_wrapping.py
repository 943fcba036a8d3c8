"""What networks are wrapped in while they train: depthwise convolutions on CPUs."""

import copy

import pytest
import torch
from torch import nn

from colornet.training.wrapping import for_training


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 1), nn.Conv2d(6, 6, 3, stride=2, groups=6), nn.Conv2d(6, 2, 1))


@pytest.mark.parametrize("make", [for_training, lambda each: copy.deepcopy(for_training(each))])
def test_depthwise_convolutions_stay_in_float32_where_all_others_are_in_bfloat16(make):
    wrapped, plain = make(network()), network()
    x = torch.randn(2, 1, 9, 9)
    seen = []
    for module in wrapped:
        module.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    with torch.autocast("cpu", torch.bfloat16):
        wrapped(x)
    assert [output.dtype for _, output in seen] == [torch.bfloat16, torch.float32, torch.bfloat16]
    given, output = seen[1]
    torch.testing.assert_close(output, plain[1](given.float()))


def test_the_same_network_in_float32():
    wrapped, plain, x = for_training(network()), network(), torch.randn(2, 1, 9, 9)
    torch.testing.assert_close(wrapped(x), plain(x), rtol=0, atol=0)
    assert list(wrapped.state_dict()) == list(plain.state_dict())
    wrapped.load_state_dict(plain.state_dict())
