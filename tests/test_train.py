"""jobs.train: the command line, a run on two gloo workers, and going on after a worker or the run has ended."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from colornet.datasets import collection
from colornet.datasets.dealing import Position, in_batches
from colornet.datasets.plan import GROUP
from colornet.datasets.sampling import Sampling
from colornet.errors import SettingsError, TrainingError
from colornet.inference import bundle as bundles
from colornet.training import presets
from colornet.training.degradation import DEGRADATIONS
from colornet.training.health import Policy, Thresholds
from colornet.training.recipe import Recipe
from jobs import train as job
from jobs.train import Checkpoints, TrainSettings, Workers
from jobs.training.run import Run
from tests import noise_shards, processes

SMOKE = presets.preset("smoke")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return noise_shards.write(tmp_path_factory.mktemp("shards"))


def settings(shards: Path, output: Path, workers: int = 1, gan=None, **changes) -> TrainSettings:
    """The smoke recipe with changes of it, and of its adversarial stage."""
    pre_training, stage = SMOKE.stages
    made = dataclasses.replace(SMOKE, **{"stages": (pre_training, dataclasses.replace(stage, **gan or {}))} | changes)
    return TrainSettings(
        data=str(shards), output=str(output), workers=Workers(num_workers=workers, cpus_per_worker=1), recipe=made
    )


def history(output: Path) -> list[dict[str, float]]:
    return json.loads((output / "report" / "metrics.json").read_text())


# --- the command line: nothing here may start Ray ---------------------------------------------------------------------


def cli(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    """Run the job's command line in this process: exit code and standard error."""
    monkeypatch.setattr(sys, "argv", ["jobs.train", "--recipe", "smoke", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert not ray.is_initialized()
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "best"], "no recipe is called 'best'; there are: standard, laptop, shipped, reference,"),
        (["--recipe=best"], "no recipe is called 'best'"),
        (["--stages.0.image-size", "40", "--stages.1.image-size", "40"], "image_size must be a multiple of 16, not 40"),
        (["--generator.encoder-weights", "/no/such/file", "--generator.network", "backbone"], "/no/such/file"),
        (["--data", "/no/such/place"], "/no/such/place"),
        (["--validation", "/no/such/place"], "/no/such/place"),
        (["--output", "ftp://place"], "unknown scheme ftp://"),
        (["--output", "/proc/nothing"], "/proc/nothing"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(monkeypatch, capsys, shards, tmp_path, arguments, message):
    code, error = cli(monkeypatch, capsys, "--data", shards, "--output", tmp_path, *arguments)
    assert code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages.1.epochs", "0"], "stages.1: epochs should be greater than or equal to 1, not 0"),
        (["--generator.width", "-1"], "generator: width should be greater than or equal to 1, not -1"),
        (["--generator.network", "vgg"], "invalid choice 'vgg' for argument '--generator.network'."),
        (["--generator.network", "vgg"], "Expected one of ('unet', 'backbone')"),
        (["--num-workers", "0"], "num_workers should be greater than or equal to 1, not 0"),
        (["--min-workers", "2"], "min_workers must be at most 1 (num_workers), not 2"),
        (["--sync-batchnorm"], "sync_batchnorm is for GPUs"),
        (["--degradation.grain", "2"], "degradation: grain should be less than or equal to 1, not 2.0"),
        (
            ["--health.gray-collapse", "hope"],
            "('go_on', 'warn', 'retrain_discriminator', 'lower_learning_rate', 'stop')",
        ),
        (["--name", "../other"], "name must be of letters, digits,"),
        (["--epochs", "3"], "Perhaps you meant: --stages.0.epochs INT"),
    ],
)
def test_flags_that_are_wrong_are_named(monkeypatch, capsys, shards, tmp_path, arguments, message):
    code, error = cli(monkeypatch, capsys, "--data", shards, "--output", tmp_path, *arguments)
    words = " ".join(word for word in error.split() if word.strip("│╭╮╰╯─-"))  # without the box around them
    assert code == 2 and message in words


def test_help_lists_the_flags_by_group_and_explains_them_on_request(monkeypatch, capsys):
    told = {}
    for flag in ("--help", "--help-verbose"):
        monkeypatch.setattr(sys, "argv", ["jobs.train", "--recipe", "laptop", flag])
        with pytest.raises(SystemExit):
            job.main()
        told[flag] = capsys.readouterr().out
    lines = [line.strip("│ ") for line in told["--help"].splitlines()]
    assert "--num-workers INT (default: 1)" in lines and "--stages.0.epochs INT (default: 16)" in lines
    # A flag takes a line, or two: what it means is said by --help-verbose, which is far longer.
    assert len(lines) < 2 * sum(line.startswith("--") for line in lines)
    assert len(told["--help-verbose"].splitlines()) > 2 * len(lines)
    for group in ("workers", "checkpoints", "generator", "discriminator", "stages.0", "degradation", "health", "s3"):
        assert f" {group} options " in told["--help"]
    assert "Processes that train in parallel" not in told["--help"]
    assert "Processes that train in parallel" in told["--help-verbose"]
    assert "If the output is nearly gray." in told["--help-verbose"]


def test_shards_without_held_out_photographs(monkeypatch, capsys, shards, tmp_path):
    (tmp_path / "train.parquet").write_bytes((shards / "train-0.parquet").read_bytes())
    code, error = cli(monkeypatch, capsys, "--data", tmp_path, "--output", tmp_path / "model")
    assert code == 2 and "jobs.prepare" in error and "--validation" in error


def test_flags_override_the_preset_that_recipe_names():
    defaults = job.main.defaults(["--data", "a", "--recipe", "shapes"])
    assert defaults.recipe == presets.preset("shapes")
    assert job.main.defaults([]).recipe == presets.preset("standard")


@pytest.mark.parametrize("name", ["mine.json", "mine.toml", "bundle.json"])
def test_flags_override_the_recipe_of_a_file(tmp_path, name):
    fields = SMOKE.to_dict() | {"name": "small", "seed": 7}
    text = json.dumps({"format": 1, "recipe": fields} if name == "bundle.json" else fields)
    if name == "mine.toml":
        text = 'name = "small"\nseed = 7\nstages = [{trains = "generator"}, {image_size = 32, epochs = 2}]'
    (tmp_path / name).write_text(text)
    arguments = ["--data", "a", "--output", "b", "--recipe", str(tmp_path / name), "--stages.1.epochs", "5"]
    made = job.main.parse(arguments, job.main.program).settings.recipe
    assert (made.name, made.seed, made.stages[1].epochs, made.stages[1].image_size) == ("small", 7, 5, 32)


def test_the_command_itself(tmp_path):
    command = [sys.executable, "-m", "jobs.train", "--data", str(tmp_path), "--output", str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and "no training photographs" in done.stderr
    assert not (tmp_path / "model").exists()


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(ray_local, shards, tmp_path_factory) -> Path:
    """The output of a run on two workers."""
    output = tmp_path_factory.mktemp("model")
    assert job.train(settings(shards, output, workers=2)) == 0
    return output


def test_the_bundle_tells_what_it_is(finished, shards):
    bundle = bundles.load(str(finished))
    assert bundle.settings == {"width": SMOKE.generator.width} and bundle.image_size == SMOKE.image_size
    assert Recipe.from_dict(bundle.recipe) == SMOKE
    assert bundle.data == {
        "uri": shards.name,  # no paths of the machine that it was trained on
        "photographs": 40,
        "held_out": 6,
        "sources": {"noise": 40},
        "licenses": {"CC0": 40},
        "kinds": {},
    }
    assert bundle.metrics == history(finished)[-1]


def test_the_report_has_every_epoch(finished):
    measured = history(finished)
    assert [(each["epoch"], each["stage"]) for each in measured] == [
        (1, "pre-training"),
        (2, "adversarial"),
        (3, "adversarial"),
    ]
    expected = {"generator_loss", "discriminator_loss", "discriminator_accuracy", "photographs_per_second", "verdict"}
    assert expected <= set(measured[1])
    report = finished / "report"
    assert {path.name for path in report.glob("*.png")} == {
        "panel-epoch-0001.png",
        "panel-epoch-0002.png",
        "panel-epoch-0003.png",
        "training.png",
    }
    assert all(Image.open(path).format == "PNG" for path in report.glob("*.png"))
    page = (report / "report.html").read_text()
    assert "smoke" in page and "CC0" in page and page.count("<img") >= 3 and "<svg" in page
    assert [path.name for path in (report / "tensorboard").iterdir()] == ["events.out.tfevents.00000.colornet"]


def test_bundle_and_report_tell_what_was_drawn(tmp_path):
    for name, sources in {"train": ["sea", "wall", "wall", "wall"], "val": ["wall"]}.items():
        table = pa.table({"image": [noise_shards.noise(0)] * len(sources), "source": sources})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    sampling = Sampling(source={"sea": 6.0, "wall": 2.0})
    recipe = dataclasses.replace(SMOKE, sampling=sampling)
    data = collection.find(str(tmp_path), sampling=sampling)
    run = Run(recipe=recipe, data=data, data_uri=str(tmp_path), output="o", name="n", most_workers=2)
    for position in (Position(0, 1, 0), Position(1, 2, 10)):
        assert run.describe_data(position)["shares_drawn"] == pytest.approx({"sea": 0.5, "wall": 0.5}, abs=0.03)
    alike = dataclasses.replace(run, recipe=SMOKE, data=collection.find(str(tmp_path)))
    assert "shares_drawn" not in alike.describe_data(Position(0, 1, 0))


def test_without_ray_the_same_comes_of_it(finished, shards, tmp_path):
    arguments = ["--recipe", "smoke", "--data", shards, "--output", tmp_path, "--num-workers", 2, "--threads", 1]
    command = [sys.executable, "-m", "colornet.cli.train_local", "--device", "cpu", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=200)
    assert list(map(timeless, history(tmp_path))) == list(map(timeless, history(finished)))
    assert (tmp_path / "generator.safetensors").read_bytes() == (finished / "generator.safetensors").read_bytes()


def test_a_finished_run_ends_at_once_with_the_bundle_in_place(finished, shards, capsys, monkeypatch):
    weights = (finished / "generator.safetensors").read_bytes()
    (finished / "bundle.json").unlink()
    monkeypatch.setattr(job, "start_ray", lambda **_: pytest.fail("it needs no Ray"))
    assert job.train(settings(shards, finished, workers=2)) == 0
    assert "the run 'smoke' is finished" in capsys.readouterr().out
    assert bundles.load(str(finished)).metrics == history(finished)[-1]
    assert (finished / "generator.safetensors").read_bytes() == weights


def test_another_recipe_under_the_same_name_is_refused(finished, shards):
    with pytest.raises(
        SettingsError, match=r"'smoke' .* has another recipe \(stages.1.batch_size was 4\): give another --name"
    ):
        job.train(settings(shards, finished, gan={"batch_size": 3}))


def test_a_finished_run_goes_on_with_more_epochs(ray_local, shards, tmp_path, capsys):
    for epochs in (2, 3):
        assert job.train(settings(shards, tmp_path, gan={"epochs": epochs})) == 0
        assert bundles.load(str(tmp_path)).metrics == history(tmp_path)[-1]
        assert [each["epoch"] for each in history(tmp_path)] == list(range(1, epochs + 2))
    assert "going on after epoch 3, with 1 workers" in capsys.readouterr().err
    assert Recipe.from_dict(bundles.load(str(tmp_path)).recipe).stages[-1].epochs == 3
    weights = (tmp_path / "generator.safetensors").read_bytes()
    assert job.train(settings(shards, tmp_path, gan={"epochs": 3})) == 0
    assert (tmp_path / "generator.safetensors").read_bytes() == weights
    with pytest.raises(SettingsError, match=r"stages.1.epochs was 3"):
        job.train(settings(shards, tmp_path, gan={"epochs": 2}))


def test_the_same_run_twice_is_the_same_and_one_with_a_killed_worker_too(ray_local, shards, tmp_path, capsys):
    """Across stages, with degradation, an average, and dropout: whatever is drawn at random must be restored."""
    changes = {
        "gan": {"epochs": 3, "steps_per_epoch": 40},
        "degradation": DEGRADATIONS["archive"],
        "ema_decay": 0.9,
        "thresholds": Thresholds(window=1, guessing=1.0),  # the policy retrains the discriminator once more
    }
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert job.train(settings(shards, undisturbed, workers=2, **changes)) == 0
    assert "going on" not in capsys.readouterr().err
    killed = threading.Event()

    def kill() -> None:
        while not list(disturbed.glob("report/panel-epoch-0003.png")):
            time.sleep(0.05)
        processes.below(os.getpid(), "RayTrainWorker")[-1].kill()
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    assert job.train(settings(shards, disturbed, workers=2, **changes)) == 0
    assert killed.is_set()
    lines = capsys.readouterr().err
    assert "going on after epoch" in lines and "going on after epoch 0" not in lines
    measured = history(disturbed)
    assert [each["epoch"] for each in measured] == [1, 2, 3, 4]
    assert list(map(timeless, measured)) == list(map(timeless, history(undisturbed)))
    assert measured[1]["retraining_steps"] == 2 * SMOKE.retrain_steps
    assert bundles.load(str(disturbed)).metrics == measured[-1]
    weights = "generator.safetensors"
    assert (disturbed / weights).read_bytes() == (undisturbed / weights).read_bytes()


def timeless(measured: dict[str, float]) -> dict[str, float]:
    times = ("seconds", "photographs_per_second", "waiting_for_data", "finished")
    return {name: value for name, value in measured.items() if name not in times}


def test_the_bundle_is_the_best_on_request(finished, shards, monkeypatch):
    monkeypatch.setattr(job, "start_ray", lambda **_: pytest.fail("it needs no Ray"))
    kept = history(finished)[1:]  # of three checkpoints two
    assert SMOKE.epochs == 3 and len(kept) == 2
    asked = settings(shards, finished, workers=2)
    for measure, best in (("psnr", max), ("held_out_error", min)):
        assert job.train(dataclasses.replace(asked, checkpoints=Checkpoints(best_by=measure))) == 0
        assert bundles.load(str(finished)).metrics == best(kept, key=lambda each: each[measure])
    assert job.train(asked) == 0
    assert bundles.load(str(finished)).metrics == kept[-1]


@pytest.mark.long
def test_a_duel_that_is_not_fair_ends_the_run_if_the_policy_says_so(ray_local, shards, tmp_path):
    hopeless = settings(
        shards,
        tmp_path,
        workers=2,
        gan={"discriminator_learning_rate": 1e-12, "epochs": 9},
        health=Policy(discriminator_behind="stop"),
        thresholds=Thresholds(window=2, guessing=0.99),
        retrain_below=0.0,
    )
    with pytest.raises(TrainingError, match=r"the run 'smoke' ended: epoch 3: the discriminator is too weak"):
        job.train(hopeless)
    assert history(tmp_path)[-1]["action"] == "stop"
    assert "discriminator is too weak" in (tmp_path / "report" / "report.html").read_text()
    assert not (tmp_path / "bundle.json").exists()


def test_a_loss_that_is_not_finite_ends_the_run_at_once(ray_local, shards, tmp_path, capsys):
    explosive = settings(shards, tmp_path, workers=2, gan={"generator_learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"the run 'smoke' ended: step \d+: the .* is not finite"):
        job.train(explosive)
    assert "going on" not in capsys.readouterr().err
    assert not (tmp_path / "bundle.json").exists()


# --- where a run stands in its stream ---------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(0, 255), st.integers(0, 6))
def test_batches_are_the_rows_in_their_order(size, skip, groups):
    rows = np.arange(groups * GROUP)
    batches = list(in_batches(iter(rows.reshape(groups, GROUP)), size, skip))
    assert all(len(batch) == size for batch in batches)
    np.testing.assert_array_equal(np.concatenate([[], *batches]), rows[skip : skip + len(batches) * size])
    assert len(batches) == max(0, len(rows) - skip) // size


@given(st.integers(1, 5), st.lists(st.integers(0, 700), max_size=8))
def test_a_position_tells_what_each_worker_sees_next(workers, taken):
    """Group k is dealt to worker k % workers: whoever goes on from a position reads what it would have read."""
    position = functools.reduce(lambda position, rows: position.after(rows, workers), taken, Position())
    for rank in range(workers):
        undisturbed = [group * GROUP + row for group in range(rank, 50 * workers, workers) for row in range(GROUP)]
        groups = range(position.group + rank, position.group + rank + 2 * workers, workers)
        resumed = [group * GROUP + row for group in groups for row in range(GROUP)][position.row :]
        rest = undisturbed[sum(taken) :]
        assert resumed == rest[: len(resumed)]
