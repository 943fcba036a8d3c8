"""Batched: what many threads ask for is predicted together, and each gets its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from colornet.predict import Batched


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
