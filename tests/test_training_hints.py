"""Hints as a training simulates them, and what a generator makes of them."""

import pytest
import torch
from torch import Tensor

from colornet.errors import SettingsError
from colornet.networks import build_generator, fold_normalisation
from colornet.networks.backbone import load_encoder_weights, shrink_hints
from colornet.training.hints import HintSimulation, reveal, simulate_hints

SMALL = {"encoder": "mobilenetv3_small_050", "width": 4, "head": "bins"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: int = 32) -> Tensor:
    return torch.rand(count, 2, size, size, generator=seeded(1)) * 2 - 1


# --- simulation -------------------------------------------------------------------------------------------------------


def test_as_many_photographs_have_hints_as_the_shares_say():
    simulation = HintSimulation(none=0.4, all=0.1, mean_count=2.0, largest_patch=1)
    hints = simulate_hints(pictures(2000, 8), simulation, seeded())
    known = hints[:, 2].mean(dim=(1, 2))
    assert (known == 0).float().mean().item() == pytest.approx(0.4, abs=0.04)
    assert (known == 1).float().mean().item() == pytest.approx(0.1, abs=0.04)


def test_number_of_hints_is_geometric():
    # In a large picture few of them meet.
    simulation = HintSimulation(none=0.0, all=0.0, mean_count=4.0, spread=0.2, largest_patch=1)
    known = simulate_hints(pictures(600, 128), simulation, seeded())[:, 2].sum(dim=(1, 2))
    assert known.mean().item() == pytest.approx(4.0, rel=0.1)
    assert (known == 1).float().mean().item() == pytest.approx(1 / 4, abs=0.05)


def test_a_hint_is_the_mean_of_its_patch():
    ab = pictures(1)[0]
    hints = torch.zeros(3, 32, 32)
    reveal(hints, ab, 0.5, 0.25, 2)
    inside = hints[:, 14:19, 6:11]
    assert (inside[2] == 1).all() and hints[2].sum() == 25
    torch.testing.assert_close(inside[:2].mean(dim=(1, 2)), ab[:, 14:19, 6:11].mean(dim=(1, 2)))
    assert inside[:2].flatten(1).std(dim=1).max() < 1e-6
    assert (hints[:, :14] == 0).all() and (hints[:, 19:] == 0).all()


@pytest.mark.parametrize(("y", "x"), [(-3.0, 0.5), (7.0, 1.0), (0.0, 0.0)])
def test_hints_outside_come_to_the_edge(y, x):
    hints = torch.zeros(3, 32, 32)
    reveal(hints, pictures(1)[0], y, x, 1)
    assert hints[2].sum() > 0


def test_hints_depend_on_the_generator_alone():
    one, again = (simulate_hints(pictures(8), HintSimulation(), seeded(3)) for _ in range(2))
    assert torch.equal(one, again)


# --- in the generator -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["ab", "bins"])
@pytest.mark.parametrize("size", [(64, 64), (33, 50)])
def test_no_hints_are_no_hints_and_hints_change_something(head, size):
    torch.manual_seed(0)
    generator = build_generator("backbone", SMALL | {"head": head, "hints": True, "context": True}).eval()
    lightness, none = torch.rand(2, 1, *size), torch.zeros(2, 3, *size)
    assert torch.equal(generator(lightness), generator(lightness, none))
    hints = none.clone()
    reveal(hints[0], pictures(1, 64)[0, :, : size[0], : size[1]], 0.5, 0.5, 1)
    changed = (generator(lightness, hints) != generator(lightness)).flatten(1).any(dim=1)
    assert changed.tolist() == [True, False]


def test_a_generator_without_hints_refuses_them():
    generator = build_generator("backbone", SMALL)
    assert not generator.takes_hints
    with pytest.raises(SettingsError, match="takes no hints"):
        generator(torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 32, 32))


def test_cells_know_the_mean_of_what_is_known_in_them():
    hints = torch.zeros(1, 3, 8, 8)
    hints[0, :, 0, 0] = torch.tensor([0.5, -0.5, 1.0])
    hints[0, :, 1, 3] = torch.tensor([0.1, 0.3, 1.0])
    small = shrink_hints(hints, 4)
    torch.testing.assert_close(small[0, :, 0, 0], torch.tensor([0.3, -0.1, 1.0]))
    assert small.count_nonzero() == 3
    torch.testing.assert_close(shrink_hints(hints, 1), hints)


def test_pretrained_weights_ignore_hints_at_first():
    """The encoder's first convolution has no weights for them yet, so its features are those without any."""
    settings = {"encoder": "tf_efficientnet_lite0", "width": 4}
    with_hints, without = (build_generator("backbone", settings | {"hints": hints}).eval() for hints in (True, False))
    for generator in (with_hints, without):
        load_encoder_weights(generator, "package")
    picture, hints = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    for found, expected in zip(
        with_hints.encoder(torch.cat([picture, hints], dim=1)), without.encoder(picture), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_folding_changes_nothing_with_hints_and_context():
    torch.manual_seed(0)
    generator = build_generator("backbone", SMALL | {"hints": True, "context": True}).eval()
    lightness, hints = torch.rand(1, 1, 64, 64), torch.rand(1, 3, 64, 64)
    before = generator(lightness, hints)
    torch.testing.assert_close(fold_normalisation(generator)(lightness, hints), before, rtol=1e-3, atol=1e-4)


def test_context_reaches_every_place():
    """Without it, what happens in one corner of a large picture does not matter in the other."""
    torch.manual_seed(0)
    generator = build_generator("backbone", SMALL | {"context": True}).eval()
    lightness = torch.rand(1, 1, 64, 64, requires_grad=True)
    pooled = generator.context(generator.encoder(generator._as_picture(lightness))[-1])
    pooled.sum().backward()
    assert pooled.shape[-2:] == (1, 1) and (lightness.grad[0, 0].reshape(8, 8, 8, 8).abs().sum(dim=(1, 3)) > 0).all()
