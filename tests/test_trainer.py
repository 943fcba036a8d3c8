"""A run: its stages and epochs, what is measured of them, what is done about it, and how it goes on after a stop."""

import copy
import dataclasses
import math
import re

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch
from torch import Tensor

from colornet.color import lab
from colornet.errors import TrainingError
from colornet.training import trainer
from colornet.training.batches import Batches
from colornet.training.callbacks import ReportProgress, standard_callbacks
from colornet.training.callbacks.retraining import STEPS_AT_ONCE
from colornet.training.degradation import DEGRADATIONS, degrade
from colornet.training.gan import Batch, GanModule
from colornet.training.health import Policy, State, Thresholds
from colornet.training.held_out import HeldOut
from colornet.training.hints import HintSimulation
from colornet.training.losses import NonFiniteLossError
from colornet.training.presets import preset
from colornet.training.recipe import DISCRIMINATOR, GENERATOR, GeneratorRecipe, Recipe, Stage
from colornet.training.trainer import SETTLE_EVERY, Callback, StepProgress, Trainer

SIZE = 32
ADVERSARIAL = dataclasses.replace(preset("smoke").stages[-1], epochs=1)
PRE_TRAINING = dataclasses.replace(ADVERSARIAL, name="pre-training", trains=DISCRIMINATOR, steps_per_epoch=2, decay=0.0)
COLOUR = dataclasses.replace(ADVERSARIAL, name="colour", trains=GENERATOR, adversarial_weight=0.0, steps_per_epoch=3)
NO_RETRAINING = {"retrain_below": 0.0, "retrain_steps": 0}
TIMES = ("seconds", "photographs_per_second", "waiting_for_data", "finished")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are faster so, and do not wait for a core that others use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recipe(*stages: Stage, **changes) -> Recipe:
    made = dataclasses.replace(preset("smoke"), stages=stages or (ADVERSARIAL,), precision="float32")
    return dataclasses.replace(made, **changes)


def noise(count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)


class Noise:
    """Photographs of all colours; each stage has a row of its own, and each place in it its own batch."""

    def __init__(self, used: int = 0, held_out: Tensor | None = None) -> None:
        self.used = used
        """Batches of the stage that the run is in."""
        self.stages: list[int] = []
        self._held_out = noise(8, seed=99) if held_out is None else held_out

    def stage(self, number: int):
        if self.stages:  # another one than that in which the run began or went on
            self.used = 0
        self.stages.append(number)
        while True:
            self.used += 1
            yield noise(4, seed=1000 * number + self.used)

    def held_out(self, image_size: int) -> Tensor:
        return self._held_out[..., :image_size, :image_size]


class Same(Noise):
    """The same photographs in every batch."""

    def __init__(self, photographs: Tensor) -> None:
        super().__init__()
        self.photographs = photographs

    def stage(self, number: int):
        while True:
            yield self.photographs


def make_gan(made: Recipe) -> GanModule:
    torch.manual_seed(made.seed)
    return GanModule(made.build_generator(), made.build_discriminator(), made)


def make_trainer(*stages: Stage, photographs=None, callbacks=(), **changes) -> Trainer:
    return Trainer(make_gan(recipe(*stages, **changes)), photographs or Noise(), [*standard_callbacks(), *callbacks])


def run(made: Trainer) -> Trainer:
    while not made.finished and not made.stopped:
        made.run_epoch()
    return made


def timeless(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in history]


def same_weights(one: Trainer, other: Trainer) -> bool:
    pairs = zip(weights(one), weights(other), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def weights(made: Trainer) -> list[Tensor]:
    state = made.gan.state_dict()
    names = [name for name in ("generator", "discriminator", "ema") if state[name]]
    return [value.clone() for name in names for value in state[name].values()]


# --- stages and epochs ------------------------------------------------------------------------------------------------


def test_a_run_goes_through_its_stages_in_order():
    photographs = Noise()
    made = make_trainer(
        COLOUR, PRE_TRAINING, dataclasses.replace(ADVERSARIAL, epochs=2), photographs=photographs, **NO_RETRAINING
    )
    assert not made.finished and made.stopped is None
    run(made)
    assert made.finished and made.epoch == 4 and photographs.stages == [0, 1, 2]
    told = [(each["epoch"], each["stage"], each["steps"], each["workers"]) for each in made.history]
    assert told == [(1, "colour", 3, 1), (2, "pre-training", 5, 1), (3, "adversarial", 9, 1), (4, "adversarial", 13, 1)]
    with pytest.raises(TrainingError, match="the run has 4 epochs, and they are over"):
        made.run_epoch()


def test_each_kind_of_stage_is_measured():
    colour, pre_training, gan = run(make_trainer(COLOUR, PRE_TRAINING, ADVERSARIAL, **NO_RETRAINING)).history
    everywhere = {"generator_learning_rate", "discriminator_learning_rate", "nearly_gray", "held_out_error", *TIMES}
    everywhere |= {"mean_chroma", "true_mean_chroma", "hue_concentration", "true_hue_concentration"}
    assert all(everywhere <= epoch.keys() for epoch in (colour, pre_training, gan))
    judged, accuracy = {"verdict", "verdict_sentence", "action"}, {"discriminator_accuracy", "retraining_steps"}
    assert judged <= colour.keys() and not accuracy & colour.keys() and "discriminator_loss" not in colour
    assert not (judged | accuracy) & pre_training.keys() and "generator_loss" not in pre_training
    assert judged | accuracy | {"adversarial_loss", "generator_gradient_norm"} <= gan.keys()
    assert 0 <= gan["discriminator_accuracy"] == gan["accuracy_after_retraining"] <= 1
    assert 0 < gan["held_out_error"] < 200 and gan["retraining_steps"] == 0
    assert gan["photographs_per_second"] == pytest.approx(4 * 4 / gan["seconds"])
    assert 0 <= gan["waiting_for_data"] <= 1


def test_means_are_of_the_epochs_steps():
    made = make_trainer(dataclasses.replace(ADVERSARIAL, steps_per_epoch=SETTLE_EVERY + 2), **NO_RETRAINING)
    told, step = [], made.gan.step

    def noted(batch):
        told.append(step(batch))
        return told[-1]

    made.gan.step = noted
    measured = made.run_epoch()
    for name in told[0]:
        assert measured[name] == pytest.approx(np.mean([float(each[name]) for each in told]), rel=1e-5)


def rates_of(made: Trainer) -> list[tuple[float, float]]:
    """Run to the end, and note the learning rates of each step."""
    rates, step = [], made.gan.step

    def noted(batch):
        optimizers = made.gan.generator_optimizer, made.gan.discriminator_optimizer
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))
        return step(batch)

    made.gan.step = noted
    run(made)
    return rates


def test_learning_rates_over_the_stages():
    first = dataclasses.replace(
        COLOUR, epochs=2, steps_per_epoch=4, warmup=0.25, decay=0.5, generator_learning_rate=1.0
    )
    second = dataclasses.replace(PRE_TRAINING, discriminator_learning_rate=0.25, generator_learning_rate=0.5)
    made = make_trainer(first, second, ADVERSARIAL, **NO_RETRAINING)
    rates = rates_of(made)
    assert [rate for rate, _ in rates[:8]] == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25])
    assert rates[8:10] == [(0.5, 0.25)] * 2
    assert [each["generator_learning_rate"] for each in made.history[:2]] == pytest.approx([1.0, 0.25])
    assert made.history[2]["discriminator_learning_rate"] == 0.25


@pytest.mark.parametrize(("workers", "scale"), [(1, 1.0), (2, 1.0), (3, 0.75), (8, 2.0)])
def test_learning_rates_follow_the_batch_that_workers_make_up(monkeypatch, workers, scale):
    monkeypatch.setattr(trainer, "count_workers", lambda: workers)
    made = make_trainer(dataclasses.replace(ADVERSARIAL, decay=0.0), **NO_RETRAINING)  # of 4 photographs a step
    assert set(rates_of(made)) == {
        (scale * ADVERSARIAL.generator_learning_rate, scale * ADVERSARIAL.discriminator_learning_rate)
    }
    assert made.history[0]["workers"] == workers


def test_progress_is_told_every_few_steps():
    told = []
    stage = dataclasses.replace(ADVERSARIAL, epochs=2, steps_per_epoch=2 * SETTLE_EVERY + 5)
    made = make_trainer(PRE_TRAINING, stage, callbacks=[ReportProgress(told.append)], **NO_RETRAINING)
    made.run_epoch()
    made.run_epoch()
    assert [(each.stage, each.step, each.steps) for each in told] == [
        ("pre-training, epoch 1/3", 2, 2),
        ("adversarial, epoch 2/3", 10, 25),
        ("adversarial, epoch 2/3", 20, 25),
        ("adversarial, epoch 2/3", 25, 25),
    ]
    first, last = told[0], told[-1]
    assert last.losses["generator_loss"] == made.history[1]["generator_loss"] and last.photographs_per_second > 0
    assert first.seconds_left == pytest.approx(50 * 4 / first.photographs_per_second)
    assert last.seconds_left == pytest.approx(25 * 4 / last.photographs_per_second)


def test_time_left_counts_the_pixels_of_later_stages():
    told = []
    later = dataclasses.replace(ADVERSARIAL, image_size=64, batch_size=8, steps_per_epoch=3)  # 8 times the work a step
    made = make_trainer(
        dataclasses.replace(COLOUR, epochs=2), later, callbacks=[ReportProgress(told.append)], **NO_RETRAINING
    )
    made.run_epoch()
    (only,) = told
    assert only.seconds_left == pytest.approx((3 + 3 * 8) * 4 / only.photographs_per_second)


def test_photographs_that_run_out():
    class Few(Noise):
        def stage(self, number):
            yield from [noise(4, 0)] * 2

    with pytest.raises(TrainingError, match="photographs ran out after step 2"):
        make_trainer(photographs=Few()).run_epoch()


@pytest.mark.parametrize("name", ["discriminator loss", "generator gradient norm"])
def test_a_run_ends_at_the_step_that_is_not_finite(name):
    made = make_trainer(**NO_RETRAINING)
    which, step = name.split()[0], made.gan.step

    def poisoned(batch):
        if made.gan.steps == 2:
            if "gradient" in name:
                next(getattr(made.gan, which).parameters()).register_hook(lambda gradient: gradient * math.nan)
            else:
                with torch.no_grad():
                    made.gan.generator.out.bias.fill_(math.nan)
        return step(batch)

    made.gan.step = poisoned
    with pytest.raises(NonFiniteLossError, match=f"step 3: the {name} is not finite"):
        made.run_epoch()


def test_callbacks_are_called_at_their_moments_after_those_that_every_run_has():
    class Noted(Callback):
        def __init__(self):
            self.moments = []

        def on_epoch_start(self, trainer):
            self.moments.append((trainer.place.stage.name, trainer.place.epoch_of_stage))

        def on_steps(self, trainer, progress: StepProgress):
            self.moments.append((progress.what, progress.step))

        def on_epoch_end(self, trainer, measured):
            self.moments.append(sorted({"generator_loss", "psnr", "verdict"} & measured.keys()))
            measured["own"] = 3

    noted = Noted()
    made = run(make_trainer(dataclasses.replace(COLOUR, epochs=2), callbacks=[noted], **NO_RETRAINING))
    known = ["generator_loss", "psnr", "verdict"]
    assert noted.moments == [
        ("colour", 0),
        ("colour, epoch 1/2", 3),
        known,
        ("colour", 1),
        ("colour, epoch 2/2", 3),
        known,
    ]
    assert [epoch["own"] for epoch in made.history] == [3, 3]


# --- what the networks see --------------------------------------------------------------------------------------------


def first_batch(photographs: Tensor, **changes) -> tuple[Batch, Trainer]:
    stage = dataclasses.replace(ADVERSARIAL, steps_per_epoch=1, batch_size=len(photographs))
    made = make_trainer(stage, photographs=Same(photographs), **NO_RETRAINING, **changes)
    batches, step = [], made.gan.step

    def noted(batch):
        batches.append(batch)
        return step(batch)

    made.gan.step = noted
    made.run_epoch()
    return batches[0], made


def test_a_batch_is_what_an_independent_conversion_says():
    photographs = noise(4, seed=3)
    batch, _ = first_batch(photographs)
    reference = skimage.color.rgb2lab(photographs.permute(0, 2, 3, 1).numpy())
    lightness = torch.from_numpy(reference[..., :1]).permute(0, 3, 1, 2)
    torch.testing.assert_close(lab.unscale_lightness(batch.lightness).double(), lightness, rtol=0, atol=0.02)
    ab = torch.from_numpy(reference[..., 1:]).permute(0, 3, 1, 2)
    torch.testing.assert_close(lab.unscale_ab(batch.ab).double(), ab, rtol=0, atol=0.05)
    assert torch.equal(batch.degraded, batch.lightness)


def test_degradation_changes_what_the_generator_sees_and_nothing_else():
    photographs = noise(4, seed=3)
    clean, plain = first_batch(photographs)
    torch.manual_seed(0)
    degraded, old = first_batch(photographs, degradation=DEGRADATIONS["archive"])
    assert torch.equal(degraded.lightness, clean.lightness) and torch.equal(degraded.ab, clean.ab)
    assert degraded.degraded.shape == clean.degraded.shape and not torch.allclose(
        degraded.degraded, clean.degraded, atol=0.05
    )
    for made in (plain, old):  # held-out photographs are measured on their own gray
        (lightness, _), *_ = made.held_out._pictures
        assert torch.equal(lightness, lab.split_scaled(made.held_out.photographs[: len(lightness)])[0])
    shown, _ = old.panel()
    assert torch.equal(shown, old.held_out.photographs[: old.recipe.panel_photographs])


def test_degradation_is_drawn_from_the_runs_random_numbers():
    photographs, degradation = noise(4, seed=3), DEGRADATIONS["archive"]
    torch.manual_seed(5)
    made = next(Batches(iter([photographs]), Recipe(degradation=degradation), torch.device("cpu"))).degraded
    assert torch.equal(made, degrade(photographs, degradation, torch.Generator().manual_seed(5)))


ALL_HINTED = HintSimulation(none=0.0, all=0.0)
GRAY = torch.tensor([[[[60]], [[60]], [[60]]]], dtype=torch.uint8).expand(1, 3, SIZE, SIZE)


def test_nearly_gray_photographs_are_replaced_and_counted():
    red, blue = (noise(1, seed) for seed in (1, 2))
    batch, made = first_batch(torch.cat([GRAY, red, GRAY, blue, GRAY]))
    chosen = torch.cat([red, blue, red, blue, red])
    lightness, ab = lab.split_scaled(chosen)
    assert torch.equal(batch.degraded, lightness) and torch.equal(batch.lightness, lightness)
    torch.testing.assert_close(batch.ab, ab)
    assert made.history[0]["nearly_gray"] == 3


def test_a_share_of_nearly_gray_photographs_stays():
    red = noise(1, seed=1)
    photographs = torch.cat([red, GRAY.expand(999, -1, -1, -1)])
    torch.manual_seed(0)
    counts = {}
    for kept in (0.0, 0.25, 1.0):
        batches = Batches(iter([photographs]), Recipe(nearly_gray_kept=kept), torch.device("cpu"))
        neutral = lab.unscale_ab(next(batches).ab).abs().amax(dim=(1, 2, 3)) < 1
        counts[kept] = int(neutral.sum())
        assert batches.count_nearly_gray() == 999 - counts[kept] or kept == 0.25
    assert counts[0.0] == 0 and counts[1.0] == 999
    # Those that stay and the red one are repeated in the places of the others: the share of the red one is 1 / 250.
    assert counts[0.25] == pytest.approx(999, abs=10)


def test_hints_are_simulated_for_a_generator_that_takes_them():
    photographs = noise(4, seed=3)
    with_hints = Recipe(generator=GeneratorRecipe(network="backbone", head="bins", hints=True), hints=ALL_HINTED)
    batch = next(Batches(iter([photographs]), with_hints, torch.device("cpu")))
    assert batch.hints is not None and (batch.hints[:, 2].amax(dim=(1, 2)) == 1).all()
    assert next(Batches(iter([photographs]), Recipe(), torch.device("cpu"))).hints is None


def test_a_batch_of_gray_alone_is_counted_and_trained_on():
    batch, made = first_batch(GRAY.expand(4, -1, -1, -1))
    torch.testing.assert_close(batch.lightness, lab.split_scaled(GRAY)[0].expand(4, -1, -1, -1))
    assert made.history[0]["nearly_gray"] == 4
    assert type(made.history[0]["nearly_gray"]) is int


def test_what_is_nearly_gray_is_counted_anew_in_each_epoch():
    photographs = torch.cat([GRAY, noise(3, 0)])
    stage = dataclasses.replace(ADVERSARIAL, epochs=2)
    made = run(make_trainer(stage, photographs=Same(photographs), **NO_RETRAINING))
    assert [epoch["nearly_gray"] for epoch in made.history] == [4, 4]


# --- retraining -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("below", "steps"), [(0.0, 0), (1.0, 25)])
def test_a_discriminator_that_fell_behind_is_retrained(below, steps):
    made = make_trainer(retrain_below=below, retrain_steps=25, ema_decay=0.9)
    generators = []

    def guessing(lightness, real, fake):  # whatever it learns
        generators.append([value.clone() for value in made.gan.generator.state_dict().values()])
        return torch.tensor(float(len(real)))

    made.gan.count_correct = guessing
    measured = made.run_epoch()
    for before in generators:
        assert all(map(torch.equal, before, made.gan.generator.state_dict().values()))
    assert measured["retraining_steps"] == steps
    assert measured["steps"] == made.gan.steps == ADVERSARIAL.steps_per_epoch + steps
    assert int(made.gan.ema.n_averaged) == ADVERSARIAL.steps_per_epoch
    assert measured["discriminator_accuracy"] == measured["accuracy_after_retraining"] == 0.5


def test_retraining_stops_when_it_is_good_enough():
    made = make_trainer(retrain_below=0.9, retrain_steps=100)
    verdicts = iter([0.5, 0.5, 0.6, 0.6, 1.0, 1.0])  # two batches of held-out photographs each
    made.gan.count_correct = lambda lightness, real, fake: torch.tensor(2.0 * len(real) * next(verdicts))
    measured = made.run_epoch()
    assert measured["discriminator_accuracy"] == 0.5 and measured["accuracy_after_retraining"] == 1.0
    assert measured["retraining_steps"] == 2 * STEPS_AT_ONCE


@pytest.mark.parametrize("stage", [COLOUR, PRE_TRAINING])
def test_stages_of_one_network_are_not_retrained(stage):
    made = make_trainer(stage, ADVERSARIAL, retrain_below=1.0, retrain_steps=25)
    assert "retraining_steps" not in made.run_epoch() and made.gan.steps == stage.steps_per_epoch


# --- the same run again, and after a stop -----------------------------------------------------------------------------


LONG = (COLOUR, PRE_TRAINING, dataclasses.replace(ADVERSARIAL, epochs=2))
RICH = {
    "ema_decay": 0.9,
    "degradation": DEGRADATIONS["archive"],
    "max_grad_norm": 1.0,
    "retrain_below": 1.0,
    "retrain_steps": 3,
}


def test_the_same_run_twice_is_the_same():
    one, other = (run(make_trainer(*LONG, **RICH)) for _ in range(2))
    assert timeless(one.history) == timeless(other.history) and same_weights(one, other)
    different = run(make_trainer(*LONG, **RICH, seed=1))
    assert timeless(different.history) != timeless(one.history)


@pytest.fixture(scope="module")
def interrupted():
    """A whole run with everything on, and its state after each epoch: with the random state and its place."""
    photographs = Noise()
    whole = make_trainer(*LONG, **RICH, photographs=photographs)
    after = []
    while not whole.finished:
        whole.run_epoch()
        after.append((copy.deepcopy(whole.state_dict()), torch.get_rng_state(), photographs.used))
    return whole, after


@pytest.mark.parametrize("epochs", [1, 2, 3], ids=["first stage", "second stage", "middle of a stage"])
def test_an_interrupted_run_ends_as_one_that_was_not(interrupted, epochs, tmp_path):
    whole, after = interrupted
    state, random, used = after[epochs - 1]
    torch.save(state, tmp_path / "state.pt")
    begins_stage = epochs < 3
    second = make_trainer(*LONG, **RICH, photographs=Noise(0 if begins_stage else used))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (second.epoch, second.history) == (epochs, whole.history[:epochs])
    torch.set_rng_state(random)
    run(second)
    assert timeless(second.history) == timeless(whole.history)
    assert same_weights(second, whole)


def test_a_state_is_not_changed_by_the_run_that_goes_on_from_it(interrupted):
    _, after = interrupted
    state = after[2][0]
    before = copy.deepcopy(state["history"])
    second = make_trainer(*LONG, **RICH, photographs=Noise())
    second.load_state_dict(state)
    second.run_epoch()
    assert state["history"] == before


# --- held-out photographs ---------------------------------------------------------------------------------------------


def held_out(truth: Tensor) -> HeldOut:
    """Made-up and true colour in closed form, (a*, b*) of each photograph."""
    gan = make_gan(recipe())
    made = HeldOut(noise(len(truth), 0), gan, batch_size=2)
    made.__dict__["_pictures"] = [(torch.zeros(len(part), 1, SIZE, SIZE), plane(part)) for part in truth.split(2)]
    return made


def plane(ab: Tensor) -> Tensor:
    return lab.scale_ab(ab)[..., None, None].expand(-1, -1, SIZE, SIZE).contiguous()


def test_held_out_colour_in_closed_form():
    truth = torch.tensor([[10.0, 0.0], [-10.0, 0.0], [0.0, 10.0]])
    fake = torch.tensor([[30.0, 40.0]] * 3)
    measured = held_out(truth).compare([plane(part) for part in fake.split(2)])
    error = np.mean([math.hypot(20, 40), math.hypot(40, 40), math.hypot(30, 30)])
    expected = {
        "held_out_error": error,
        "mean_chroma": 50.0,  # 3-4-5
        "hue_concentration": 1.0,
        "true_mean_chroma": 10.0,
        "true_hue_concentration": 1 / 3,  # two of the three balance each other
    }
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_hues_that_balance_each_other_do_not_concentrate():
    colours = torch.tensor([[20.0, 0.0], [-20.0, 0.0], [0.0, 7.0], [0.0, -7.0]])
    measured = held_out(colours).compare([plane(part) for part in colours.split(2)])
    assert measured["held_out_error"] == 0
    assert measured["hue_concentration"] == pytest.approx(0, abs=1e-6)
    assert measured["mean_chroma"] == pytest.approx(13.5)


def test_gray_has_no_hue():
    measured = held_out(torch.tensor([[20.0, 0.0]])).compare([plane(torch.zeros(1, 2))])
    assert measured["mean_chroma"] == 0 and measured["held_out_error"] == pytest.approx(20)
    assert math.isnan(measured["hue_concentration"]) or measured["hue_concentration"] == 0


def test_psnr_is_that_of_an_independent_implementation():
    truth, fake = (
        torch.tensor([[10.0, 5.0], [-10.0, 0.0], [0.0, 15.0]]),
        torch.tensor([[15.0, 0.0], [0.0, 10.0], [0, 15.0]]),
    )
    measured = held_out(truth).compare([plane(part) for part in fake.split(2)])
    pairs = [[skimage.color.lab2rgb([[[50.0, *ab]]]) for ab in both] for both in zip(truth, fake, strict=True)]
    decibels = [skimage.metrics.peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs[:2]]
    best = 20 * math.log10(2 * 255)  # for what is the same: as if half an 8-bit step off
    assert measured["psnr"] == pytest.approx(np.mean([*decibels, best]), abs=0.02)


def test_calibration_of_held_out_colour_in_closed_form():
    truth = torch.tensor([[10.0, 4.0], [-10.0, 8.0], [30.0, -6.0]])
    fake = torch.stack([2 * truth[:, 0], truth[:, 1] + 3], dim=1)
    measured = held_out(truth).compare([plane(part) for part in fake.split(2)])
    factor, *_ = np.linalg.lstsq(fake[:, 1:].numpy(), truth[:, 1].numpy(), rcond=None)
    expected = {"gain_a": 0.5, "gain_b": factor.item(), "bias_a": 10.0, "bias_b": 3.0}
    expected |= {"correlation_a": 1.0, "correlation_b": 1.0}
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_photographs_count_as_worse_than_gray_from_1_db_on():
    truth = torch.tensor([[10.0, 0.0]] * 4)
    fake = torch.tensor([[10.0, 0.0], [20.0, 0.0], [0.0, 0.0], [40.0, 0.0]])  # 0, as far as gray, gray, three times
    measured = held_out(truth).compare([plane(part) for part in fake.split(2)])
    assert measured["worse_than_gray"] == 0.25
    assert held_out(truth).compare([plane(part) for part in (0 * fake).split(2)])["worse_than_gray"] == 0


def test_accuracy_weighs_each_picture_alike():
    made = held_out(torch.rand(3, 2))
    right = iter([4.0, 0.0])  # of 2 + 2 and 1 + 1 pictures
    made._gan.count_correct = lambda lightness, real, fake: torch.tensor(next(right))
    assert made.accuracy([torch.zeros(2, 2, SIZE, SIZE), torch.zeros(1, 2, SIZE, SIZE)]) == pytest.approx(4 / 6)


def test_a_worker_without_held_out_photographs():
    nothing = torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)
    made = make_trainer(photographs=Noise(held_out=nothing), retrain_below=1.0)
    measured = made.run_epoch()
    for name in ("held_out_error", "mean_chroma", "discriminator_accuracy", "hue_concentration", "gain_a", "bias_b"):
        assert math.isnan(measured[name])
    assert measured["retraining_steps"] == 0 and measured["verdict"] == State.HEALTHY
    shown, ab = made.panel()
    assert shown.shape == (0, 3, SIZE, SIZE) and ab.shape == (0, 2, SIZE, SIZE)


def test_the_finished_generator_is_measured_and_the_one_that_trains_is_judged():
    made = make_trainer(ema_decay=0.999, **NO_RETRAINING)
    judged = []

    def noted(lightness, real, fake):
        judged.append(fake)
        return torch.zeros(())

    made.gan.count_correct = noted
    measured = made.run_epoch()
    finished, raw = (torch.cat(made.held_out.colorize(use_ema=which)) for which in (True, False))
    assert torch.equal(torch.cat(judged), raw) and not torch.equal(raw, finished)
    chroma = lab.unscale_ab(finished).norm(dim=1).mean().item()
    assert measured["mean_chroma"] == pytest.approx(chroma, rel=1e-4)
    shown, ab = made.panel()
    assert torch.equal(ab, made.gan.colorize(lab.split_scaled(shown)[0])) and len(shown) == 3


# --- the verdict on a run ---------------------------------------------------------------------------------------------

WINDOW = 2
BEHIND = {"discriminator_learning_rate": 1e-12, "generator_learning_rate": 1e-2, "reconstruction_weight": 0.0}
AHEAD = {"discriminator_learning_rate": 0.1, "generator_learning_rate": 1e-12, "reconstruction_weight": 0.0}


def collapsing(epochs: int, changes: dict, guessing: float = 0.55, **policy) -> Trainer:
    stage = dataclasses.replace(ADVERSARIAL, epochs=epochs, steps_per_epoch=10, decay=0.0, **changes)
    thresholds = Thresholds(window=WINDOW, guessing=guessing, gray=0.0, one_hue=1.0)
    return run(
        make_trainer(
            stage, thresholds=thresholds, health=Policy(**policy), retrain_below=0.0, retrain_steps=SETTLE_EVERY + 2
        )
    )


def test_a_run_that_is_fair_goes_on():
    made = collapsing(WINDOW + 1, {}, guessing=0.0)  # on noise, guessing is all that so few steps teach
    for epoch in made.history:
        assert (epoch["verdict"], epoch["action"]) == ("healthy", "go_on")
    assert made.history[0]["verdict_sentence"] == f"too early to say: 1 of {WINDOW} epochs"
    assert made.stopped is None and made.finished


def test_a_verdict_can_stop_a_run():
    made = collapsing(WINDOW + 3, AHEAD, discriminator_ahead="stop")
    last = made.history[-1]
    assert made.epoch == WINDOW and not made.finished
    assert (last["verdict"], last["action"]) == ("discriminator_ahead", "stop")
    assert made.stopped == last["verdict_sentence"] and "the discriminator is too strong" in made.stopped
    other = make_trainer(*made.recipe.stages)
    other.load_state_dict(made.state_dict())
    assert other.stopped == made.stopped


def test_a_verdict_can_lower_the_discriminators_learning_rate():
    made = collapsing(WINDOW + 2, AHEAD, discriminator_ahead="lower_learning_rate", repeat_every=1)
    assert [epoch["action"] for epoch in made.history] == ["go_on", *["lower_learning_rate"] * 3]
    rates = [epoch["discriminator_learning_rate"] for epoch in made.history]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.025])
    assert {epoch["generator_learning_rate"] for epoch in made.history} == {1e-12}
    stage = dataclasses.replace(made.recipe.stages[0], epochs=WINDOW + 3)
    other = make_trainer(stage)
    other.load_state_dict(made.state_dict())
    assert other.run_epoch()["discriminator_learning_rate"] == pytest.approx(0.0125)


def test_a_verdict_can_retrain_the_discriminator():
    made = collapsing(WINDOW, BEHIND, 0.9, discriminator_behind="retrain_discriminator", generator_collapsed="warn")
    first, last = made.history
    assert (last["verdict"], last["action"]) == ("discriminator_behind", "retrain_discriminator")
    assert (first["retraining_steps"], last["retraining_steps"]) == (0, SETTLE_EVERY + 2)
    assert last["steps"] == made.gan.steps == WINDOW * 10 + SETTLE_EVERY + 2
    assert 0 <= last["accuracy_after_retraining"] <= 1


def test_a_verdict_can_be_told_only():
    made = collapsing(WINDOW + 1, AHEAD, discriminator_ahead="warn", repeat_every=5)
    assert [epoch["verdict"] for epoch in made.history] == ["healthy", "discriminator_ahead", "discriminator_ahead"]
    assert [epoch["action"] for epoch in made.history] == ["go_on", "warn", "go_on"]
    assert made.stopped is None and made.finished
    assert {epoch["discriminator_learning_rate"] for epoch in made.history} == {0.1}
    assert {epoch["retraining_steps"] for epoch in made.history} == {0}


def test_other_kinds_of_loss_are_judged_by_their_cross_entropy():
    made = collapsing(WINDOW, AHEAD | {"adversarial": "hinge"}, discriminator_ahead="warn")
    last = made.history[-1]
    assert last["verdict"] == "discriminator_ahead"
    told = float(re.search(r"loss is ([\d.]+)", last["verdict_sentence"])[1])
    assert told == pytest.approx(np.median([epoch["adversarial_entropy_loss"] for epoch in made.history]), abs=0.06)


def test_a_stage_is_judged_by_its_own_epochs():
    gray = dataclasses.replace(COLOUR, epochs=WINDOW, generator_learning_rate=1e-12)
    made = make_trainer(
        gray,
        dataclasses.replace(ADVERSARIAL, epochs=WINDOW, generator_learning_rate=1e-12),
        thresholds=Thresholds(window=WINDOW, gray=1.0, guessing=0.0),
        **NO_RETRAINING,
    )
    run(made)
    assert [epoch["verdict"] for epoch in made.history] == ["healthy", "gray_collapse"] * 2
    assert made.history[2]["verdict_sentence"].startswith("too early to say: 1 of")
