"""Training without Ray: it can be stopped at any step, and what comes of it is the same."""

import dataclasses
import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from colornet.datasets import collection
from colornet.errors import SettingsError, TrainingError
from colornet.inference import bundle as bundles
from colornet.training import presets
from colornet.training.degradation import DEGRADATIONS
from colornet.training.local.processes import run_workers
from colornet.training.local.run import CHECKPOINT, LocalRun
from colornet.training.local.worker import work
from tests import blocked, noise_shards

SMOKE = presets.preset("smoke")
TIMES = ("seconds", "photographs_per_second", "waiting_for_data", "finished")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return noise_shards.write(tmp_path_factory.mktemp("shards"))


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_run(shards: Path, output: Path, steps: int = 15, **changes) -> LocalRun:
    """Both stages of the recipe smoke, with all that is random in a run."""
    stages = tuple(dataclasses.replace(stage, steps_per_epoch=steps) for stage in SMOKE.stages)
    recipe = dataclasses.replace(SMOKE, stages=stages, degradation=DEGRADATIONS["archive"], ema_decay=0.9)
    data = collection.find(str(shards))
    made = {"recipe": recipe, "data": data, "data_uri": str(shards), "output": str(output), "name": "smoke"}
    return LocalRun(**made | changes)


def silent(_line: str) -> None:
    pass


def history(run: LocalRun) -> list[dict]:
    state = run.load_checkpoint()
    assert state is not None
    return list(map(timeless, state["trainer"]["history"]))


def timeless(measured: dict) -> dict:
    return {name: value for name, value in measured.items() if name not in TIMES}


def weights(run: LocalRun, place: Path) -> bytes:
    state = run.load_checkpoint()
    assert state is not None
    dataclasses.replace(run, output=str(place)).save_bundle(state, half=False)
    return (place / "generator.safetensors").read_bytes()


def test_a_run_that_is_stopped_every_ten_steps_is_the_same_as_one_that_is_not(shards, tmp_path):
    undisturbed, disturbed = make_run(shards, tmp_path / "undisturbed"), make_run(shards, tmp_path / "disturbed")
    assert work(undisturbed, 0, lambda: False, silent)
    lines: list[str] = []
    stops = 0
    while not work(disturbed, 0, lambda: True, lines.append):
        stops += 1
    assert stops == 3 + 2  # after step 10 of three epochs, and after two epochs, not after the last
    assert any(line.startswith("going on after epoch 1, step 10 of the next") for line in lines)
    assert history(disturbed) == history(undisturbed) and len(history(undisturbed)) == SMOKE.epochs
    assert weights(disturbed, tmp_path / "one") == weights(undisturbed, tmp_path / "other")


def test_checkpoints_are_written_within_an_epoch(shards, tmp_path):
    run, saved = make_run(shards, tmp_path, checkpoint_every=0.0), []

    def look() -> bool:
        state = run.load_checkpoint()
        saved.append(state and (state["trainer"]["epoch"], (state["trainer"]["begun"] or {}).get("steps")))
        return False

    assert work(run, 0, look, silent)
    assert saved == [None, (0, 10), (1, None), (1, 10), (2, None)]


def test_a_deadline_stops_it(shards, tmp_path):
    run = make_run(shards, tmp_path, deadline=time.time())
    assert not work(run, 0, lambda: False, silent)
    state = run.load_checkpoint()
    assert state is not None and state["trainer"]["begun"]["steps"] == 10


def test_processes_can_read(shards, tmp_path):
    threads, processes_ = make_run(shards, tmp_path / "a", 3), make_run(shards, tmp_path / "b", 3, readers=1)
    assert work(threads, 0, lambda: False, silent) and work(processes_, 0, lambda: False, silent)
    assert history(threads) == history(processes_)


def command(shards: Path, output: Path, *more: object) -> list[str]:
    flags = ["--data", shards, "--output", output, "--recipe", "smoke", "--device", "cpu", *more]
    return [sys.executable, "-m", "colornet.cli.train_local", *map(str, flags)]


@pytest.mark.faults
def test_two_workers_go_on_where_a_signal_stopped_them(shards, tmp_path):
    steps = ["--stages.0.steps-per-epoch", 100, "--stages.1.steps-per-epoch", 20, "--num-workers", 2, "--threads", 1]
    place = tmp_path / "_local" / "smoke" / CHECKPOINT
    with subprocess.Popen(command(shards, tmp_path, *steps, "--checkpoint-minutes", 1e-9)) as stopped:
        while not place.exists():
            assert stopped.poll() is None
            time.sleep(0.02)
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(60) == 143
    assert bundles.load(str(tmp_path)).recipe["name"] == "smoke"
    done = subprocess.run(command(shards, tmp_path, *steps), capture_output=True, text=True, timeout=120, check=True)
    assert "step " in done.stderr and "going on after epoch 0" in done.stderr
    whole = tmp_path / "whole"
    subprocess.run(command(shards, whole, *steps), timeout=120, check=True)
    one, other = (json.loads((place / "report" / "metrics.json").read_text()) for place in (tmp_path, whole))
    assert list(map(timeless, one)) == list(map(timeless, other))
    assert (tmp_path / "generator.safetensors").read_bytes() == (whole / "generator.safetensors").read_bytes()
    page = (tmp_path / "report" / "report.html").read_text()
    assert "smoke" in page and "CC0" in page


@pytest.mark.faults
def test_a_worker_that_dies_ends_the_run(shards, tmp_path):
    run = make_run(shards, tmp_path, 100_000, most_workers=2, checkpoint_every=0.0)

    def kill_one() -> None:
        while run.load_checkpoint() is None:
            time.sleep(0.1)
        [second] = [process for process in multiprocessing.active_children() if process.name == "worker-1"]
        second.kill()

    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(TrainingError, match=r"worker 1 has died \(exit code -9\); the same command goes on"):
        run_workers(run, silent)
    assert not multiprocessing.active_children()


def test_another_recipe_under_the_same_name_is_refused(shards, tmp_path):
    run = make_run(shards, tmp_path)
    run.note_recipe()
    with pytest.raises(SettingsError, match=r"'smoke' .* has another recipe \(stages.0.steps_per_epoch was 15"):
        make_run(shards, tmp_path, 26).note_recipe()


def test_a_machine_with_little_installed_will_do(shards, tmp_path):
    missing = ["ray", "boto3", "duckdb", "imagecodecs", "jpeglib", "simplejpeg", "tensorboardX", "tenacity"]
    flags = ["--data", shards, "--output", tmp_path, "--recipe", "smoke", "--device", "cpu", "--threads", 1]
    done = blocked.run(missing, "colornet.cli.train_local", *map(str, flags))
    assert done.returncode == 0, done.stderr
    assert bundles.load(str(tmp_path)).metrics["epoch"] == SMOKE.epochs
    assert not (tmp_path / "report" / "tensorboard").exists()
