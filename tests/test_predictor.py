"""Prediction: a picture's colour does not depend on its company, nor on who asked at the same time; how sure it is."""

import functools
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.inference.bundle import Bundle
from colornet.inference.letterbox import Letterbox
from colornet.inference.predictor import GPU_BATCH, Batched, Prediction, Predictor
from colornet.networks import build_generator

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
WHOLE = Letterbox(0, 0, 32, 32)
UNET = ("unet", {"width": 2})
BINS = ("backbone", {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"})
PLAIN = ("backbone", {"encoder": "mobilenetv3_small_050", "width": 2, "head": "ab"})


def bundle(name: str = "unet", settings: Mapping[str, Any] = UNET[1]) -> Bundle:
    torch.manual_seed(0)
    generator = build_generator(name, settings)
    if name == "backbone":
        torch.nn.init.normal_(generator.out.weight)  # as trained: not all bins about as likely everywhere
    return Bundle(generator=generator, network=name, settings=settings, image_size=32)


def squares(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, size, size)).astype(np.float16)


@pytest.mark.parametrize("network", [UNET, BINS])
@pytest.mark.parametrize("device", DEVICES)
def test_a_prediction_does_not_depend_on_the_pictures_beside_it(device, network):
    predictor = Predictor(bundle(*network), device=device)
    lightness = squares(5 if device == "cpu" else GPU_BATCH + 3)
    letterboxes = [Letterbox(index, 0, 32 - index, 32) for index in range(len(lightness))]
    together = predictor.predict(lightness, letterboxes)
    alone = [
        predictor.predict(each[None], [letterbox])[0] for each, letterbox in zip(lightness, letterboxes, strict=True)
    ]
    assert [each.confidence for each in together] == [each.confidence for each in alone]
    colour = np.stack([each.ab for each in together])
    assert colour.shape == (len(lightness), 2, 32, 32)
    assert np.array_equal(colour, np.stack([each.ab for each in alone]))
    assert np.array_equal(colour, predictor(lightness))


@pytest.mark.parametrize("network", [UNET, BINS])
def test_a_batch_that_is_filled_up_gives_what_single_pictures_give(network):
    """As on a GPU, but for its arithmetic."""
    predictor = Predictor(bundle(*network), precision="float32")
    scaled = torch.rand(3, 1, 32, 32) * 2 - 1
    singly = [predictor._predict(part, 1) for part in scaled.split(1)]
    ab, sure = predictor._predict(scaled, 5)
    assert ab.shape == (3, 2, 32, 32)
    assert np.allclose(ab, np.concatenate([each for each, _ in singly]), atol=0.1)
    if network is BINS:
        assert sure is not None and sure.shape == (3, 8, 8)
        assert np.allclose(sure, np.concatenate([each for _, each in singly]), atol=1e-4)


# --- how sure it is ---------------------------------------------------------------------------------------------------


@functools.cache
def sure_of() -> Predictor:
    return Predictor(bundle(*BINS), precision="float32")


def telling(cells: torch.Tensor) -> Predictor:
    """A predictor whose logits are given: no bin more likely than others where a cell is 0, one alone where it is 1."""
    predictor = sure_of()
    logits = torch.zeros(1, len(predictor.generator.centres), *cells.shape)
    logits[:, 7] = 1000 * cells
    predictor.generator._decode = lambda lightness, hints: logits.expand(len(lightness), -1, -1, -1)
    return predictor


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_confidence_is_0_if_all_bins_are_as_likely_and_1_if_there_is_one(certain):
    for prediction in telling(torch.full((8, 8), certain)).predict(squares(2), [WHOLE, Letterbox(3, 0, 25, 32)]):
        assert prediction.confidence == pytest.approx(certain, abs=1e-5)
        assert 0 <= prediction.confidence <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 31), st.integers(0, 31), st.data())
def test_padding_does_not_count(top, left, data):
    """Sure in the left part of the square, not in the right: the confidence is the left part's share of the picture."""
    height, width = data.draw(st.integers(1, 32 - top)), data.draw(st.integers(1, 32 - left))
    cells = torch.zeros(8, 8)
    edge = data.draw(st.integers(0, 8))
    cells[:, :edge] = 1
    letterbox = Letterbox(top, left, height, width, data.draw(st.integers(1, 8)))
    (prediction,) = telling(cells).predict(squares(1), [letterbox])
    share = sum(column < 4 * edge for column in range(left, left + width)) / width
    assert prediction.confidence == pytest.approx(share, abs=1e-5)


def test_squares_that_are_no_multiple_of_four():
    cells = torch.zeros(16, 16)  # the network sees 64 pixels
    cells[:, 8] = 1  # of which the last cell of the picture has one column
    (prediction,) = telling(cells).predict(squares(1, 33), [Letterbox(0, 0, 33, 33)])
    assert prediction.confidence == pytest.approx(1 / 33, abs=1e-5)


@pytest.mark.parametrize("network", [UNET, PLAIN])
def test_generators_without_a_distribution_do_not_know(network):
    assert [each.confidence for each in Predictor(bundle(*network)).predict(squares(2), [WHOLE] * 2)] == [None, None]


# --- asked by many ----------------------------------------------------------------------------------------------------


class Traced:
    """A predictor whose colour tells what it was asked, and that remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_go = threading.Event()

    def predict(self, lightness, letterboxes, hints):
        self.may_go.wait()
        self.batches.append(len(lightness))
        if np.isnan(lightness).any():
            raise ValueError("not a number")
        return [
            Prediction(np.stack([each, -each]), letterbox.top if cells is None else cells.sum())
            for each, letterbox, cells in zip(lightness, letterboxes, hints, strict=True)
        ]


def test_everyone_gets_their_own_and_batches_are_bounded():
    traced = Traced()
    batched = Batched(traced, 4)
    questions = [np.full((1 + index % 3, 2, 2), index, np.float16) for index in range(24)]
    with ThreadPoolExecutor(24) as threads:
        letterboxes = [[Letterbox(index, 0, 1, 1)] * len(question) for index, question in enumerate(questions)]
        hints = [
            None if index % 2 else [np.full((1, 4), index, np.float32)] * len(question)
            for index, question in enumerate(questions)
        ]
        answers = [threads.submit(batched.predict, *each) for each in zip(questions, letterboxes, hints, strict=True)]
        traced.may_go.set()
        for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            predictions = answer.result(10)
            assert np.array_equal(np.stack([each.ab for each in predictions]), np.stack([question, -question], axis=1))
            assert {each.confidence for each in predictions} == {index if index % 2 else 4 * index}
    assert sum(traced.batches) == sum(map(len, questions))
    assert len(traced.batches) < len(questions)
    assert max(traced.batches) <= 4 + 2  # the last one taken may be of three pages


def test_an_error_reaches_those_who_asked_and_the_next_are_served():
    traced = Traced()
    traced.may_go.set()
    batched = Batched(traced, 4)
    with pytest.raises(ValueError, match="not a number"):
        batched.predict(np.full((1, 2, 2), np.nan, np.float16), [WHOLE])
    assert len(batched.predict(np.zeros((1, 2, 2), np.float16), [WHOLE])) == 1
