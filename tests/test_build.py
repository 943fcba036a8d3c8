"""Networks from a recipe: the same first weights on all workers, random numbers of their own, the losses it names."""

import dataclasses
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from colornet.datasets import collection
from colornet.datasets.plan import Plan
from colornet.training.build import build_gan, build_trainer
from colornet.training.objective import rarity
from colornet.training.presets import preset
from colornet.training.recipe import DiscriminatorRecipe, GeneratorRecipe
from tests import pictures

SMOKE = dataclasses.replace(preset("smoke"), seed=3)
BINS = dataclasses.replace(
    SMOKE,
    generator=GeneratorRecipe(network="backbone", encoder="mobilenetv3_small_050", width=4, head="bins"),
    discriminator=DiscriminatorRecipe(network="patch", width=4),
    stages=(dataclasses.replace(SMOKE.stages[-1], distribution_weight=1.0),),
)


def test_workers_have_the_same_weights_and_random_numbers_of_their_own():
    one, other = build_gan(SMOKE), build_gan(SMOKE, rank=1)
    numbers = torch.rand(1)
    for network in ("generator", "discriminator"):
        weights = (each.state_dict()[network] for each in (one, other))
        assert all(map(torch.equal, *(each.values() for each in weights)))
    build_gan(SMOKE)
    assert not torch.equal(torch.rand(1), numbers)
    build_gan(SMOKE, rank=1)
    assert torch.equal(torch.rand(1), numbers)
    torch.manual_seed(SMOKE.seed)
    assert torch.equal(one.unwrapped_generator.out.weight, SMOKE.build_generator().out.weight)


def test_networks_are_in_channels_last_before_they_are_wrapped():
    wrapped = []
    gan = build_gan(SMOKE, wrap=lambda network: wrapped.append(network) or network)
    assert wrapped == [gan.generator, gan.discriminator]
    assert gan.generator.down2.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_rare_colours_are_weighed_up_by_the_data(tmp_path):
    for name in ("train-0", "val-0"):
        images = [pictures.encoded(pictures.colour(70, 80, seed), "PNG") for seed in range(3)]
        pq.write_table(pa.table({"image": images}), tmp_path / f"{name}.parquet")
    data = collection.find(str(tmp_path))
    gan = build_gan(BINS, data)
    weights = rarity(Plan(data.train, BINS.seed), gan.unwrapped_generator.centres, uniform_share=BINS.rebalancing)
    assert torch.equal(gan.objective.bin_weights, weights) and weights.std() > 0
    assert torch.equal(build_gan(BINS).objective.bin_weights, torch.ones_like(weights))  # without data, all alike


def test_a_perceptual_loss_is_there_where_a_stage_has_it(tmp_path):
    stages = (dataclasses.replace(SMOKE.stages[-1], perceptual_weight=1.0),)
    made = dataclasses.replace(SMOKE, stages=stages, perceptual_weights=str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(ValueError, match=r"nowhere\.safetensors"):
        build_gan(made)
    assert build_gan(SMOKE).objective.perceptual is None


def test_a_trainer_trains_what_the_recipe_says():
    class Noise:
        def stage(self, number):
            while True:
                yield torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)

        def held_out(self, image_size):
            return next(self.stage(0))

    trainer = build_trainer(SMOKE, Noise())
    assert trainer.recipe is SMOKE and trainer.run_epoch()["stage"] == "pre-training"


def test_nobody_waits_for_torchvision_who_has_no_perceptual_loss():
    command = "import sys, colornet.training.build; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
