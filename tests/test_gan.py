"""The duel: what its steps train and leave alone, its losses against closed forms, and the epochs around it."""

import copy
import dataclasses
import functools
import math
import socket

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from colornet.errors import TrainingError
from colornet.training import losses, recipe, trainer
from colornet.training.gan import Duel, bare, uses_bfloat16
from colornet.training.losses import LossRecord, NonFiniteLossError
from colornet.training.trainer import Trainer

SMOKE = dataclasses.replace(recipe.preset("smoke"), precision="float32")


def make_duel(**changes) -> Duel:
    made = dataclasses.replace(SMOKE, **changes)
    torch.manual_seed(made.seed)
    return Duel(made.build_generator(), made.build_discriminator(), made)


def batch(count: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    size = SMOKE.image_size
    draw = functools.partial(torch.rand, generator=random)
    return draw(count, 1, size, size) * 2 - 1, draw(count, 2, size, size) * 2 - 1


def photographs(seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    while True:
        shape = (SMOKE.batch_size, 3, SMOKE.image_size, SMOKE.image_size)
        yield torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


# --- losses -----------------------------------------------------------------------------------------------------------


def test_discriminator_loss_in_closed_form():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    truth = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 / (1 + math.exp(1)))) / 2
    lie = -(math.log(1 - 1 / (1 + math.exp(-0.5))) + math.log(1 - 1 / (1 + math.exp(-3)))) / 2
    assert losses.discriminator_loss(real, fake).item() == pytest.approx((truth + lie) / 2)
    assert losses.discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_adversarial_loss_in_closed_form():
    fake = torch.tensor([0.5, -3.0])
    expected = functional.binary_cross_entropy(torch.sigmoid(fake), torch.ones(2))
    torch.testing.assert_close(losses.adversarial_loss(fake), expected)
    assert losses.adversarial_loss(torch.tensor([-1000.0])).item() == 1000  # far from where a sigmoid would overflow


def test_reconstruction_losses_in_closed_form():
    truth = torch.zeros(1, 2, 1, 1)
    beta = losses.SMOOTH_L1_BETA
    predicted = torch.tensor([beta / 2, -3 * beta]).reshape(1, 2, 1, 1)
    assert losses.reconstruction_loss("l1", predicted, truth).item() == pytest.approx(1.75 * beta)
    # A square below beta, 0.5 d² / beta; a line above, d - beta / 2.
    assert losses.reconstruction_loss("smooth_l1", predicted, truth).item() == pytest.approx((1 / 8 + 2.5) * beta / 2)


def test_verdicts_are_counted():
    right = losses.correct_verdicts(torch.tensor([1.0, -1.0, 2.0]), torch.tensor([-1.0, 0.0, 1.0]))
    assert right.item() == 4


def test_a_loss_that_is_not_finite_is_named():
    record = LossRecord(lambda values: values)
    for step in range(1, 4):
        bad = math.inf if step == 3 else 1.0
        record.add(step, {"generator": torch.tensor(1.0), "discriminator": torch.tensor(bad)})
    with pytest.raises(NonFiniteLossError, match=r"step 3: the discriminator loss is not finite \(inf\)"):
        record.settle()


def test_a_run_ends_at_the_step_that_is_not_finite():
    duel = make_duel(warmup_steps=0)
    with torch.no_grad():
        duel.bare_generator.out.bias.fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="step 1: the discriminator loss is not finite"):
        Trainer(duel, photographs(), next(photographs())).run_epoch()


def test_means_are_over_all_settled_steps():
    record = LossRecord(lambda values: values)
    for value in (1.0, 2.0, 6.0):
        record.add(1, {"generator": torch.tensor(value)})
        record.settle()
    assert record.means() == {"generator": 3.0}


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_step_trains_both_and_counts():
    duel = make_duel()
    generator, discriminator = snapshot(duel.generator), snapshot(duel.discriminator)
    terms = duel.step(*batch())
    assert set(terms) == {"generator", "discriminator", "adversarial", "reconstruction"}
    weights = {name for name, _ in duel.generator.named_parameters() if "norm" in name or name.startswith("out")}
    assert weights <= changed(duel.generator, generator)
    assert {"verdict.weight", "verdict.bias"} <= changed(duel.discriminator, discriminator)
    assert duel.steps == 1
    expected = SMOKE.adversarial_weight * terms["adversarial"] + SMOKE.reconstruction_weight * terms["reconstruction"]
    torch.testing.assert_close(terms["generator"], expected)


def test_the_discriminators_half_leaves_the_generator_alone():
    duel = make_duel()
    lightness, real = batch()
    before = snapshot(duel.generator)
    fake = duel._predict(duel.generator, lightness)
    before |= {name: value.clone() for name, value in duel.generator.named_buffers()}  # its own forward moved these
    duel._train_discriminator(real, fake.detach())
    assert not changed(duel.generator, before)
    assert all(parameter.grad is None for parameter in duel.generator.parameters())


def test_the_generators_half_leaves_the_discriminator_alone():
    duel = make_duel()
    lightness, real = batch()
    before = snapshot(duel.discriminator)
    duel._train_generator(duel._predict(duel.generator, lightness), real)
    assert not changed(duel.discriminator, before)  # BatchNorm's buffers are among these
    assert all(parameter.grad is None for parameter in duel.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in duel.discriminator.parameters())
    assert duel.discriminator.training
    assert any(parameter.grad.abs().sum() > 0 for parameter in duel.generator.parameters())


def test_the_discriminator_sees_real_and_made_up_in_one_forward():
    duel = make_duel()
    sizes = []
    duel.discriminator.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    duel.step(*batch(count=4))
    assert sizes == [8, 4]  # its own step, then its verdict for the generator


@pytest.mark.parametrize("step", ["warm_up_step", "retraining_step"])
def test_stages_of_the_discriminator_alone(step):
    duel = make_duel()
    generator, discriminator = snapshot(duel.generator), snapshot(duel.discriminator)
    terms = getattr(duel, step)(*batch())
    assert set(terms) == {"discriminator"}
    assert not changed(duel.generator, generator)
    assert changed(duel.discriminator, discriminator)
    assert duel.generator.training


def test_weights_of_zero_switch_terms_off():
    lightness, real = batch()
    adversarial_only = make_duel(reconstruction_weight=0.0).step(lightness, real)
    torch.testing.assert_close(adversarial_only["generator"], adversarial_only["adversarial"])
    reconstruction_only = make_duel(adversarial_weight=0.0, reconstruction_weight=1.0).step(lightness, real)
    torch.testing.assert_close(reconstruction_only["generator"], reconstruction_only["reconstruction"])


def test_state_goes_round_and_the_next_step_is_identical():
    duel = make_duel()
    for seed in range(3):
        duel.step(*batch(seed=seed))
    other = make_duel(seed=99)
    other.load_state_dict(copy.deepcopy(duel.state_dict()))
    outcomes = []
    for each in (duel, other):
        torch.manual_seed(7)  # dropout
        outcomes.append(each.step(*batch(seed=5)))
    assert outcomes[0] == outcomes[1]
    assert not changed(duel.generator, snapshot(other.generator))
    assert not changed(duel.discriminator, snapshot(other.discriminator))
    assert duel.steps == other.steps == 4


def test_state_is_plain_enough_to_be_loaded_safely(tmp_path):
    made = Trainer(make_duel(), photographs(), next(photographs()))
    made.run_epoch()
    torch.save(made.state_dict(), tmp_path / "state.pt")
    other = Trainer(make_duel(), photographs(), next(photographs()))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (other.epoch, other.history) == (1, made.history)


def test_bfloat16_trains():
    duel = make_duel(precision="bfloat16")
    assert duel.low_precision and uses_bfloat16("bfloat16", torch.device("cpu"))
    assert not uses_bfloat16("float32", torch.device("cpu"))
    terms = duel.step(*batch())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    assert all(parameter.dtype == torch.float32 for parameter in duel.generator.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_step_on_a_gpu():
    duel = Duel(SMOKE.build_generator().cuda(), SMOKE.build_discriminator().cuda(), SMOKE, "cuda")
    lightness, real = (each.cuda() for each in batch())
    assert all(value.isfinite() for value in duel.step(lightness, real).values())


# --- epochs -----------------------------------------------------------------------------------------------------------


def test_an_epoch_measures_what_it_says():
    made = Trainer(make_duel(retrain_below=0.0), photographs(), next(photographs()))
    made.warm_up()
    measured = made.run_epoch()
    assert measured["epoch"] == 1 and measured["steps"] == SMOKE.warmup_steps + SMOKE.steps_per_epoch
    assert 0 <= measured["discriminator_accuracy"] == measured["accuracy_after_retraining"] <= 1
    assert 0 < measured["held_out_error"] < 200 and measured["retraining_steps"] == 0
    assert measured["photographs_per_second"] > 0 and 0 <= measured["waiting_for_data"] <= 1
    assert made.history == [measured]


@pytest.mark.parametrize(("below", "steps"), [(0.0, 0), (1.0, 25)])
def test_a_discriminator_that_fell_behind_is_retrained(below, steps):
    made = Trainer(make_duel(retrain_below=below, retrain_steps=25), photographs(), next(photographs()))
    generators = []

    def guessing(real, fake):  # whatever it learns
        generators.append(snapshot(made.duel.generator))
        return torch.tensor(float(len(real)))

    made.duel.count_correct = guessing
    measured = made.run_epoch()
    assert all(not changed(made.duel.generator, before) for before in generators)
    assert measured["retraining_steps"] == steps
    assert measured["steps"] == SMOKE.steps_per_epoch + steps
    assert measured["discriminator_accuracy"] == 0.5


def test_retraining_stops_when_it_is_good_enough():
    made = Trainer(make_duel(retrain_below=0.9, retrain_steps=100), photographs(), next(photographs()))
    verdicts = iter([0.5, 0.6, 1.0])
    made.duel.count_correct = lambda real, fake: torch.tensor(2.0 * len(real) * next(verdicts))
    measured = made.run_epoch()
    assert measured["discriminator_accuracy"] == 0.5 and measured["accuracy_after_retraining"] == 1.0
    assert measured["retraining_steps"] == 2 * trainer.SETTLE_EVERY


def test_learning_rates_fall_in_the_last_part():
    made = Trainer(make_duel(epochs=4, decay=0.5, retrain_below=0.0), photographs(), next(photographs()))
    rates = []
    for _ in range(4):
        made.run_epoch()
        rates.append(made.duel.generator_optimizer.param_groups[0]["lr"] / SMOKE.generator_learning_rate)
    assert rates == pytest.approx([1.0, 1.0, 0.625, 0.125])  # at the last of the four steps of each epoch


def test_progress_is_told_every_few_steps():
    told = []
    steps = {"warmup_steps": 2, "epochs": 2, "steps_per_epoch": 25, "retrain_below": 0.0}
    made = Trainer(make_duel(**steps), photographs(), next(photographs()), told.append)
    made.warm_up()
    made.run_epoch()
    assert [(each.stage, each.step, each.steps) for each in told] == [
        ("warm-up", 2, 2),
        ("epoch 1/2", 10, 25),
        ("epoch 1/2", 20, 25),
        ("epoch 1/2", 25, 25),
    ]
    last = told[-1]
    assert last.losses["generator"] == made.history[0]["generator_loss"] and last.photographs_per_second > 0
    one_epoch = 25 * SMOKE.batch_size / last.photographs_per_second
    assert last.seconds_left == pytest.approx(one_epoch)


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path):
    def fresh():
        return Trainer(make_duel(epochs=3), photographs(), next(photographs(seed=1)))

    whole, first = fresh(), fresh()
    for _ in range(2):
        whole.run_epoch()
    torch.manual_seed(0)
    first.run_epoch()
    state, random = copy.deepcopy(first.state_dict()), torch.get_rng_state()
    first.run_epoch()
    second = fresh()
    second.load_state_dict(state)
    for _ in range(state["duel"]["steps"]):  # the stream goes on where it was
        next(second._photographs)
    torch.set_rng_state(random)
    second.run_epoch()
    assert not changed(first.duel.generator, snapshot(second.duel.generator))
    timeless = [{k: v for k, v in run.history[-1].items() if k not in TIMES} for run in (first, second)]
    assert timeless[0] == timeless[1]


TIMES = ("seconds", "photographs_per_second", "waiting_for_data")


def test_photographs_that_run_out():
    few = iter([next(photographs())] * 2)
    with pytest.raises(TrainingError, match="photographs ran out after step 2"):
        Trainer(make_duel(), few, next(photographs())).run_epoch()


# --- several workers --------------------------------------------------------------------------------------------------


def test_two_workers_equal_one_with_both_batches(tmp_path):
    """Two gloo workers end with the parameters that one process computes from both batches.

    BatchNorm and dropout would see each worker's half alone: they are off here.
    """
    lightness, real = batch(count=8)
    duel = plain_duel()
    expected = [duel.step(lightness, real) for _ in range(2)]
    port = free_port()
    torch.multiprocessing.spawn(two_steps, (port, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in duel.state_dict()["generator"].items():
        assert torch.equal(ranks[0]["generator"][name], ranks[1]["generator"][name]), name
        torch.testing.assert_close(ranks[0]["generator"][name], value, rtol=1e-3, atol=1e-5)
    for name, value in duel.state_dict()["discriminator"].items():
        assert torch.equal(ranks[0]["discriminator"][name], ranks[1]["discriminator"][name]), name
        torch.testing.assert_close(ranks[0]["discriminator"][name], value, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ranks[0]["means"], ranks[1]["means"])
    torch.testing.assert_close(ranks[0]["means"], torch.stack([terms["generator"] for terms in expected]))


def plain_duel(wrap=lambda network: network) -> Duel:
    torch.manual_seed(0)
    networks = SMOKE.build_generator(), SMOKE.build_discriminator()
    for network in networks:
        strip(network)
    return Duel(*map(wrap, networks), SMOKE)


def strip(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.Dropout):
            setattr(network, name, nn.Identity())
        strip(child)


def two_steps(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    duel = plain_duel(DistributedDataParallel)
    assert isinstance(duel.generator, DistributedDataParallel) and bare(duel.generator) is duel.bare_generator
    lightness, real = batch(count=8)
    half = slice(4 * rank, 4 * rank + 4)
    terms = [duel.step(lightness[half], real[half])["generator"] for _ in range(2)]
    means = trainer.mean_over_workers(torch.stack(terms))
    state = duel.state_dict()
    torch.save(
        {"means": means, **{name: state[name] for name in ("generator", "discriminator")}}, f"{folder}/{rank}.pt"
    )
    torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
