"""The verdict on training: histories of each failure, healthy ones with noise, boundaries, what a run records."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.errors import SettingsError
from colornet.training import health
from colornet.training.callbacks import standard_callbacks
from colornet.training.gan import GanModule
from colornet.training.health import Action, ActionName, Epoch, Policy, State, Thresholds, Verdict, decide, judge
from colornet.training.presets import preset
from colornet.training.trainer import Trainer

FAIR = {
    "epoch": 1,
    "adversarial_loss": 1.5,
    "reconstruction_loss": 0.05,
    "discriminator_accuracy": 0.8,
    "accuracy_after_retraining": 0.8,
    "mean_chroma": 12.0,
    "true_mean_chroma": 20.0,
    "hue_concentration": 0.5,
    "true_hue_concentration": 0.4,
    "generator_gradient_norm": 3.0,
    "discriminator_gradient_norm": 0.4,
}
AHEAD = {"discriminator_accuracy": 1.0, "accuracy_after_retraining": 1.0, "adversarial_loss": 15.0}
BEHIND = {"discriminator_accuracy": 0.5, "accuracy_after_retraining": 0.52, "adversarial_loss": 0.7}
FAILURES = [
    (State.DEAD_GRADIENTS, {"generator_gradient_norm": 0.0}, "the generator learns nothing"),
    (State.DEAD_GRADIENTS, {"discriminator_gradient_norm": 1e-9}, "the discriminator learns nothing"),
    (State.GENERATOR_COLLAPSED, {"adversarial_loss": 0.001}, "takes all made-up colour for real"),
    (State.DISCRIMINATOR_AHEAD, AHEAD, "right 100% of the time and the adversarial loss is 15.0"),
    (State.DISCRIMINATOR_BEHIND, BEHIND, "right 52% of the time"),
    (State.GRAY_COLLAPSE, {"mean_chroma": 1.0}, "5% of the true chroma"),
    (State.ORANGE_COLLAPSE, {"hue_concentration": 0.99}, "concentrate to 0.99, the true ones to 0.40"),
]


def fair(count: int) -> list[dict]:
    return [FAIR] * count


def states(history: list[dict], **thresholds) -> list[State]:
    return [verdict.state for verdict in judge(history, Thresholds(**thresholds))]


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "change", "sentence"), FAILURES)
def test_each_failure_is_seen_when_it_has_half_of_the_window(state, change, sentence):
    history = fair(10) + [FAIR | change] * 4 + fair(5)
    seen = states(history)
    assert seen == [State.HEALTHY] * 12 + [state] * 4 + [State.HEALTHY] * 3
    assert sentence in judge(history)[13].sentence


@given(st.integers(0, 19), st.sampled_from(FAILURES))
def test_one_noisy_epoch_is_no_alarm(place, failure):
    history = fair(20)
    history[place] = FAIR | failure[1]
    assert set(states(history)) == {State.HEALTHY}


HEALTHY_EPOCHS = st.fixed_dictionaries(
    {
        "adversarial_loss": st.floats(0.05, 8.0),
        "reconstruction_loss": st.floats(0.0, 1.0),
        "discriminator_accuracy": st.floats(0.55, 1.0),
        "mean_chroma": st.floats(4.01, 60.0),
        "true_mean_chroma": st.just(20.0),
        "hue_concentration": st.floats(0.0, 0.9),
        "true_hue_concentration": st.floats(0.0, 1.0),
        "generator_gradient_norm": st.floats(1e-6, 1e4),
        "discriminator_gradient_norm": st.floats(1e-6, 1e4),
    }
)


@settings(max_examples=50)
@given(st.lists(HEALTHY_EPOCHS, max_size=12))
def test_healthy_histories_with_any_noise_are_healthy(history):
    verdicts = judge(history)
    assert len(verdicts) == len(history)
    assert {verdict.state for verdict in verdicts} <= {State.HEALTHY}
    assert decide(verdicts) is Action.GO_ON


@settings(max_examples=50)
@given(st.lists(HEALTHY_EPOCHS, min_size=1, max_size=10), st.lists(HEALTHY_EPOCHS, max_size=5))
def test_a_verdict_does_not_depend_on_what_comes_later(history, later):
    assert judge(history + later)[: len(history)] == judge(history)


BOUNDARIES = [
    (State.DEAD_GRADIENTS, "generator_gradient_norm", 1e-6, -math.inf),
    (State.DEAD_GRADIENTS, "discriminator_gradient_norm", 1e-6, -math.inf),
    (State.GENERATOR_COLLAPSED, "adversarial_loss", 0.05, -math.inf),
    (State.DISCRIMINATOR_BEHIND, "accuracy_after_retraining", 0.55, -math.inf),
    (State.GRAY_COLLAPSE, "mean_chroma", 0.2, -math.inf),
    (State.ORANGE_COLLAPSE, "hue_concentration", 0.9, math.inf),
]


@pytest.mark.parametrize(("state", "name", "value", "beyond"), BOUNDARIES)
def test_a_threshold_itself_is_no_alarm_but_what_is_beyond(state, name, value, beyond):
    base = FAIR | {"true_mean_chroma": 1.0}
    base |= {"mean_chroma": 1.0}
    assert states([base | {name: value}] * 5)[-1] is State.HEALTHY
    assert states([base | {name: math.nextafter(value, beyond)}] * 5)[-1] is state


def test_a_discriminator_that_is_always_right_alone_is_no_alarm():
    right = {"discriminator_accuracy": 1.0, "accuracy_after_retraining": 1.0}
    assert states([FAIR | right | {"adversarial_loss": 8.0}] * 5)[-1] is State.HEALTHY
    assert states([FAIR | right | {"adversarial_loss": 8.1}] * 5)[-1] is State.DISCRIMINATOR_AHEAD
    assert states([FAIR | {"adversarial_loss": 20.0, "accuracy_after_retraining": 0.98}] * 5)[-1] is State.HEALTHY


def test_a_discriminator_that_retraining_brings_back_is_not_behind():
    history = [FAIR | {"discriminator_accuracy": 0.5, "accuracy_after_retraining": 0.7}] * 6
    assert set(states(history)) == {State.HEALTHY}
    unrecorded = [FAIR | {"discriminator_accuracy": 0.5, "accuracy_after_retraining": None}] * 6
    assert states(unrecorded)[-1] is State.DISCRIMINATOR_BEHIND


def test_colour_that_has_one_hue_by_nature_is_no_collapse():
    history = [FAIR | {"hue_concentration": 0.97, "true_hue_concentration": 0.8}] * 5
    assert states(history)[-1] is State.HEALTHY


def test_gray_has_a_hue_but_is_called_gray():
    history = [FAIR | {"mean_chroma": 0.5, "hue_concentration": 1.0}] * 5
    assert states(history)[-1] is State.GRAY_COLLAPSE


def test_a_run_begins_gray():
    start = [FAIR | {"mean_chroma": value} for value in (0.2, 0.5, 1.0, 5.0, 8.0, 9.0, 9.0)]
    assert states(start)[:4] == [State.HEALTHY] * 4  # too early to say
    assert states(start)[4:] == [State.GRAY_COLLAPSE, State.HEALTHY, State.HEALTHY]
    assert judge(start)[1].sentence == "too early to say: 2 of 5 epochs"


@pytest.mark.parametrize(
    "name", ["adversarial_loss", "reconstruction_loss", "generator_gradient_norm", "discriminator_gradient_norm"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_at_once(name, value):
    verdicts = judge([*fair(7), FAIR | {name: value}, *fair(6)])
    assert [verdict.state for verdict in verdicts] == [State.HEALTHY] * 7 + [State.NOT_FINITE] + [State.HEALTHY] * 6
    assert name.replace("_", " ") in verdicts[7].sentence
    assert judge([FAIR | {name: value}])[0].state is State.NOT_FINITE


def test_what_is_not_recorded_raises_no_alarm():
    only_losses = {"adversarial_loss": 1.0, "reconstruction_loss": 0.1}
    assert set(states([only_losses] * 8)) == {State.HEALTHY}
    assert judge([only_losses] * 8)[-1].sentence == "nothing is amiss" != judge(fair(8))[-1].sentence
    no_photographs = FAIR | dict.fromkeys(FAIR, math.nan) | only_losses
    no_photographs |= {"generator_gradient_norm": 1.0, "discriminator_gradient_norm": 1.0}
    assert set(states([no_photographs] * 8)) == {State.HEALTHY}
    going_on = [only_losses] * 8 + [FAIR | {"mean_chroma": 1.0}] * 5  # of an older run
    assert states(going_on) == [State.HEALTHY] * 12 + [State.GRAY_COLLAPSE]


def test_causes_come_before_their_symptoms():
    everything = {name: value for _, change, _ in reversed(FAILURES) for name, value in change.items()}
    assert states([FAIR | everything] * 5)[-1] is State.DEAD_GRADIENTS
    assert [state for state, _ in health._FAILURES] == [s for s in State if s not in (State.NOT_FINITE, State.HEALTHY)]


def test_an_epoch_without_losses_is_judged_by_its_colour():
    alone = {"mean_chroma": 1.0, "true_mean_chroma": 20.0, "generator_gradient_norm": 1.0}  # no reconstruction
    assert states([alone] * 5)[-1] is State.GRAY_COLLAPSE
    assert states([alone | {"mean_chroma": 19.0}] * 5)[-1] is State.HEALTHY
    assert states([{"stage": "pre-training", "epoch": 1}] * 5) == [State.HEALTHY] * 5
    assert judge([]) == []


def test_other_kinds_of_loss_are_judged_by_their_cross_entropy():
    hinge = FAIR | {"adversarial_loss": -9.0, "adversarial_entropy_loss": 1.5}  # −9 would be "all taken for real"
    assert states([hinge] * 5)[-1] is State.HEALTHY
    assert states([hinge | {"adversarial_entropy_loss": 0.001}] * 5)[-1] is State.GENERATOR_COLLAPSED
    assert judge([hinge | {"adversarial_entropy_loss": math.nan}])[0].state is State.NOT_FINITE
    assert Epoch.of(FAIR | {"adversarial_entropy_loss": None}).adversarial_loss == FAIR["adversarial_loss"]


@pytest.mark.parametrize(("name", "value"), [("window", 0), ("gray", 1.5), ("fooled", -1.0), ("exploding", math.inf)])
def test_thresholds_out_of_range_are_named(name, value):
    with pytest.raises(SettingsError, match=f"^{name} should be"):
        Thresholds(**{name: value})


# --- actions ----------------------------------------------------------------------------------------------------------


def verdicts(*run: State) -> list[Verdict]:
    return [Verdict(state, "") for state in run]


def test_an_action_is_given_time_to_work():
    policy = Policy(repeat_every=3)
    run = verdicts(*[State.HEALTHY] * 2, *[State.DISCRIMINATOR_AHEAD] * 7, State.HEALTHY, State.DISCRIMINATOR_AHEAD)
    actions = [decide(run[:end], policy) for end in range(len(run) + 1)]
    lower, go_on = Action.LOWER_LEARNING_RATE, Action.GO_ON
    assert actions == [go_on] * 3 + [lower, go_on, go_on, lower, go_on, go_on, lower, go_on, lower]


def test_another_failure_has_its_own_action_at_once():
    run = verdicts(State.GRAY_COLLAPSE, State.GRAY_COLLAPSE, State.DISCRIMINATOR_BEHIND)
    assert decide(run) is Action.RETRAIN_DISCRIMINATOR


def test_settings_name_the_actions_that_there_are():
    assert list(get_args(ActionName)) == list(Action)
    assert {field.name for field in dataclasses.fields(Policy)} >= set(State) - {State.HEALTHY}


@pytest.mark.parametrize("state", [state for state in State if state is not State.HEALTHY])
@pytest.mark.parametrize("action", Action)
def test_each_failure_can_have_any_action(state, action):
    assert decide(verdicts(state), Policy(**{state: action.value})) is action


def test_a_failure_that_lasts_ends_the_run():
    policy = Policy(stop_after=4)
    run = verdicts(*[State.GRAY_COLLAPSE] * 4)
    assert [decide(run[:end], policy) for end in (1, 2, 3, 4)] == [Action.WARN, Action.GO_ON, Action.GO_ON, Action.STOP]
    assert decide(verdicts(*[State.GRAY_COLLAPSE] * 50)) is not Action.STOP
    assert decide(verdicts(State.NOT_FINITE)) is Action.STOP


@pytest.mark.parametrize(
    ("name", "value"), [("gray_collapse", "panic"), ("repeat_every", 0), ("stop_after", -1), ("lower_by", 1.0)]
)
def test_policies_out_of_range_are_named(name, value):
    with pytest.raises(SettingsError, match=f"^{name} should be"):
        Policy(**{name: value})


# --- a real run -------------------------------------------------------------------------------------------------------


class Noise:
    """Photographs of all colours."""

    def stage(self, number: int):
        yield torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)

    def held_out(self, image_size: int) -> torch.Tensor:
        return next(self.stage(99))


def test_the_trainer_records_what_is_judged_under_these_names():
    smoke = preset("smoke")
    stage = dataclasses.replace(smoke.stages[-1], epochs=1, steps_per_epoch=1)
    made = dataclasses.replace(smoke, stages=(stage,), retrain_steps=0)
    measured = Trainer(
        GanModule(made.build_generator(), made.build_discriminator(), made), Noise(), standard_callbacks()
    ).run_epoch()
    assert {field.name for field in dataclasses.fields(Epoch)} <= measured.keys()
    assert None not in dataclasses.asdict(Epoch.of(measured)).values()
