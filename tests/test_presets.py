"""The recipe of the demo: cheap on any machine, and not a matter of luck."""

import dataclasses
import math

import pytest
import torch

from benchmarks import shapes
from colornet.inference import bundle as bundles
from colornet.training import presets
from colornet.training.recipe import BOTH, DISCRIMINATOR, GENERATOR
from colornet.training.schedule import lr_scale
from jobs import train as job

SHAPES = presets.preset("shapes")
WORKERS = 2


def test_the_demo_trains_on_no_more_than_two_cores_without_bfloat16_do_in_minutes():
    """They do 100 photographs of 48 pixels a second when both networks train, and more when one does: two minutes."""
    photographs = [SHAPES.photographs(number, WORKERS) for number in range(len(SHAPES.stages))]
    assert photographs == [16_000, 1_600, 8_960]
    work = [count * (stage.image_size / 48) ** 2 for count, stage in zip(photographs, SHAPES.stages, strict=True)]
    assert sum(work) / 100 <= 120


def test_the_demo_shows_a_gan_whose_every_stage_ends_at_a_standstill():
    assert [stage.trains for stage in SHAPES.stages] == [GENERATOR, DISCRIMINATOR, BOTH]
    for stage in SHAPES.stages:
        if stage.trains != DISCRIMINATOR:
            assert lr_scale(stage, 0) < 0.05 and lr_scale(stage, stage.steps - 1) < 0.01


def short(**changes):
    """Return the recipe with three stages of a few steps."""
    stages = tuple(dataclasses.replace(stage, epochs=1, steps_per_epoch=6) for stage in SHAPES.stages)
    return dataclasses.replace(SHAPES, stages=stages, held_out_photographs=8, precision="float32", **changes)


def weights(place):
    return torch.cat([each.flatten() for each in bundles.load(str(place)).generator.state_dict().values()])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shapes.write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_shapes_get_their_own_colour(data, tmp_path, precision):
    recipe = dataclasses.replace(SHAPES, precision=precision)
    tallies, cost = shapes.train_and_measure(recipe, data, tmp_path / "bundle", WORKERS)
    assert sum(tally.right for tally in tallies.values()) >= 28
    assert min(tally.right for tally in tallies.values()) >= 4
    assert 0 < cost["seconds"] < math.inf


def test_the_seed_decides_what_the_benchmark_trains(data, tmp_path):
    places = [tmp_path / name for name in ("once", "again", "other")]
    for place, seed in zip(places, (0, 0, 1), strict=True):
        place.mkdir()
        shapes.work(0, short(seed=seed), data, place, workers=1)
        assert bundles.load(str(place)).metrics["cpu_seconds"] > 0
    once, again, other = map(weights, places)
    assert torch.equal(once, again) and not torch.equal(once, other)


@pytest.mark.long
def test_the_benchmark_trains_as_the_job_does(ray_local, data, tmp_path):
    shapes.train_and_measure(short(), data, tmp_path / "benchmark", WORKERS)
    job.train(
        job.TrainSettings(
            data=data.train[0].uri.rpartition("/")[0],
            output=str(tmp_path / "job"),
            workers=job.Workers(num_workers=WORKERS, cpus_per_worker=1.0),
            recipe=short(),
        )
    )
    assert torch.equal(weights(tmp_path / "benchmark"), weights(tmp_path / "job"))
