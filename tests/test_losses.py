"""All losses against closed forms, and the record of their values."""

import math
from typing import get_args

import pytest
import safetensors.torch
import torch
import torchvision.models
from torch import nn
from torch.nn import functional

from colornet.color import lab
from colornet.errors import SettingsError
from colornet.networks import build_discriminator
from colornet.networks.ab_bins import gamut_bins
from colornet.training import losses
from colornet.training.losses import GanLoss, LossRecord, NonFiniteLossError
from colornet.training.perceptual import PerceptualLoss

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5, 0.0]), torch.tensor([0.5, -3.0, 0.0, 1.0])

# --- adversarial ------------------------------------------------------------------------------------------------------


def test_least_squares_by_hand():
    # (2−1)², (−1−1)², (0.5−1)², (0−1)² and (0.5+1)², (−3+1)², (0+1)², (1+1)², halves of their means.
    assert losses.discriminator_loss(REAL, FAKE, "lsgan").item() == pytest.approx((6.25 / 8 + 11.25 / 8) / 2)
    assert losses.adversarial_loss(FAKE, "lsgan").item() == pytest.approx((0.25 + 16 + 1 + 0) / 8)


def test_hinge_by_hand():
    # 0, 2, 0.5, 1 and 1.5, 0, 1, 2.
    assert losses.discriminator_loss(REAL, FAKE, "hinge").item() == pytest.approx((3.5 / 4 + 4.5 / 4) / 2)
    assert losses.adversarial_loss(FAKE, "hinge").item() == pytest.approx(1.5 / 4)


def test_cross_entropy_by_hand():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    truth = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 / (1 + math.exp(1)))) / 2
    lie = -(math.log(1 - 1 / (1 + math.exp(-0.5))) + math.log(1 - 1 / (1 + math.exp(-3)))) / 2
    assert losses.discriminator_loss(real, fake).item() == pytest.approx((truth + lie) / 2)
    expected = functional.binary_cross_entropy(torch.sigmoid(fake), torch.ones(2))
    torch.testing.assert_close(losses.adversarial_loss(fake), expected)
    assert losses.adversarial_loss(torch.tensor([-1000.0])).item() == 1000  # far from where a sigmoid would overflow


def test_cross_entropy_is_the_default():
    assert torch.equal(losses.discriminator_loss(REAL, FAKE), losses.discriminator_loss(REAL, FAKE, "bce"))
    assert torch.equal(losses.adversarial_loss(FAKE), losses.adversarial_loss(FAKE, "bce"))
    assert losses.discriminator_loss(torch.zeros(2), torch.zeros(2)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("kind", get_args(GanLoss))
def test_maps_count_as_their_logits_do(kind):
    def as_map(values):
        return values.reshape(1, 1, 2, 2)

    assert torch.equal(
        losses.discriminator_loss(as_map(REAL), as_map(FAKE), kind), losses.discriminator_loss(REAL, FAKE, kind)
    )
    assert torch.equal(losses.adversarial_loss(as_map(FAKE), kind), losses.adversarial_loss(FAKE, kind))


@pytest.mark.parametrize("kind", get_args(GanLoss))
def test_gradients_push_verdicts_apart(kind):
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    losses.discriminator_loss(real, fake, kind).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    fake.grad = None
    losses.adversarial_loss(fake, kind).backward()
    assert (fake.grad < 0).all()


def test_verdicts_of_maps_are_their_means():
    real = torch.tensor([[3.0, -1.0], [-3.0, 1.0]]).reshape(2, 1, 1, 2)
    assert losses.correct_verdicts(real, -real).item() == 2
    assert losses.correct_verdicts(REAL, FAKE).item() == 4  # as before


# --- reconstruction ---------------------------------------------------------------------------------------------------


def test_reconstruction_losses_in_closed_form():
    truth = torch.zeros(1, 2, 1, 1)
    beta = losses.SMOOTH_L1_BETA / 127.5  # in the networks' scaling
    predicted = torch.tensor([beta / 2, -3 * beta]).reshape(1, 2, 1, 1)
    assert losses.reconstruction_loss("l1", predicted, truth).item() == pytest.approx(1.75 * beta)
    # A square below beta, 0.5 d² / beta; a line above, d - beta / 2.
    assert losses.reconstruction_loss("smooth_l1", predicted, truth).item() == pytest.approx((1 / 8 + 2.5) * beta / 2)


@pytest.mark.parametrize("kind", ["l1", "smooth_l1"])
def test_saturated_pixels_weigh_more(kind):
    # A gray pixel, one of chroma 50 and one of chroma 100, all predicted as far off.
    truth = lab.scale_ab(torch.tensor([[0.0, 0.0], [30.0, 40.0], [-60.0, 80.0]]).T.reshape(1, 2, 1, 3))
    predicted = truth + 0.1
    distance = losses.reconstruction_loss(kind, predicted, truth)
    vivid = losses.reconstruction_loss(kind, predicted, truth, 0.5)
    torch.testing.assert_close(vivid, distance * (1.0 + 1.5 + 2.0) / 3)


# --- the gradient penalty ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_map", [False, True])
def test_gradient_penalty_of_a_linear_discriminator(on_map):
    torch.manual_seed(0)
    weight = torch.randn(2, 4, 4, requires_grad=True)
    ab = torch.randn(3, 2, 4, 4, requires_grad=True)
    products = (weight * ab).sum(dim=1, keepdim=True)  # a map of 4×4 logits, whose mean is the picture's verdict
    scale = 1 / 16 if on_map else 1.0
    verdicts = products if on_map else products.sum(dim=(1, 2, 3))
    penalty = losses.gradient_penalty(verdicts, ab)
    torch.testing.assert_close(penalty, (scale * weight).square().sum() / 2)
    penalty.backward()
    torch.testing.assert_close(weight.grad, scale**2 * weight.detach())


def test_gradient_penalty_reaches_the_patch_discriminator():
    torch.manual_seed(0)
    discriminator = build_discriminator("patch", {"width": 2})
    ab = torch.rand(2, 2, 32, 32, requires_grad=True)
    losses.gradient_penalty(discriminator(torch.rand(2, 1, 32, 32), ab), ab).backward()
    first = discriminator.verdicts[0].parametrizations.weight.original
    assert first.grad.isfinite().all() and first.grad.abs().sum() > 0


# --- the distribution -------------------------------------------------------------------------------------------------


def test_distribution_loss_in_closed_form():
    centres = gamut_bins()
    index = centres.tolist().index([20.0, 30.0])
    ab = lab.scale_ab(torch.tensor([20.0, 30.0])).reshape(1, 2, 1, 1).expand(1, 2, 8, 8).clone()
    ab[:, :, 0, 0], ab[:, :, 0, 1] = 0.4, 2 * ab[0, :, 5, 5] - 0.4  # two pixels whose mean is the others' colour
    weights = torch.ones(len(centres))
    weights[index] = 3.0
    uniform = torch.zeros(1, len(centres), 2, 2)
    assert losses.distribution_loss(uniform, ab, centres, weights).item() == pytest.approx(3 * math.log(len(centres)))
    other = math.exp(-2)  # of a neighbour, 10 units away: e^(−10² / (2 · 5²))
    logits = uniform.clone()
    logits[:, index] = 4.0
    expected = math.log(len(centres) - 1 + math.exp(4)) - 4 / (1 + 4 * other)
    assert losses.distribution_loss(logits, ab, centres, weights).item() == pytest.approx(3 * expected, rel=1e-4)


# --- perceptual -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    with torch.device("meta"):
        network = torchvision.models.vgg16(init_weights=False).features[:23]
    network = network.to_empty(device="cpu")
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    return network


@pytest.fixture(scope="module")
def weights(vgg, tmp_path_factory):
    state = {f"features.{name}": value for name, value in vgg.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save({**state, "classifier.0.bias": torch.zeros(4096)}, path)
    return path


def colourings(size: int = 32):
    torch.manual_seed(1)
    lightness = torch.rand(2, 1, size, size) * 2 - 1
    return lightness, *(torch.rand(2, 2, size, size) * 0.4 - 0.2 for _ in range(2))


def test_perceptual_loss_is_the_mean_cosine_distance(vgg, weights):
    lightness, predicted, truth = colourings()
    loss = PerceptualLoss(weights)(lightness, predicted, truth)
    normalise = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    distances = []
    for layers in (4, 9, 16, 23):  # up to the last activation before each pooling
        ours, theirs = (vgg[:layers](normalise(lab.join_scaled(lightness, ab))) for ab in (predicted, truth))
        assert isinstance(vgg[layers - 1], nn.ReLU)
        distances.append(2 - 2 * functional.cosine_similarity(ours, theirs, dim=1).mean())
    torch.testing.assert_close(loss, torch.stack(distances).mean(), rtol=1e-4, atol=1e-6)
    assert 0 < loss < 2


def test_perceptual_loss_teaches_the_colour_and_not_the_network(weights):
    loss = PerceptualLoss(weights)
    lightness, predicted, truth = colourings()
    lightness[:, :, :4] = -1  # black, where the colour conversion is at its steepest
    loss(lightness, predicted.requires_grad_(), truth).backward()
    assert predicted.grad.isfinite().all() and predicted.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert loss(lightness, truth, truth).item() == pytest.approx(0, abs=1e-6)


def test_weights_that_are_not_vgg16s_are_named(tmp_path, vgg):
    with pytest.raises(SettingsError, match=r"none\.pth"):
        PerceptualLoss(tmp_path / "none.pth")
    safetensors.torch.save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "few.safetensors")
    with pytest.raises(SettingsError, match=r"few.safetensors does not fit VGG16: it has no features\.0\.bias"):
        PerceptualLoss(tmp_path / "few.safetensors")
    state = {f"features.{name}": value for name, value in vgg.state_dict().items()}
    torch.save({**state, "features.0.bias": torch.zeros(63)}, tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=r"other\.pth does not fit VGG16: its features\.0\.bias .* \(63,\)"):
        PerceptualLoss(tmp_path / "other.pth")


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["discriminator_loss", "generator_gradient_norm"])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_named_with_its_step(name, bad):
    record = LossRecord(lambda values: values)
    for step in range(1, 5):
        record.add(step, {"generator_loss": torch.tensor(1.0), name: torch.tensor(bad if step == 3 else 1.0)})
    with pytest.raises(NonFiniteLossError, match=rf"step 3: the {name.replace('_', ' ')} is not finite \({bad}\)"):
        record.settle()


def test_what_is_not_finite_on_another_worker_is_seen_here():
    record = LossRecord(lambda values: (values + math.nan) / 2)
    record.add(7, {"generator_loss": torch.tensor(1.0)})
    with pytest.raises(NonFiniteLossError, match="step 7: the generator loss is not finite"):
        record.settle()


def test_means_are_over_all_settled_steps():
    record = LossRecord(lambda values: values)
    for values in ([1.0, 2.0], [6.0]):
        for value in values:
            record.add(1, {"generator_loss": torch.tensor(value)})
        record.settle()
    record.settle()
    assert record.means() == {"generator_loss": 3.0}
