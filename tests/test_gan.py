"""Adversarial training: what its steps train and leave alone, in pieces, in low precision and on several workers."""

import copy
import dataclasses
import functools
import socket

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from colornet.networks import build_generator
from colornet.training import losses
from colornet.training.distributed import mean_over_workers, sum_over_workers
from colornet.training.gan import Batch, GanModule
from colornet.training.held_out import HeldOut
from colornet.training.objective import Objective
from colornet.training.presets import preset
from colornet.training.recipe import BOTH, DISCRIMINATOR, GENERATOR, DiscriminatorRecipe, GeneratorRecipe, Recipe
from colornet.training.wrapping import WithDistribution, for_training, unwrap

SIZE = 32
TINY = preset("smoke").stages[-1]
SMALL = "mobilenetv3_small_050"
PATCH = DiscriminatorRecipe(network="patch", width=4)
BINS = GeneratorRecipe(network="backbone", encoder=SMALL, width=4, head="bins", norm="group")
NORMS = {"generator_gradient_norm", "discriminator_gradient_norm"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small are faster so, and do not wait for a core that others use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_recipe(recipe: dict | None = None, **stage) -> Recipe:
    stages = (dataclasses.replace(TINY, **stage), TINY)  # a recipe needs one that trains the generator
    return dataclasses.replace(preset("smoke"), **{"precision": "float32", "stages": stages} | (recipe or {}))


def make_gan(recipe: dict | None = None, *, plain: bool = False, wrap=lambda network: network, **stage) -> GanModule:
    """Build the GAN of one stage; a plain one has no BatchNorm and no dropout, which see a batch as a whole."""
    made = make_recipe(recipe, **stage)
    torch.manual_seed(made.seed)
    networks = for_training(made.build_generator()), made.build_discriminator()
    if plain:
        for network in networks:
            strip(network)
    return GanModule(*map(wrap, networks), made)


def strip(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d | nn.Dropout):
            setattr(network, name, nn.Identity())
        strip(child)


def batch(count: int = 4, seed: int = 0) -> Batch:
    draw = functools.partial(torch.rand, generator=torch.Generator().manual_seed(seed))
    return Batch(*(draw(count, channels, SIZE, SIZE) * 2 - 1 for channels in (1, 1, 2)))


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in unwrap(network).named_parameters()}


def norm_of(network: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()


# --- an adversarial step --------------------------------------------------------------------------------------------


def test_a_step_trains_both_and_counts():
    gan = make_gan(reconstruction_weight=3.0, adversarial_weight=0.5)
    generator, discriminator = snapshot(gan.generator), snapshot(gan.discriminator)
    terms = gan.step(batch())
    assert set(terms) == NORMS | {"generator_loss", "discriminator_loss", "adversarial_loss", "reconstruction_loss"}
    assert all(value.shape == () and not value.requires_grad for value in terms.values())
    weights = {name for name, _ in gan.generator.named_parameters() if "norm" in name or name.startswith("out")}
    assert weights <= changed(gan.generator, generator)
    assert {"verdict.weight", "verdict.bias"} <= changed(gan.discriminator, discriminator)
    assert gan.steps == 1
    expected = 0.5 * terms["adversarial_loss"] + 3.0 * terms["reconstruction_loss"]
    torch.testing.assert_close(terms["generator_loss"], expected)
    torch.testing.assert_close(terms["generator_gradient_norm"], norm_of(gan.generator))
    torch.testing.assert_close(terms["discriminator_gradient_norm"], norm_of(gan.discriminator))


def test_the_discriminators_half_leaves_the_generator_alone():
    gan = make_gan()
    piece = batch()
    before = snapshot(gan.generator)
    fake = gan._predict(gan.generator, piece.degraded).ab
    before |= {name: value.clone() for name, value in gan.generator.named_buffers()}  # its own forward moved these
    gan._train_discriminator([piece], [fake.detach()])
    assert not changed(gan.generator, before)
    assert all(parameter.grad is None for parameter in gan.generator.parameters())


@pytest.mark.parametrize("network", ["reference", "patch"])
def test_the_generators_half_leaves_the_discriminator_alone(network):
    gan = make_gan({"discriminator": DiscriminatorRecipe(network=network, width=4)})
    before = snapshot(gan.discriminator)
    gan._train_generator([batch()])
    assert not changed(gan.discriminator, before)  # BatchNorm's and the power iteration's buffers are among these
    assert all(parameter.grad is None for parameter in gan.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in gan.discriminator.parameters())
    assert gan.discriminator.training
    assert any(parameter.grad.abs().sum() > 0 for parameter in gan.generator.parameters())


def test_one_forward_serves_both_networks():
    gan = make_gan()
    judged, coloured = [], []
    gan.discriminator.register_forward_hook(lambda _, inputs, __: judged.append([len(each) for each in inputs]))
    gan.generator.register_forward_hook(lambda _, inputs, __: coloured.append(len(inputs[0])))
    gan.step(batch(count=4))
    assert judged == [[8, 8], [4, 4]]  # its own step, with real and made-up, then its verdict for the generator
    assert coloured == [4]


def test_the_discriminator_sees_true_lightness_and_the_generator_the_films():
    gan = make_gan({"discriminator": PATCH})
    piece = batch(count=3)
    judged, coloured = [], []
    gan.discriminator.register_forward_hook(lambda _, inputs, __: judged.append(inputs))
    gan.generator.register_forward_hook(lambda _, inputs, __: coloured.append(inputs[0]))
    gan.step(piece)
    gan.retraining_step(piece)
    assert all(torch.equal(seen, piece.degraded) for seen in coloured) and len(coloured) == 2
    own, verdict, retrained = judged
    for lightness, ab in (own, retrained):
        assert torch.equal(lightness, torch.cat([piece.lightness, piece.lightness]))
        assert torch.equal(ab[:3], piece.ab)
    assert torch.equal(verdict[0], piece.lightness)


def test_weights_of_zero_switch_terms_off():
    adversarial_only = make_gan(reconstruction_weight=0.0, adversarial_weight=1.0).step(batch())
    torch.testing.assert_close(adversarial_only["generator_loss"], adversarial_only["adversarial_loss"])
    assert "reconstruction_loss" not in adversarial_only
    alone = make_gan(trains=GENERATOR, adversarial_weight=7.0, reconstruction_weight=1.0).step(batch())
    torch.testing.assert_close(alone["generator_loss"], alone["reconstruction_loss"])


@pytest.mark.parametrize("kind", ["lsgan", "hinge"])
def test_other_kinds_of_loss_record_the_cross_entropy_that_all_are_judged_by(kind):
    terms = make_gan(adversarial=kind, reconstruction_weight=0.0).step(batch())
    assert set(terms) == NORMS | {
        "generator_loss",
        "discriminator_loss",
        "adversarial_loss",
        "adversarial_entropy_loss",
    }
    torch.testing.assert_close(terms["generator_loss"], terms["adversarial_loss"])  # it is no part of the loss
    # The networks are the same before their first step, and the discriminator's first step hardly moves its verdicts.
    still = {"discriminator_learning_rate": 1e-12, "reconstruction_weight": 0.0}
    entropy = make_gan(adversarial="bce", **still).step(batch())["adversarial_loss"]
    other = make_gan(adversarial=kind, **still).step(batch())
    torch.testing.assert_close(other["adversarial_entropy_loss"], entropy)
    assert abs(other["adversarial_loss"] - entropy) > 0.1


# --- other kinds of stages --------------------------------------------------------------------------------------------


def test_a_stage_of_the_discriminator_alone():
    gan = make_gan(trains=DISCRIMINATOR)
    generator, discriminator = snapshot(gan.generator), snapshot(gan.discriminator)
    judged = []
    gan.discriminator.register_forward_hook(lambda _, inputs, __: judged.append(inputs[1]))
    terms = gan.step(batch(count=4))
    assert set(terms) == {"discriminator_loss", "discriminator_gradient_norm"}
    assert not changed(gan.generator, generator) and changed(gan.discriminator, discriminator)
    assert gan.generator.training and gan.steps == 1
    guesses = gan.colorize(batch(count=4).degraded, use_ema=False)
    (ab,) = judged
    fakes = ab[4:]
    torch.testing.assert_close(fakes[::2], guesses[::2])  # the other half is noise
    noise = fakes[1::2]
    assert noise.abs().max() <= 1 and noise.std().item() == pytest.approx(3**-0.5, abs=0.03)


@pytest.mark.parametrize(("count", "size"), [(1, 0), (4, 1), (6, 3)])
def test_half_of_what_is_made_up_is_noise_whatever_the_pieces(count, size):
    gan = make_gan(trains=DISCRIMINATOR, micro_batch_size=size)
    judged = []
    gan.discriminator.register_forward_hook(lambda _, inputs, __: judged.append(inputs[1][len(inputs[1]) // 2 :]))
    for _ in range(2):
        gan.step(batch(count=count))
    guesses = gan.colorize(batch(count=count).degraded, use_ema=False)
    fakes = torch.cat(judged)
    as_guessed = [torch.allclose(fake, guesses[place % count], atol=1e-5) for place, fake in enumerate(fakes)]
    assert as_guessed.count(True) == count


def test_a_stage_of_the_generator_alone():
    gan = make_gan(trains=GENERATOR)
    generator, discriminator = snapshot(gan.generator), snapshot(gan.discriminator)
    terms = gan.step(batch())
    assert set(terms) == {"generator_loss", "reconstruction_loss", "generator_gradient_norm"}
    assert changed(gan.generator, generator) and not changed(gan.discriminator, discriminator)
    assert all(parameter.grad is None for parameter in gan.discriminator.parameters())


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_step_of_retraining(pieces):
    gan = make_gan(micro_batch_size=pieces)
    generator, discriminator = snapshot(gan.generator), snapshot(gan.discriminator)
    terms = gan.retraining_step(batch())
    assert set(terms) == {"discriminator_loss", "discriminator_gradient_norm"}
    assert not changed(gan.generator, generator) and changed(gan.discriminator, discriminator)
    assert gan.generator.training and gan.steps == 1


def test_the_next_stage_has_its_own_terms_and_rates():
    gan = make_gan(trains=GENERATOR)
    gan.start_stage(dataclasses.replace(TINY, adversarial="hinge", generator_learning_rate=0.5))
    assert {"adversarial_entropy_loss", "discriminator_loss"} <= set(gan.step(batch()))
    assert gan.generator_optimizer.param_groups[0]["lr"] == 0.5
    gan.lr_scale(0.5, 0.1)
    assert gan.generator_optimizer.param_groups[0]["lr"] == 0.25
    assert gan.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * TINY.discriminator_learning_rate)


def test_the_encoder_takes_steps_of_its_own_size():
    gan = make_gan({"generator": BINS, "discriminator": PATCH}, trains=GENERATOR, encoder_lr_scale=0.0)
    network = unwrap(gan.generator)
    before, names = snapshot(network), {name for name, _ in network.named_parameters()}
    gan.step(batch())
    assert names & changed(network, before) == {name for name in names if not name.startswith("encoder.")}
    gan.start_stage(dataclasses.replace(TINY, encoder_lr_scale=0.25, generator_learning_rate=0.5))
    gan.lr_scale(0.5, 1.0)
    assert [group["lr"] for group in gan.generator_optimizer.param_groups] == [0.25, 0.0625]


# --- batches in pieces ------------------------------------------------------------------------------------------------


def test_pieces_are_the_batch():
    whole = batch(count=7)
    assert whole.split(0) == [whole]
    pieces = whole.split(3)
    assert [len(piece.ab) for piece in pieces] == [3, 3, 1]
    for number, part in enumerate(whole[:3]):
        assert torch.equal(torch.cat([piece[number] for piece in pieces]), part)
    hinted = whole._replace(hints=torch.rand(7, 3, SIZE, SIZE))
    assert torch.equal(torch.cat([piece.hints for piece in hinted.split(3)]), hinted.hints)
    assert all(piece.hints is None for piece in pieces)


@pytest.mark.parametrize(
    "settings",
    [
        {"trains": BOTH, "gradient_penalty_weight": 2.0},
        {"trains": BOTH, "adversarial": "hinge", "recipe": {"discriminator": PATCH}},
        {"trains": GENERATOR, "vividness": 1.0},
    ],
    ids=["R1", "hinge", "generator"],
)
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(settings):
    outcomes = []
    for size in (0, 3):  # pieces of 3, 3 and 1, which do not weigh the same
        # Adam's first step has the sign of the smallest gradient: the discriminator's must not reach the generator.
        gan = make_gan(plain=True, micro_batch_size=size, discriminator_learning_rate=1e-9, **settings)
        if "recipe" in settings:
            gan.discriminator.eval()  # each forward would turn the power iteration one step further
        outcomes.append((gan.step(batch(count=7)), gradients(gan.generator), gan))
    (whole, expected, one), (pieces, added, several) = outcomes
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(added, expected, rtol=1e-3, atol=1e-5)
    if settings["trains"] == BOTH:
        torch.testing.assert_close(gradients(several.discriminator), gradients(one.discriminator), rtol=1e-3, atol=1e-5)


# --- clipping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [0, 2])
def test_gradients_are_clipped_and_their_norm_before_that_is_told(pieces):
    free = make_gan(plain=True, micro_batch_size=pieces)
    norms = free.step(batch())
    for which in ("generator", "discriminator"):
        limit = norms[f"{which}_gradient_norm"].item() / 10
        clipped = make_gan({"max_grad_norm": limit}, plain=True, micro_batch_size=pieces)
        told = clipped.step(batch())
        assert norm_of(getattr(clipped, which)).item() == pytest.approx(limit, rel=1e-3)
        torch.testing.assert_close(told["discriminator_gradient_norm"], norms["discriminator_gradient_norm"])
    generous = make_gan({"max_grad_norm": 1e6}, plain=True, micro_batch_size=pieces)
    generous.step(batch())
    torch.testing.assert_close(gradients(generous.generator), gradients(free.generator))


# --- terms that not every run has -------------------------------------------------------------------------------------


def test_r1_is_told_unweighted_and_is_part_of_the_step():
    piece = batch()
    free, penalised = (make_gan(plain=True, gradient_penalty_weight=weight) for weight in (0.0, 5.0))
    ab = piece.ab.clone().requires_grad_()
    (slope,) = torch.autograd.grad(free.discriminator(piece.lightness, ab).sum(), ab)
    terms = penalised.step(piece)
    torch.testing.assert_close(terms["gradient_penalty_loss"], slope.square().sum() / 4 / 2)
    assert "gradient_penalty_loss" not in free.step(piece)
    assert terms["discriminator_gradient_norm"] != free.step(piece)["discriminator_gradient_norm"]


def test_the_perceptual_loss_is_of_the_photographs_own_lightness():
    called = []

    def perceptual(lightness, predicted, truth):
        called.append((lightness, predicted, truth))
        return (predicted - truth).abs().mean()

    made = make_recipe({"perceptual_weights": "vgg16.safetensors"}, perceptual_weight=2.0, reconstruction_weight=0.0)
    generator = made.build_generator()
    gan = GanModule(generator, made.build_discriminator(), made, objective=Objective(generator, perceptual=perceptual))
    piece = batch()
    terms = gan.step(piece)
    ((lightness, predicted, truth),) = called
    assert torch.equal(lightness, piece.lightness) and torch.equal(truth, piece.ab)
    torch.testing.assert_close(terms["perceptual_loss"], (predicted - truth).abs().mean().detach())
    expected = 2 * terms["perceptual_loss"] + terms["adversarial_loss"]
    torch.testing.assert_close(terms["generator_loss"], expected)


def test_a_distribution_is_trained_through_its_wrapper():
    gan = make_gan(
        {"generator": BINS, "ema_decay": 0.5}, trains=GENERATOR, distribution_weight=0.7, reconstruction_weight=0.2
    )
    assert isinstance(gan.generator, WithDistribution) and gan.unwrapped_generator is gan.generator.generator
    reference = copy.deepcopy(gan.unwrapped_generator)
    piece = batch()
    terms = gan.step(piece)
    _, logits = reference.forward_with_distribution(piece.degraded)
    weights = torch.ones(len(reference.centres))
    expected = losses.distribution_loss(logits, piece.ab, reference.centres, weights)
    torch.testing.assert_close(terms["distribution_loss"], expected.detach())
    told = 0.7 * terms["distribution_loss"] + 0.2 * terms["reconstruction_loss"]
    torch.testing.assert_close(terms["generator_loss"], told)
    assert gan.colorize(piece.degraded).shape == gan.colorize(piece.degraded, use_ema=False).shape == piece.ab.shape
    reference.load_state_dict(gan.state_dict()["generator"])  # names are those of the bundle's network
    reference.load_state_dict(gan.inference_generator.state_dict())


def test_rare_bins_weigh_what_they_are_given():
    made = make_recipe({"generator": BINS}, trains=GENERATOR, distribution_weight=1.0, reconstruction_weight=0.0)
    told = []
    for weight in (None, 3.0):
        torch.manual_seed(0)
        generator = made.build_generator()
        weights = None if weight is None else torch.full((len(generator.centres),), weight)
        wrapped = for_training(generator)
        gan = GanModule(wrapped, made.build_discriminator(), made, objective=Objective(wrapped, bin_weights=weights))
        told.append(gan.step(batch())["distribution_loss"])
    torch.testing.assert_close(told[1], 3 * told[0])


def test_what_has_no_distribution_is_not_wrapped():
    unet = build_generator("unet", {"width": 4})
    backbone = build_generator("backbone", {"encoder": SMALL, "width": 4})
    assert for_training(unet) is unet and for_training(backbone) is backbone
    assert unwrap(unet) is unet


# --- the average ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [0, 2])
def test_the_average_is_updated_once_a_step_of_the_generator(pieces):
    gan = make_gan({"ema_decay": 0.9}, micro_batch_size=pieces)
    for _ in range(3):
        gan.step(batch())
    assert int(gan.ema.n_averaged) == 3
    gan.retraining_step(batch())
    gan.start_stage(dataclasses.replace(TINY, trains=DISCRIMINATOR))
    gan.step(batch())
    assert int(gan.ema.n_averaged) == 3
    gan.start_stage(dataclasses.replace(TINY, trains=GENERATOR))
    gan.step(batch())
    assert int(gan.ema.n_averaged) == 4
    assert gan.inference_generator is gan.ema.module
    assert not torch.equal(gan.colorize(batch().degraded), gan.colorize(batch().degraded, use_ema=False))


def test_without_an_average_the_last_weights_are_the_finished_ones():
    gan = make_gan()
    assert gan.ema is None and gan.inference_generator is gan.unwrapped_generator is gan.generator


# --- judging ----------------------------------------------------------------------------------------------------------


def test_colorizing_and_counting_change_nothing():
    gan = make_gan({"discriminator": PATCH})
    piece = batch()
    before = snapshot(gan.generator), snapshot(gan.discriminator)
    ab = gan.colorize(piece.degraded)
    right = gan.count_correct(piece.lightness, piece.ab, ab)
    assert not changed(gan.generator, before[0]) and not changed(gan.discriminator, before[1])
    assert gan.generator.training and gan.discriminator.training
    assert ab.dtype == torch.float32 and not ab.requires_grad and ab.shape == piece.ab.shape
    gan.discriminator.eval()
    verdicts = [gan.discriminator(piece.lightness, each).mean(dim=(1, 2, 3)) for each in (piece.ab, ab)]
    assert right.item() == (verdicts[0] > 0).sum() + (verdicts[1] <= 0).sum()


# --- the state --------------------------------------------------------------------------------------------------------


def test_state_goes_round_safely_and_the_next_step_is_identical(tmp_path):
    settings = {"ema_decay": 0.9, "max_grad_norm": 1.0, "weight_decay": 0.01}
    gan = make_gan(settings)
    for seed in range(3):
        gan.step(batch(seed=seed))
    torch.save(gan.state_dict(), tmp_path / "state.pt")
    other = make_gan({**settings, "seed": 99})
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    outcomes = []
    for each in (gan, other):
        torch.manual_seed(7)  # dropout
        outcomes.append(each.step(batch(seed=5)))
    assert outcomes[0] == outcomes[1]
    assert not changed(gan.generator, snapshot(other.generator))
    assert not changed(gan.discriminator, snapshot(other.discriminator))
    assert not changed(gan.ema, snapshot(other.ema))
    assert gan.steps == other.steps == 4


# --- precision and devices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"generator": BINS, "discriminator": PATCH}], ids=["unet", "bins"])
def test_bfloat16_trains(settings):
    weights = {"gradient_penalty_weight": 1.0, "distribution_weight": 1.0 if settings else 0.0}
    gan = make_gan({"precision": "bfloat16", "ema_decay": 0.9, **settings}, adversarial="hinge", **weights)
    assert gan.low_precision
    seen = []
    gan.unwrapped_discriminator.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    terms = gan.step(batch())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    assert all(parameter.dtype == torch.float32 for parameter in gan.generator.parameters())
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]  # R1 is in full precision
    assert gan.colorize(batch().degraded).dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_step_on_a_gpu(precision):
    made = make_recipe({"precision": precision, "ema_decay": 0.9, "max_grad_norm": 1.0}, gradient_penalty_weight=1.0)
    gan = GanModule(made.build_generator().cuda(), made.build_discriminator().cuda(), made, "cuda")
    piece = Batch(*(each.cuda() for each in batch()))
    assert all(value.isfinite() and value.is_cuda for value in gan.step(piece).values())
    assert gan.colorize(piece.degraded).isfinite().all()


# --- several workers --------------------------------------------------------------------------------------------------

PARALLEL = {
    "adversarial": {"plain": True},
    "pieces": {"plain": True, "micro_batch_size": 3, "recipe": {"max_grad_norm": 0.5, "ema_decay": 0.9}},
    "R1": {"plain": True, "gradient_penalty_weight": 3.0},
    "R1 in pieces": {"plain": True, "gradient_penalty_weight": 3.0, "micro_batch_size": 2},
    "generator": {"plain": True, "trains": GENERATOR},
}
"""What two workers compute as one does with both their batches. BatchNorm and dropout would see a half alone."""
WHOLE = {
    "reference": {"gradient_penalty_weight": 1.0, "micro_batch_size": 2},
    "bfloat16": {"recipe": {"precision": "bfloat16"}, "gradient_penalty_weight": 1.0, "adversarial": "hinge"},
    "bins": {
        "recipe": {"generator": BINS, "discriminator": PATCH, "ema_decay": 0.9},
        "distribution_weight": 1.0,
        "adversarial": "hinge",
        "gradient_penalty_weight": 1.0,
    },
    "discriminator": {"trains": DISCRIMINATOR},
}
"""Networks with all their parts, whose workers must stay alike."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What two gloo workers made of all of these: starting them takes seconds."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(work, (free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    out = {name: two_steps(rank, **settings) for name, settings in (PARALLEL | WHOLE).items()}
    out["mean"] = {"of ranks": mean_over_workers(torch.tensor(float(rank)))}
    mine = torch.ones(2)
    out["mean"] |= {"sum": sum_over_workers(mine), "left alone": mine}
    out["held out"] = {first: measure(share(first, rank)) for first in (4, 3)}
    torch.save(out, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def share(first: int, rank: int) -> Tensor:
    """Of four held-out photographs, the first so many, or what is left."""
    photographs = torch.randint(
        0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return photographs[first:] if rank else photographs[:first]


def measure(photographs: Tensor) -> dict[str, float]:
    held_out = HeldOut(photographs, make_gan(), batch_size=2)
    predicted = held_out.colorize(use_ema=True)
    return held_out.compare(predicted) | {"accuracy": held_out.accuracy(predicted)}


def two_steps(rank: int, **settings) -> dict:
    gan = make_gan(wrap=DistributedDataParallel, **settings)
    assert isinstance(gan.generator, DistributedDataParallel) and unwrap(gan.generator) is gan.unwrapped_generator
    buckets: dict[str, list[bool]] = {"generator": [], "discriminator": []}
    for name, seen in buckets.items():
        getattr(gan, name).register_comm_hook(seen, counted)
    if "plain" not in settings:
        torch.manual_seed(rank)  # noise and dropout of their own
    half = Batch(*(part[4 * rank : 4 * rank + 4] for part in batch(count=8)[:3]))
    terms = [mean_over_workers(torch.stack(list(gan.step(half).values()))) for _ in range(2)]
    state = copy.deepcopy(gan.state_dict())
    networks = {name: state[name] or {} for name in ("generator", "discriminator", "ema")}
    reduced = {name: sum(seen) for name, seen in buckets.items()}
    retrained = len(buckets["discriminator"])
    gan.retraining_step(half)
    reduced["retraining"] = sum(buckets["discriminator"][retrained:])
    return {"means": torch.stack(terms), "reduced": reduced, **networks}


def counted(seen: list[bool], bucket):
    seen.append(bucket.is_last())
    return allreduce_hook(None, bucket)


@pytest.mark.parametrize("name", PARALLEL)
def test_two_workers_equal_one_with_both_batches(ranks, name):
    gan = make_gan(**PARALLEL[name] | {"micro_batch_size": 0})
    expected = torch.stack([torch.stack(list(gan.step(batch(count=8)).values())) for _ in range(2)])
    torch.testing.assert_close(ranks[0][name]["means"], expected, rtol=1e-3, atol=1e-5)
    for network in ("generator", "discriminator"):
        for key, value in gan.state_dict()[network].items():
            torch.testing.assert_close(ranks[0][name][network][key], value, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", [*PARALLEL, *WHOLE])
def test_workers_stay_alike(ranks, name):
    first, second = (rank[name] for rank in ranks)
    assert first["means"].isfinite().all() and torch.equal(first["means"], second["means"])
    for network in ("generator", "discriminator", "ema"):
        for key, value in first[network].items():
            if "running_" not in key and "num_batches" not in key:  # those of the first count, from each forward on
                assert torch.equal(second[network][key], value), (network, key)


@pytest.mark.parametrize("name", [*PARALLEL, *WHOLE])
def test_gradients_are_reduced_once_a_step(ranks, name):
    trains = (PARALLEL | WHOLE)[name].get("trains", BOTH)
    reduced = ranks[0][name]["reduced"]
    assert reduced["generator"] == (0 if trains == DISCRIMINATOR else 2)
    assert reduced["discriminator"] == (0 if trains == GENERATOR else 2)
    assert reduced["retraining"] == 1


def test_sums_and_means_are_over_all_workers(ranks):
    for rank in ranks:
        assert rank["mean"]["of ranks"] == 0.5
        assert rank["mean"]["sum"].tolist() == [2, 2] and rank["mean"]["left alone"].tolist() == [1, 1]


@pytest.mark.parametrize("first", [3, 4])
def test_held_out_photographs_are_measured_together_however_they_are_shared(ranks, first):
    expected = measure(share(4, rank=0))
    for rank in ranks:
        assert rank["held out"][first] == pytest.approx(expected, rel=1e-5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
