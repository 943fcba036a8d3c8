"""Where epochs lie in the stages of a run, and the learning rates of their steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colornet.errors import TrainingError
from colornet.training.recipe import Recipe, Stage
from colornet.training.schedule import find_epoch, lr_scale


def test_epochs_lie_in_their_stages():
    made = Recipe(stages=(Stage(epochs=2), Stage(name="second", epochs=3)))
    places = [find_epoch(made, epoch) for epoch in range(5)]
    assert [(place.stage_number, place.epoch_of_stage) for place in places] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert [place.first_epoch for place in places] == [0, 0, 2, 2, 2]
    assert all(place.stage is made.stages[place.stage_number] for place in places)
    with pytest.raises(TrainingError, match="the run has 5 epochs, and they are over"):
        find_epoch(made, 5)


def test_warmup_and_decay_in_closed_form():
    stage = Stage(epochs=2, steps_per_epoch=10, warmup=0.2, decay=0.5)
    rise = [0.25, 0.5, 0.75, 1.0]  # over a fifth of 20 steps
    fall = [1.0 - k / 10 for k in range(10)]  # from the middle on, to a tenth at the last step
    assert [lr_scale(stage, step) for step in range(20)] == pytest.approx([*rise, *[1.0] * 6, *fall])


def test_without_warmup_and_decay_the_learning_rates_stay():
    stage = Stage(epochs=1, steps_per_epoch=5, warmup=0.0, decay=0.0)
    assert [lr_scale(stage, step) for step in range(5)] == [1.0] * 5


@given(steps=st.integers(1, 200), warmup=st.floats(0, 1), decay=st.floats(0, 1))
def test_the_learning_rates_rise_once_and_fall_once(steps, warmup, decay):
    stage = Stage(epochs=1, steps_per_epoch=steps, warmup=warmup, decay=decay)
    scales = [lr_scale(stage, step) for step in range(steps)]
    assert all(0 < each <= 1 for each in scales)
    top = scales.index(max(scales))
    assert scales[: top + 1] == sorted(scales[: top + 1]) and scales[top:] == sorted(scales[top:], reverse=True)


@pytest.mark.parametrize(("workers", "scale"), [(1, 1.0), (2, 1.0), (3, 0.75), (8, 2.0)])
def test_the_learning_rates_follow_the_photographs_of_a_step(workers, scale):
    assert lr_scale(Stage(batch_size=4, decay=0.0), 0, workers) == scale
