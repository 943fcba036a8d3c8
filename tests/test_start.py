"""Fine-tuning: a run that starts from a bundle has its generator and its weights, and says so."""

import dataclasses
import json
import sys

import pytest
import torch

from colornet.cli import train_local
from colornet.errors import BundleError, SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import SHIPPED, Bundle
from colornet.networks import build_generator
from colornet.training.build import build_gan
from colornet.training.presets import preset
from colornet.training.recipe import DiscriminatorRecipe, GeneratorRecipe, Recipe
from colornet.training.start import find_start, generator_of
from jobs import train as job
from tests import noise_shards

SMALL = {"encoder": "mobilenetv3_small_050", "width": 4, "head": "bins"}
SMOKE = dataclasses.replace(
    preset("smoke"),
    generator=GeneratorRecipe(network="backbone", **SMALL),
    discriminator=DiscriminatorRecipe(network="patch", width=4),
    ema_decay=0.9,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    place = str(tmp_path_factory.mktemp("mine"))
    torch.manual_seed(1)
    generator = build_generator("backbone", SMALL).eval()
    bundles.save(Bundle(generator=generator, network="backbone", settings=SMALL, image_size=32), place)
    return place


def with_generator(**changes) -> Recipe:
    return dataclasses.replace(SMOKE, generator=dataclasses.replace(SMOKE.generator, **changes))


def test_a_run_has_the_weights_of_the_bundle(bundle):
    gan = build_gan(SMOKE, start=find_start(bundle, SMOKE.generator))
    expected = bundles.load(bundle).generator.state_dict()
    for network in (gan.unwrapped_generator, gan.inference_generator):
        found = network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not torch.equal(build_gan(SMOKE).unwrapped_generator.squeeze.weight, expected["squeeze.weight"])


@pytest.mark.parametrize("added", [{"hints": True}, {"context": True}, {"hints": True, "context": True}])
def test_what_the_bundle_has_not_changes_nothing_at_first(bundle, added):
    made = with_generator(**added)
    gan = build_gan(made, start=find_start(bundle, made.generator))
    lightness = torch.rand(2, 1, 64, 64) * 2 - 1
    expected = bundles.load(bundle).generator
    with torch.no_grad():
        ab = gan.inference_generator.eval()(lightness)
        torch.testing.assert_close(ab, expected(lightness), atol=2e-3, rtol=0)
    if "context" in added:  # its last layer is what lets it begin
        weights = gan.unwrapped_generator.context.state_dict()
        assert weights["1.weight"].std() > 0 and not weights["3.weight"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 8}, r"generator.width is 8, and that of .*mine.*, to start from, is 4"),
        ({"encoder": "resnet18"}, r"generator.encoder is 'resnet18'"),
        ({"norm": "group"}, r"generator.norm is 'group'"),
        ({"encoder_weights": "package"}, r"generator.encoder_weights is 'package'"),
    ],
)
def test_another_generator_is_refused_by_its_field(bundle, changes, message):
    with pytest.raises(SettingsError, match=message):
        find_start(bundle, with_generator(**changes).generator)


def test_hints_are_not_given_up(tmp_path):
    settings = SMALL | {"hints": True}
    taking = Bundle(
        generator=build_generator("backbone", settings), network="backbone", settings=settings, image_size=32
    )
    bundles.save(taking, str(tmp_path))
    with pytest.raises(SettingsError, match=r"generator.hints is False, and that of .* is True"):
        find_start(str(tmp_path), SMOKE.generator)


def test_a_bundle_that_was_exchanged_meanwhile_is_refused(bundle, tmp_path):
    start = find_start(bundle, SMOKE.generator)
    generator = build_generator("backbone", SMALL)
    bundles.save(Bundle(generator=generator, network="backbone", settings=SMALL, image_size=32), str(tmp_path))
    with pytest.raises(SettingsError, match="another bundle than at the start of the run"):
        build_gan(SMOKE, start=dataclasses.replace(start, uri=str(tmp_path)))
    with pytest.raises(BundleError):
        build_gan(SMOKE, start=dataclasses.replace(start, uri=str(tmp_path / "nothing")))


def test_local_places_are_told_by_their_last_folder(bundle):
    start = find_start(bundle, SMOKE.generator)
    assert start.describe() == {"uri": bundle.rpartition("/")[2], "digest": start.digest}
    assert dataclasses.replace(start, uri="s3://models/mine").describe()["uri"] == "s3://models/mine"
    assert dataclasses.replace(start, uri=SHIPPED).describe()["uri"] == SHIPPED


# --- the command lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [job.main, train_local.main])
def test_the_recipe_has_the_generator_of_the_bundle(command, bundle, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(f'start_from = "{bundle}"')
    for given in (["--start-from", bundle], ["--config", str(config)]):
        arguments = ["--data", "a", "--output", "b", *given, "--generator.hints"]
        settings = command.parse(arguments, command.program).settings
        assert settings.start_from == bundle and settings.recipe.name == "fine-tune"
        assert settings.recipe.generator == GeneratorRecipe(network="backbone", **SMALL, hints=True)


def test_the_shipped_bundle_is_what_fine_tune_is_for():
    settings = job.main.parse(["--data", "a", "--output", "b", "--start-from", SHIPPED], job.main.program).settings
    assert settings.recipe.generator == generator_of(bundles.load(SHIPPED))
    find_start(SHIPPED, settings.recipe.generator)


def test_a_recipe_that_is_not_for_the_generator_is_refused(tmp_path):
    generator = build_generator("unet", {"width": 2})
    bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32), str(tmp_path))
    with pytest.raises(SettingsError, match=r"--start-from .*: distribution_weight is for .*: choose a --recipe"):
        job.main.parse(["--data", "a", "--output", "b", "--start-from", str(tmp_path)], job.main.program)


def test_a_run_from_a_bundle_says_so_and_goes_on_from_that_only(bundle, tmp_path, monkeypatch, capsys):
    shards = tmp_path / "shards"
    shards.mkdir()
    noise_shards.write(shards)
    flags = ["--data", shards, "--output", tmp_path / "out", "--name", "fine", "--device", "cpu", "--threads", 1]
    small = [f"--stages.0.{name}" for name in ("epochs=1", "steps-per-epoch=2", "image-size=32", "batch-size=2")]

    def run(*more: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["train-local", *map(str, flags), *small, *map(str, more)])
        with pytest.raises(SystemExit) as ended:
            train_local.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    assert run("--start-from", bundle)[0] == 0
    made = bundles.load(str(tmp_path / "out"))
    assert made.started_from == {"uri": bundle.rpartition("/")[2], "digest": bundles.load(bundle).digest}
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["started_from"] == made.started_from
    assert made.started_from["digest"] in (tmp_path / "out" / "report" / "report.html").read_text()
    assert run("--start-from", SHIPPED)[0] == 2
    code, error = run("--recipe", tmp_path / "out" / "bundle.json")
    assert code == 2 and "started from" in error and "--start-from says otherwise" in error
