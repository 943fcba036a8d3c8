"""Prediction: a picture's colour does not depend on its company, nor on who asked at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from colornet.bundle import Bundle
from colornet.networks import build_generator
from colornet.predict import GPU_BATCH, Batched, Predictor

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def bundle() -> Bundle:
    torch.manual_seed(0)
    settings = {"width": 2}
    return Bundle(generator=build_generator("unet", settings), network="unet", settings=settings, image_size=32)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_colour_does_not_depend_on_the_pictures_beside_it(device):
    predictor = Predictor(bundle(), device=device)
    lightness = np.random.default_rng(0).uniform(-1, 1, (GPU_BATCH + 3, 32, 32)).astype(np.float16)
    together = predictor(lightness)
    assert together.shape == (GPU_BATCH + 3, 2, 32, 32)
    assert np.array_equal(together, np.concatenate([predictor(each[None]) for each in lightness]))


def test_a_batch_that_is_filled_up_gives_the_colours_of_single_pictures():
    """As on a GPU, but for its arithmetic."""
    predictor = Predictor(bundle(), precision="float32")
    scaled = torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.inference_mode():
        singly = np.concatenate([predictor._predict(part, 1) for part in scaled.split(1)])
        filled = predictor._predict(scaled, 5)
    assert filled.shape == (3, 2, 32, 32)
    assert np.allclose(filled, singly, atol=0.1)


class Traced:
    """A predictor whose colour tells what it was asked, and that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_go = threading.Event()

    def __call__(self, lightness):
        self.may_go.wait()
        self.batches.append(len(lightness))
        if np.isnan(lightness).any():
            raise ValueError("not a number")
        return np.stack([lightness, -lightness], axis=1)


def test_everyone_gets_their_own_and_batches_are_bounded():
    traced = Traced()
    batched = Batched(traced, 4)
    questions = [np.full((1 + index % 3, 2, 2), index, np.float16) for index in range(24)]
    with ThreadPoolExecutor(24) as threads:
        answers = [threads.submit(batched, question) for question in questions]
        traced.may_go.set()
        for question, answer in zip(questions, answers, strict=True):
            assert np.array_equal(answer.result(10), np.stack([question, -question], axis=1))
    assert sum(traced.batches) == sum(map(len, questions))
    assert len(traced.batches) < len(questions)
    assert max(traced.batches) <= 4 + 2  # the last one taken may be of three pages


def test_an_error_reaches_those_who_asked_and_the_next_are_served():
    traced = Traced()
    traced.may_go.set()
    batched = Batched(traced, 4)
    with pytest.raises(ValueError, match="not a number"):
        batched(np.full((1, 2, 2), np.nan, np.float16))
    assert batched(np.zeros((1, 2, 2), np.float16)).shape == (1, 2, 2, 2)
