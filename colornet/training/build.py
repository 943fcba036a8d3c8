"""From a recipe to networks that train: the same for jobs.train and for the benchmarks."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from colornet.datasets.collection import Collection
from colornet.datasets.plan import Plan
from colornet.storage import Storage
from colornet.training.batches import Photographs
from colornet.training.callbacks import standard_callbacks
from colornet.training.distributed import count_workers
from colornet.training.gan import GanModule
from colornet.training.objective import Objective, rarity
from colornet.training.perceptual import PerceptualLoss
from colornet.training.recipe import Recipe
from colornet.training.start import Start
from colornet.training.trainer import Callback, Trainer
from colornet.training.wrapping import for_training, unwrap

_RANK_SEEDS = 1_000_003
"""A prime: seeds of neighbouring runs and workers do not meet."""


def build_trainer(
    recipe: Recipe,
    photographs: Photographs,
    data: Collection | None = None,
    *,
    start: Start | None = None,
    storage: Storage = Storage(),
    rank: int = 0,
    device: torch.device | str = "cpu",
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Build the networks of a recipe and their trainer, as a run that has not begun.

    Args:
        recipe: what is trained.
        photographs: this worker's.
        data: see `build_gan`, as are the next five.
        start: same.
        storage: same.
        rank: same.
        device: same.
        wrap: same.
        callbacks: called after `standard_callbacks`, in this order.
    """
    gan = build_gan(recipe, data, start=start, storage=storage, rank=rank, device=device, wrap=wrap)
    return Trainer(gan, photographs, [*standard_callbacks(), *callbacks])


def build_gan(
    recipe: Recipe,
    data: Collection | None = None,
    *,
    start: Start | None = None,
    storage: Storage = Storage(),
    rank: int = 0,
    device: torch.device | str = "cpu",
    wrap: Callable[[nn.Module], nn.Module] | None = None,
) -> GanModule:
    """Build the networks of a recipe with their first weights, their losses and optimisers, and seed what follows.

    The first weights are the same on all workers. From here on each worker has random numbers of its own, for noise,
    degradation and dropout.

    Args:
        recipe: what is trained.
        data: the training photographs, which rare colours are weighed up by; without them all colours weigh the same.
        start: the bundle that the generator's first weights are from; those of the recipe, unless given.
        storage: with what the photographs and that bundle are reached.
        rank: number of this worker, from 0.
        device: where to train.
        wrap: moves a network, in channels_last, to the device and wraps it for several workers; unless given, it is
            moved.

    Raises:
        SettingsError: if a network cannot be built, weights that the recipe names cannot be had, or those of the bundle
            do not fit.
        StorageError: if the photographs or the bundle cannot be read.
    """
    torch.manual_seed(recipe.seed)
    generator = recipe.build_generator()
    if start is None:
        recipe.load_encoder(generator)
    else:
        start.load_into(generator, storage)
    generator, discriminator = (
        _prepare(network, recipe, wrap or (lambda network: network.to(device)))
        for network in (for_training(generator), recipe.build_discriminator())
    )
    torch.manual_seed(1 + recipe.seed + _RANK_SEEDS * rank)
    objective = _build_objective(recipe, generator, data, storage, torch.device(device))
    return GanModule(generator, discriminator, recipe, device, objective)


def _prepare(network: nn.Module, recipe: Recipe, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    if recipe.sync_batchnorm and count_workers() > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if recipe.compile:
        network.compile()
    return wrap(network.to(memory_format=torch.channels_last))


def _build_objective(
    recipe: Recipe, generator: nn.Module, data: Collection | None, storage: Storage, device: torch.device
) -> Objective:
    perceptual, bin_weights = None, None
    if any(stage.perceptual_weight for stage in recipe.stages):
        perceptual = PerceptualLoss(recipe.perceptual_weights).to(device)
    if data is not None and any(stage.distribution_weight for stage in recipe.stages):
        centres = unwrap(generator).get_buffer("centres").cpu()
        plan = Plan(data.train, recipe.seed)
        bin_weights = rarity(plan, centres, uniform_share=recipe.rebalancing, storage=storage).to(device)
    return Objective(generator, perceptual=perceptual, bin_weights=bin_weights)
