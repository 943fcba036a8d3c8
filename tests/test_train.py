"""jobs.train: the command line, a run on two gloo workers, and going on after a worker or the run has ended."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from colornet import bundle as bundles
from colornet.errors import SettingsError, TrainingError
from colornet.training import recipe
from jobs import train as job
from jobs.command import run_job
from jobs.train import TrainSettings

SMOKE = recipe.preset("smoke")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """40 photographs to train on in two shards, 6 held out, one of the first damaged."""
    folder = tmp_path_factory.mktemp("shards")
    images = [noise(seed) for seed in range(46)]
    images[3] = images[3][:50]
    for name, part in (("train-0", images[:20]), ("train-1", images[20:40]), ("val-0", images[40:])):
        table = pa.table({"image": part, "source": ["noise"] * len(part), "license": ["CC0"] * len(part)})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=10)
    return folder


def noise(seed: int) -> bytes:
    buffer = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(small).resize((50, 40)).save(buffer, format="JPEG")
    return buffer.getvalue()


def settings(shards: Path, output: Path, workers: int = 1, **changes) -> TrainSettings:
    made = dataclasses.replace(SMOKE, **changes)
    return TrainSettings(data=str(shards), output=str(output), num_workers=workers, cpus_per_worker=1, recipe=made)


def history(output: Path) -> list[dict[str, float]]:
    return json.loads((output / "report" / "metrics.json").read_text())


# --- the command line: nothing here may start Ray ---------------------------------------------------------------------


def cli(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    """Run the job's command line in this process: exit code and standard error."""
    monkeypatch.setattr(sys, "argv", ["jobs.train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_job(TrainSettings, job.train, job.__doc__, defaults=job.defaults, flags=())
    assert not ray.is_initialized()
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "best"], "no recipe is called 'best'; there are: standard, reference, shapes, smoke"),
        (["--recipe=best"], "no recipe is called 'best'"),
        (["--epochs", "0"], "epochs must be at least 1, not 0"),
        (["--generator.width", "-1"], "generator: width must be at least 1, not -1"),
        (["--image-size", "40"], "discriminator: image_size must be a multiple of 16, not 40"),
        (["--generator.network", "vgg"], "generator: no generator is called 'vgg'"),
        (["--num-workers", "0"], "num-workers must be at least 1, not 0"),
        (["--name", "../other"], "name must be of letters, digits, - and _, not '../other'"),
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


def test_shards_without_held_out_photographs(monkeypatch, capsys, shards, tmp_path):
    (tmp_path / "train.parquet").write_bytes((shards / "train-0.parquet").read_bytes())
    code, error = cli(monkeypatch, capsys, "--data", tmp_path, "--output", tmp_path / "model")
    assert code == 2 and "jobs.prepare" in error and "--validation" in error


def test_flags_override_the_preset_that_recipe_names():
    defaults = job.defaults(["--data", "a", "--recipe", "shapes"])
    assert defaults.recipe == recipe.preset("shapes")
    assert job.defaults([]).recipe == recipe.preset("standard")


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
    assert recipe.from_dict(bundle.recipe) == SMOKE
    assert bundle.data == {
        "uri": str(shards),
        "photographs": 40,
        "held_out": 6,
        "sources": {"noise": 40},
        "licenses": {"CC0": 40},
    }
    assert bundle.metrics == history(finished)[-1]


def test_the_report_has_every_epoch(finished):
    measured = history(finished)
    assert [each["epoch"] for each in measured] == [1, 2]
    expected = {"generator_loss", "discriminator_loss", "discriminator_accuracy", "photographs_per_second"}
    assert expected <= set(measured[0])
    report = finished / "report"
    assert {path.name for path in report.glob("*.png")} == {
        "panel-epoch-0001.png",
        "panel-epoch-0002.png",
        "training.png",
    }
    assert all(Image.open(path).format == "PNG" for path in report.glob("*.png"))


def test_a_finished_run_ends_at_once_with_the_bundle_in_place(finished, shards, capsys, monkeypatch):
    weights = (finished / "generator.safetensors").read_bytes()
    (finished / "bundle.json").unlink()
    monkeypatch.setattr(job, "start_ray", lambda **_: pytest.fail("it needs no Ray"))
    assert job.train(settings(shards, finished, workers=2)) == 0
    assert "the run 'smoke' is finished" in capsys.readouterr().out
    assert bundles.load(str(finished)).metrics == history(finished)[-1]
    assert (finished / "generator.safetensors").read_bytes() == weights


def test_another_recipe_under_the_same_name_is_refused(finished, shards):
    with pytest.raises(SettingsError, match=r"'smoke' .* has another recipe \(epochs was 2\): give another --name"):
        job.train(settings(shards, finished, epochs=3))


def test_a_killed_worker_costs_only_what_came_after_the_last_checkpoint(ray_local, shards, tmp_path, capsys):
    killed = threading.Event()

    def kill() -> None:
        while not list(tmp_path.glob("report/panel-epoch-0002.png")):
            time.sleep(0.05)
        workers = [each for each in psutil.Process().children(recursive=True) if "RayTrainWorker" in each.name()]
        os.kill(workers[-1].pid, signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    assert job.train(settings(shards, tmp_path, workers=2, epochs=4, steps_per_epoch=40)) == 0
    assert killed.is_set()
    lines = capsys.readouterr().err
    assert "going on after epoch" in lines and "going on after epoch 0" not in lines
    measured = history(tmp_path)
    assert [each["epoch"] for each in measured] == [1, 2, 3, 4]
    assert bundles.load(str(tmp_path)).metrics == measured[-1]


def test_a_loss_that_is_not_finite_ends_the_run_at_once(ray_local, shards, tmp_path, capsys):
    explosive = settings(shards, tmp_path, workers=2, generator_learning_rate=1e30, warmup_steps=0)
    with pytest.raises(TrainingError, match=r"the run 'smoke' ended: step \d+: the .* loss is not finite"):
        job.train(explosive)
    assert "going on" not in capsys.readouterr().err
    assert not (tmp_path / "bundle.json").exists()
