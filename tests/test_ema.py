"""The moving average of a network against closed forms, with BatchNorm, and through a checkpoint."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from colornet.errors import SettingsError
from colornet.networks import build_generator
from colornet.training.ema import EmaGenerator, warmed_up
from colornet.training.wrapping import WithDistribution


class Scalar(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))


def after_steps(model: nn.Module, steps: int):
    """Yield the model after each of some steps of training."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(step)) + step
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        yield model


def test_closed_form_with_warm_up():
    model = Scalar(100.0)
    average = EmaGenerator(model, 0.3)
    values = [1.0, 5.0, -2.0, 8.0, 4.0]
    for value in values:
        model.weight.data.fill_(value)
        average.update_parameters(model)
    # Decays after 1, 2, 3 and 4 updates: 2/11, 3/12, 4/13 capped at 0.3, and 0.3; the first weight, 100, is forgotten.
    expected = values[0]
    for decay, value in zip([2 / 11, 3 / 12, 0.3, 0.3], values[1:], strict=True):
        expected = decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert average(torch.tensor(2.0)).item() == pytest.approx(2 * expected, rel=1e-6)


def test_a_constant_stays_itself():
    model = network()
    average = EmaGenerator(model, 0.999)
    for _ in range(20):
        average.update_parameters(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(average.module.state_dict()[name], value)


@pytest.mark.parametrize(("updates", "expected"), [(0, 0.1), (8, 0.5), (89, 90 / 99), (8990, 0.999), (10**6, 0.999)])
def test_the_decay_rises(updates, expected):
    assert warmed_up(0.999, updates) == pytest.approx(expected)
    assert warmed_up(0.05, updates) == 0.05


def test_a_decay_of_zero_gives_the_weights_and_buffers_themselves():
    model = network()
    average = EmaGenerator(model, 0.0)
    for each in after_steps(model, 3):
        average.update_parameters(each)
        for name, value in model.state_dict().items():
            assert torch.equal(average.module.state_dict()[name], value), name


def test_running_statistics_are_averaged_like_weights():
    model = network()
    average = EmaGenerator(model, 0.9)
    means = []
    for each in after_steps(model, 3):
        average.update_parameters(each)
        means.append(model[1].running_mean.clone())
    expected = torch.lerp(torch.lerp(means[0], means[1], 9 / 11), means[2], 9 / 12)
    torch.testing.assert_close(average.module[1].running_mean, expected)
    assert not torch.equal(average.module[1].running_mean, means[2])


def test_it_trains_nothing_and_keeps_what_it_was_copied_from_apart():
    model = network()
    average = EmaGenerator(model, 0.9)
    before = copy.deepcopy(model.state_dict())
    average.update_parameters(model)
    average.module[0].weight.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_state_goes_through_a_checkpoint_and_on(tmp_path):
    model = network()
    average = EmaGenerator(model, 0.99)
    for each in after_steps(model, 4):
        average.update_parameters(each)
    torch.save(average.state_dict(), tmp_path / "average.pt")
    other = EmaGenerator(network(seed=9), 0.99)
    other.load_state_dict(torch.load(tmp_path / "average.pt", weights_only=True))
    for each in after_steps(model, 2):
        average.update_parameters(each)
        other.update_parameters(each)
    assert int(other.n_averaged) == 6
    for name, value in average.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    model.load_state_dict(other.module.state_dict())  # what a bundle is made of


def test_a_wrapped_network_is_averaged_bare(tmp_path):
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        model = network()
        wrapped, bare = DistributedDataParallel(model), EmaGenerator(model, 0.9)
        average = EmaGenerator(wrapped, 0.9)
        for each in after_steps(wrapped, 3):
            average.update_parameters(each)
            bare.update_parameters(model)
    finally:
        torch.distributed.destroy_process_group()
    assert average.state_dict().keys() == bare.state_dict().keys()
    for name, value in bare.state_dict().items():
        assert torch.equal(average.state_dict()[name], value), name


def test_a_generator_that_tells_its_distribution_is_averaged_bare():
    torch.manual_seed(0)
    generator = build_generator("backbone", {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"})
    average = EmaGenerator(WithDistribution(generator), 0.9)
    average.update_parameters(WithDistribution(generator).generator)
    assert average.module.state_dict().keys() == generator.state_dict().keys()


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_named(decay):
    with pytest.raises(SettingsError, match="decay must be in"):
        EmaGenerator(Scalar(1.0), decay)
