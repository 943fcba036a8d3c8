"""The benchmarks of the archive job and of training: what they are made of, and, as a long test, a small run."""

import dataclasses
import io
import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
import torch
from rich.console import Console

from benchmarks import choices, hints, predict, spreading, training
from benchmarks.archive import DISTINCT, IMAGE_SIZE, write_archive, write_bundle
from benchmarks.job import Run
from benchmarks.observed import CALLS, LATENCY, Call, Observed, read_calls
from benchmarks.processes import Sample
from colornet.archive import inventory
from colornet.archive.task import ColorizeTask
from colornet.color import lab
from colornet.color.chroma import is_nearly_gray
from colornet.colorize import Colorizer
from colornet.datasets import collection, shapes
from colornet.datasets.plan import GROUP
from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from colornet.training import presets
from colornet.training.build import build_gan
from colornet.training.degradation import DEGRADATIONS
from colornet.training.gan import GanModule
from colornet.training.recipe import BOTH, DISCRIMINATOR
from tests import hinted, pictures


def test_a_bundle_beside_the_reference_network(tmp_path, capsys):
    write_bundle(tmp_path / "bundle")
    assert predict.benchmark(predict.BenchmarkSettings(model=str(tmp_path / "bundle"), rounds=1, pictures=1)) == 0
    cells = {words[1]: words for line in capsys.readouterr().out.splitlines() if len(words := line.split("│")) > 4}
    rows = {name.strip(): [float(cell) for cell in words[2:5]] for name, words in cells.items()}
    assert rows["reference"][0] == pytest.approx(57, abs=1) and rows["reference"][2] == 1
    assert rows["bundle"][0] < 1 and rows["bundle"][1] > rows["reference"][1] and rows["bundle"][2] > 1


def test_spreading_is_measured_beside_paler_colour(tmp_path, capsys):
    torch.manual_seed(0)
    settings = {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"}
    generator = build_generator("backbone", settings)
    torch.nn.init.normal_(generator.out.weight, std=0.3)
    bundle = Bundle(generator=generator, network="backbone", settings=settings, image_size=32)
    bundles.save(bundle, str(tmp_path / "bundle"))
    for seed in range(3):
        path = tmp_path / "photographs" / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pictures.encoded(pictures.colour(300, 300, seed), "PNG"))
    options = {"data": str(tmp_path / "photographs"), "model": str(tmp_path / "bundle")}
    assert spreading.benchmark(spreading.BenchmarkSettings(**options)) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        if len(words := line.split("│")) > 7:
            rows[words[1].strip()] = [float(cell) if cell.strip() else None for cell in words[2:9]]
    chroma, blotchy = ({name: figures[column] for name, figures in rows.items()} for column in (0, 5))
    paler = next(name for name in rows if name.startswith("paler"))
    default = next(name for name in rows if name.startswith("spread"))
    assert chroma[paler] == pytest.approx(chroma[default], abs=0.1) and chroma[default] < chroma["neutral_below 0.0"]
    assert blotchy[default] < blotchy[paler] < blotchy["as predicted"]
    assert rows["the photographs"][1] == pytest.approx(54.15, abs=3) and rows[default][6] > 0

    write_bundle(tmp_path / "no distribution")
    with pytest.raises(SettingsError, match="predicts no distribution"):
        spreading.benchmark(spreading.BenchmarkSettings(data=options["data"], model=str(tmp_path / "no distribution")))


def test_each_choice_changes_what_its_name_says():
    recipe = choices.short(1600)
    changed = {name: change(recipe) for name, change in choices.VARIANTS.items()}
    assert changed.pop("as it is") == recipe
    assert len({json.dumps(variant.to_dict(), sort_keys=True) for variant in changed.values()}) == len(changed)
    assert {name for name, variant in changed.items() if variant.degradation != recipe.degradation} == {
        "no degradation",
        "degradation of a mixed archive",
    }
    assert [name for name, variant in changed.items() if variant.generator.head == "ab"] == ["regression alone"]
    assert [name for name, variant in changed.items() if variant.stages[0].trains == BOTH] == [
        "an adversary from the start"
    ]
    for variant in changed.values():  # the generator sees as many photographs
        steps = [stage.epochs * stage.steps_per_epoch for stage in variant.stages if stage.trains != DISCRIMINATOR]
        assert sum(steps) == recipe.stages[0].epochs * recipe.stages[0].steps_per_epoch


def test_choices_are_trained_once_and_measured_beside_each_other(tmp_path, monkeypatch, capsys):
    training.write_photographs(tmp_path / "shards", 20, 3)
    small = dataclasses.replace(presets.preset("smoke"), stages=presets.preset("smoke").stages[1:])
    monkeypatch.setattr(choices.presets, "preset", lambda _: small)
    monkeypatch.setattr(choices, "VARIANTS", {"one": lambda recipe: recipe, "two, three": lambda recipe: recipe})
    settings = choices.BenchmarkSettings(data=str(tmp_path / "shards"), output=str(tmp_path / "out"), photographs=8)
    for only, trained in ((("one",), ["one"]), ((), ["two, three"])):
        assert choices.benchmark(dataclasses.replace(settings, only=only)) == 0
        told = capsys.readouterr().out.splitlines()
        assert [line.removeprefix("training: ") for line in told if line.startswith("training: ")] == trained
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told if line.startswith("│")]
    assert [name for name, *_ in rows] == ["one", "two, three"]
    assert rows[0][2:] == rows[1][2:], "the same recipe sees the same photographs in the same order"
    assert 10 < float(rows[0][2]) < 40 and (tmp_path / "out" / "two-three" / "bundle.json").exists()


def test_a_choice_that_there_is_none_of_is_named(tmp_path):
    settings = choices.BenchmarkSettings(
        data=str(tmp_path), output=str(tmp_path / "out"), only=("no degradation", "no degradatoin")
    )
    with pytest.raises(SettingsError, match=r"^no variant is called 'no degradatoin'; there are: as it is, "):
        choices.benchmark(settings)
    assert not (tmp_path / "out").exists()


def test_an_archive_of_sizes_that_take_turns(tmp_path):
    write_archive(tmp_path / "in", 3 * (DISTINCT + 2), [0.01, 0.03, 0.01])
    files = sorted((tmp_path / "in").iterdir())
    sizes = [simplejpeg.decode_jpeg_header(path.read_bytes())[:2] for path in files]
    assert sizes == sizes[:3] * (DISTINCT + 2) and sizes[0] == sizes[2] != sizes[1]
    assert all(
        abs(height * width / area - 1) < 0.03 for (height, width), area in zip(sizes[:2], (1e4, 3e4), strict=True)
    )
    assert len({path.read_bytes() for path in files}) == 2 * DISTINCT


def test_figures_of_a_run():
    """Two processes that finish a scan a second each, from the times 10 and 14 on; blocks of two."""
    calls = [Call(process, end - 2, end, 2, 0.5 * end, 100 + end) for process, end in
             ((1, 12), (1, 14), (2, 16), (1, 16), (2, 18), (1, 18), (1, 20), (2, 20), (2, 22))]  # fmt: skip
    finished_at = [float(moment) for call in calls for moment in (call.end - 1, call.end)]
    samples = [Sample(moment, {1: moment, 2: moment, 3: 5 + moment / 10}, 1000) for moment in range(10, 24)]
    run = Run(5.0, 25.0, calls, finished_at, samples)
    assert run.window == (16, 20)
    assert run.rate == pytest.approx(2)
    assert run.scan_cpu == pytest.approx(0.5)
    assert run.overhead_cpu == pytest.approx(0.1)
    assert run.start_seconds == 5
    assert (run.worker_peak, run.store_peak) == (122, 1000)
    assert math.isnan(Run(5.0, 25.0, calls[:1], finished_at, samples).rate)


def test_an_observed_worker_writes_down_its_calls_and_waits_for_far_storage(tmp_path, monkeypatch):
    calls, latency = tmp_path / "calls", 0.2
    calls.mkdir()
    monkeypatch.setenv(CALLS, str(calls))
    monkeypatch.setenv(LATENCY, str(latency))
    write_archive(tmp_path / "in", 2, [0.01])
    task = ColorizeTask(
        output=str(tmp_path / "out"),
        model=str(tmp_path / "bundle"),
        bundle_digest=write_bundle(tmp_path / "bundle"),
        render=RenderSettings(size=IMAGE_SIZE),
    )
    worker = Observed(task)
    scans = inventory.read_inventory(str(tmp_path / "in"))
    rows = pa.concat_tables([worker(scans), worker(scans)])
    assert Counter(rows["status"].to_pylist()) == {"done": 4}
    assert all(seconds > latency for name in ("fetch", "store") for seconds in rows[f"{name}_seconds"].to_pylist())
    first, second = read_calls(calls)
    assert first.rows == second.rows == 2
    assert first.end - first.begin > 3 * latency  # the ledger's part too
    assert first.end <= second.begin and first.cpu < second.cpu and first.peak <= second.peak


@pytest.mark.long
@pytest.mark.parametrize("options", [["--scans", "36", "--latency-ms", "20"], ["--scans", "12", "--mixed"]])
def test_a_small_run_of_the_benchmark(options):
    command = [sys.executable, "-m", "benchmarks.job", "--megapixels", "0.1", "--workers", "2"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=280, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert ("job / pool" if "--mixed" not in options else "object store peak") in done.stdout


# --- of training ------------------------------------------------------------------------------------------------------


def tiny_recipe(**changes):
    (stage,) = (stage for stage in presets.preset("smoke").stages if stage.trains == BOTH)
    changes = {"precision": "float32", "stages": (dataclasses.replace(stage, epochs=2, steps_per_epoch=3),)} | changes
    return dataclasses.replace(presets.preset("smoke"), **changes)


def test_made_up_photographs_have_colour_to_learn_from_and_are_read_as_any_shards(tmp_path):
    training.write_photographs(tmp_path / "shards", 9, 2)
    found = collection.find(str(tmp_path / "shards"))
    assert (sum(shard.rows for shard in found.train), sum(shard.rows for shard in found.held_out)) == (9, 2)
    training.decode_photographs(tmp_path / "shards", tmp_path / "memory.npy", 32)
    rows = np.load(tmp_path / "memory.npy")
    assert rows.shape == (training.IN_MEMORY * GROUP, 32, 32, 3) and rows.dtype == np.uint8
    pixels = torch.from_numpy(rows[:50]).permute(0, 3, 1, 2)
    assert not is_nearly_gray(lab.unscale_ab(lab.split_scaled(pixels)[1])).any()
    sizes = [len(image) for image in pq.read_table(tmp_path / "shards" / "val-0.parquet")["image"].to_pylist()]
    assert min(sizes) > 10_000  # noise-free pictures of this size have far less, and cost less to decode


def test_figures_of_a_training_run_leave_out_the_first_epoch():
    """Epochs of 100 photographs: two after the first, of 4 and 6 seconds of steps, within 12.5 seconds."""
    epochs = [
        {"seconds": 50.0, "waiting_for_data": 0.9, "finished": 100.0},
        {"seconds": 4.0, "waiting_for_data": 0.25, "finished": 106.0},
        {"seconds": 6.0, "waiting_for_data": 0.0, "finished": 112.5},
    ]
    samples = [Sample(moment, {1: moment, 2: 7 + moment / 4}, 0) for moment in range(95, 116)]
    run = training.Run(epochs, 100, samples)
    assert run.step_rate == pytest.approx(20) and run.whole_rate == pytest.approx(16)
    assert run.outside == pytest.approx(0.2) and run.waiting == pytest.approx(0.1)
    assert run.cpu == pytest.approx(1.25 / 16)
    assert math.isnan(training.Run(epochs, 100, samples[:6]).cpu)


def test_the_plain_loop_notes_its_epochs_as_the_job_does(tmp_path):
    recipe = tiny_recipe(degradation=DEGRADATIONS["archive"])
    np.save(tmp_path / "memory.npy", np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8))
    threads = torch.get_num_threads()
    try:
        place = training.Place(recipe, tmp_path, tmp_path / "memory.npy", tmp_path, workers=1, cpus=1.4, gpu=False)
        training.plain_worker(0, place)
        assert torch.get_num_threads() == place.threads == 1
    finally:
        torch.set_num_threads(threads)
    first, second = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert 0 < second["seconds"] <= second["finished"] - first["finished"] + 0.1


def test_the_steps_that_are_compared_differ_in_precision_and_layout_only(monkeypatch):
    gans = []

    def noted(*arguments, **options) -> GanModule:
        gans.append(build_gan(*arguments, **options))
        return gans[-1]

    monkeypatch.setattr(training, "build_gan", noted)
    steps = [training.step_on_one_core(tiny_recipe(precision="bfloat16"), fast=fast) for fast in (True, False)]
    fast, naive = gans
    assert fast.low_precision and not naive.low_precision
    layouts = [torch.channels_last, torch.contiguous_format]
    for gan, layout in zip(gans, layouts, strict=True):
        weights = [weight for weight in gan.generator.parameters() if weight.ndim == 4]
        assert all(weight.is_contiguous(memory_format=layout) for weight in weights)
    assert all(map(torch.equal, fast.generator.parameters(), naive.generator.parameters()))
    assert {training._seconds(step) > 0 for step in steps} == {True}
    assert fast.steps == naive.steps == 1


def test_what_is_measured_on_one_core_is_the_adversarial_stage_of_presets():
    for recipe in training.one_core_recipes().values():
        (stage,) = recipe.stages
        assert stage.trains == BOTH and recipe.generator.encoder_weights == "none"
        assert (stage.image_size, stage.batch_size) == (training.ONE_CORE_SIZE, training.ONE_CORE_BATCH)


def test_ratios_are_of_neighbours(tmp_path, monkeypatch):
    """The machine is twice as slow in the second round; the jobs take 5/4 and 10/9, or 1 and 4/5 of the loop's time."""
    ways = itertools.cycle([training._plain, training._job, training._local])
    turns = iter([8.0, 10.0, 8.0, 18.0, 20.0, 22.5])

    def run(main, place):
        took = next(turns)
        assert main is next(ways)
        epochs = [{"seconds": took, "finished": took * number} for number in (1, 2)]
        return training.Run(epochs, 10, [Sample(float(second), {1: second / 2}, 0) for second in range(41)])

    monkeypatch.setattr(training, "_run", run)
    settings = training.TrainingBenchmarkSettings(rounds=2, photographs=5, workers=2, repeat=0)
    console = Console(file=io.StringIO(), width=120)
    training._compare_runs(settings, tmp_path, console)
    told = console.file.getvalue()
    assert "jobs.train / plain loop, in the steps: 0.850 (0.800, 0.900)" in told
    assert "jobs.train / plain loop, with all between them: 0.850 (0.800, 0.900)" in told
    assert "train-local / plain loop, in the steps: 0.900 (1.000, 0.800)" in told


# --- hints ------------------------------------------------------------------------------------------------------------


def test_a_hint_is_measured_at_its_place_on_its_thing_and_elsewhere():
    """A generator that paints what it is told, where it is told; what it does not know is spread along L*."""
    colorizer = Colorizer(hinted.echo(64))
    scene = next(shapes.generate(1, size=hints.SIZE, seed=1))
    at_hint, on_shape, without, elsewhere = hints._scene(colorizer, scene, (40.0, 30.0))
    assert at_hint < 1 and without == pytest.approx(50, abs=1)
    assert at_hint < on_shape < without and elsewhere < 1


def test_hints_on_photographs_are_measured_by_distance():
    """A photograph of one colour, in two halves of other L*: near the hint all is known, across the edge nothing."""
    halves = lab.lab_to_rgb(torch.tensor([[40.0, 30, 20], [65.0, 30, 20]]).T.reshape(3, 1, 2))
    photograph = (255 * halves.permute(1, 2, 0)).round().byte().numpy().repeat(hints.SIZE // 2, axis=1)
    photograph = photograph.repeat(hints.SIZE, axis=0)
    rings = hints._photograph(Colorizer(hinted.echo(64)), photograph, seed=0)
    assert [before for before, _ in rings] == pytest.approx([math.hypot(30, 20)] * len(rings), abs=1)
    assert rings[0][1] < 2 and rings[0][1] <= rings[-1][1] <= rings[-1][0] + 0.5
