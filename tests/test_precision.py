"""One rule for training and inference: bfloat16 by itself only where the processor computes in it."""

import pytest
import torch

from colornet.inference.bundle import Bundle
from colornet.inference.precision import resolve
from colornet.inference.predictor import Predictor
from colornet.networks import build_generator
from colornet.training.gan import GanModule
from colornet.training.presets import preset

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[False, True], ids=["emulated", "native"])
def native(request, monkeypatch) -> bool:
    """Whether the processors of this machine have bfloat16, which all of them can emulate."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: request.param or including_emulation
    )
    return request.param


@pytest.mark.parametrize("device", [CPU, CUDA, torch.device("cuda:1")])
def test_auto_takes_no_bfloat16_that_is_emulated(native, device):
    assert resolve("auto", device) is (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_is_asked_for_by_name_is_taken(native, device):
    assert resolve("float32", device) is torch.float32
    assert resolve("bfloat16", device) is torch.bfloat16


def test_a_device_that_nothing_is_known_of_computes_in_float32():
    assert resolve("auto", torch.device("mps")) is torch.float32


def test_training_and_inference_follow_it(native):
    recipe = preset("smoke")
    assert recipe.precision == "auto"
    module = GanModule(recipe.build_generator(), recipe.build_discriminator(), recipe)
    generator = build_generator("unet", {"width": 2})
    bundle = Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32)
    assert module.low_precision == native
    assert Predictor(bundle).dtype is resolve("auto", CPU)
