"""jobs.colorize on a real Ray: both layouts, reruns, poison, S3, and the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
import torch

from colornet.archive import ledger
from colornet.archive.selection import Selection
from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker
from colornet.errors import ColornetError, SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage, uris
from jobs.colorize import colorize
from jobs.colorizing import workers
from jobs.colorizing.predictors import Predictors
from jobs.colorizing.settings import ColorizeSettings, PlanSettings
from tests import pictures

storage = Storage()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    place = str(tmp_path_factory.mktemp("bundle"))
    settings = {"width": 2}
    bundles.save(
        Bundle(generator=build_generator("unet", settings), network="unet", settings=settings, image_size=32), place
    )
    return place


def write_scans(folder: str, count: int) -> None:
    for index in range(count):
        format = ("JPEG", "PNG", "TIFF")[index % 3]
        data = pictures.encoded(pictures.gray(30 + index, 50, index), format)
        storage.write(uris.join(folder, f"box {index % 4}", f"{index:03}.{format.lower()}"), data)


def rows_of(output: str) -> pa.Table:
    return ledger.read(output).sort_by("source_uri")


def settings(source: str, output: str, model: str, **options) -> ColorizeSettings:
    """One worker, unless asked: each takes seconds to import PyTorch."""
    return ColorizeSettings(input=source, output=output, model=model, **{"max_workers": 1, **options})


def pictures_in(output: str) -> dict[str, bytes]:
    finished = (item for item in storage.listing(output) if not item.key.startswith("_colornet"))
    return {item.key: storage.read(item.uri).data for item in finished}


def test_predictors_elsewhere_agree_every_scan_has_one_row_and_prometheus_is_told(ray_local, tmp_path, model):
    source = str(tmp_path / "in")
    write_scans(source, 20)
    storage.write(uris.join(source, "broken.jpg"), b"\xff\xd8\xff\xe0 nothing more")
    written = {}
    for predictors in (0, 1):
        output = str(tmp_path / f"{predictors} predictors")
        assert colorize(settings(source, output, model, predictors=predictors, max_workers=2)) == 0
        assert Counter(rows_of(output)["status"].to_pylist()) == {"done": 20, "failed": 1}
        written[predictors] = pictures_in(output)
        summary = json.loads((Path(output) / "_colornet" / "summary.json").read_text())
        assert (summary["done"], summary["failed"], summary["scans"]) == (20, 1, 21)
    wait_for_all_cores()
    assert len(written[0]) == 20
    assert written[0] == written[1]
    told = exported(str(tmp_path / "0 predictors"), 21)
    assert (told['status="done"'], told['status="failed"']) == (20, 1)
    assert told['direction="read"'] == sum(item.size for item in storage.listing(source))
    assert told['direction="written"'] == sum(len(data) for data in written[0].values())
    assert all(told[f'step="{step}"'] > 0 for step in ledger.STEPS)


def wait_for_all_cores() -> None:
    """Wait until the job that ended has given back what it had of this Ray, as it must before another can begin."""
    limit = time.monotonic() + 30
    while (free := ray.available_resources().get("CPU")) != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < limit, f"only {free} cores are free again"
        time.sleep(0.1)


def exported(output: str, scans: int) -> Counter[str]:
    """What Prometheus finds of the job with this output, once Ray has passed all on, by the tag that tells it apart."""
    url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    limit = time.monotonic() + 30
    found: Counter[str] = Counter()
    while found['status="done"'] + found['status="failed"'] < scans and time.monotonic() < limit:
        found.clear()
        for line in urllib.request.urlopen(url, timeout=10).read().decode().splitlines():
            tag = re.search(r'(?:status|direction|step)="\w+"', line)
            if line.startswith("ray_colornet_") and f'output="{output}"' in line and tag:
                found[tag[0]] += float(line.rpartition(" ")[2])
        time.sleep(0.5)
    return found


def test_a_rerun_does_only_what_is_not_finished(ray_local, tmp_path, model):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 6)
    storage.write(uris.join(source, "broken.jpg"), b"\xff\xd8\xff\xe0 nothing more")
    colorize(settings(source, output, model))
    first = rows_of(output)
    write_scans(source, 8)  # two more; the six get the same bytes, but as new versions
    changed = first.num_rows + 8 + 1
    colorize(settings(source, output, model))
    assert rows_of(output).num_rows == changed
    colorize(settings(source, output, model))
    assert rows_of(output).num_rows == changed + 1  # the broken one is tried again
    colorize(settings(source, output, model, retry_failed=False))
    assert rows_of(output).num_rows == changed + 1
    colorize(settings(source, output, model, render=RenderSettings(quality=80), replace=True))
    assert rows_of(output).num_rows == changed + 1 + 9  # other settings: another run


def test_failures_change_the_exit_code_if_asked(ray_local, tmp_path, model):
    source = str(tmp_path / "in")
    storage.write(uris.join(source, "broken.jpg"), b"")
    assert colorize(settings(source, str(tmp_path / "out"), model, fail_on_errors=True)) == 3


def test_a_part_of_the_archive_is_planned_done_and_gone_on_with(ray_local, tmp_path, capsys):
    """With the bundle that comes with Colornet, as a user begins who has none; and a copy of it is no other."""
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 12)
    part = {"select": Selection(include=("*.png", "*.tiff"), limit=5)}
    places = {"input": source, "output": output, "max_workers": 1}
    assert colorize(ColorizeSettings(**places, reckoning=PlanSettings(plan=True, nodes=3), **part)) == 0
    said = capsys.readouterr().out
    assert "5 scans" in said and "to do: 5 scans" in said and "3 nodes" in said
    assert not Path(output).exists()
    assert colorize(ColorizeSettings(**places, **part)) == 0
    assert set(pictures_in(output)) < {f"box {i % 4}/{i:03}.{('jpeg', 'png', 'tiff')[i % 3]}" for i in range(12)}
    assert len(pictures_in(output)) == 5
    summary = json.loads((Path(output) / "_colornet" / "summary.json").read_text())
    assert summary["model"] == "shipped://default"
    copy = shutil.copytree(Path(bundles.__file__).parents[1] / "shipped", tmp_path / "copy")
    assert colorize(settings(source, output, str(copy))) == 0
    assert len(pictures_in(output)) == 12
    assert rows_of(output).num_rows == 12  # the five were not done again
    assert {*rows_of(output)["bundle_digest"].to_pylist(), summary["bundle_digest"]} == {bundles.load(str(copy)).digest}


def test_predictors_that_cannot_start_end_the_job_and_not_every_scan(ray_local, tmp_path, model):
    task = ColorizeTask(output=str(tmp_path), model=model, bundle_digest="another", render=RenderSettings(size=32))
    with pytest.raises(ColornetError, match=r"no predictor can start: .*exchanged"):
        Predictors(task, settings("in", "out", model, predictors=1))
    with pytest.raises(ColornetError, match="4 predictors leave no core"):
        Predictors(task, settings("in", "out", model, predictors=4))


class PoisonedColorize(ColorizeWorker):
    """Dies of one scan as a decoder that corrupts memory would: the whole process, without a word."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        if pc.any(pc.match_substring(batch["key"], "poison")).as_py():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def test_a_scan_that_kills_its_worker_is_given_up_and_the_rest_is_done(ray_local, tmp_path, model, monkeypatch, caplog):
    monkeypatch.setattr(workers, "ColorizeWorker", PoisonedColorize)
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 20)
    storage.write(uris.join(source, "box 1", "poison.jpg"), pictures.encoded(pictures.gray(20, 20), "JPEG"))
    assert colorize(settings(source, output, model)) == 0
    rows = rows_of(output)
    assert Counter(rows["status"].to_pylist()) == {"done": 20, "failed": 1}
    failed = rows.filter(pc.field("status") == "failed").to_pylist()[0]
    assert "poison" in failed["source_uri"] and "worker process died" in failed["reason"]
    assert [record for record in caplog.records if record.exc_info]  # of Ray's; it holds handles of the workers
    wait_for_all_cores()


def test_from_s3_to_s3_with_logs_that_name_the_scan(s3, model):
    """In a process of its own: this one's Ray has started before the fixture set the environment."""
    source, output = f"{s3}/scans", f"{s3}/colour"
    write_scans(source, 3)
    storage.write(f"{source}/broken.jpg", b"nothing")
    places = ["--input", source, "--output", output, "--model", model]
    pool = ["--max-workers", "1", "--predictors", "1"]
    command = [sys.executable, "-m", "jobs.colorize", *places, *pool, "--log-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "3 done, 1 failed" in done.stdout
    assert "leaked" not in done.stderr  # as DuckDB says at the very end if Ray keeps it alive
    assert len(pictures_in(output)) == 3
    assert rows_of(output)["output_uri"].to_pylist()[0].startswith(f"{output}/box 0/")
    objects = [json.loads(line[line.index("{") :]) for line in done.stderr.splitlines() if "source_uri" in line]
    told = [(each["source_uri"], each["status"], each["levelname"]) for each in objects]
    assert told == [(f"{source}/broken.jpg", "failed", "INFO")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"source": "{tmp}/nowhere"}, "no archive at"),
        ({"source": "ftp://host/x"}, "unknown scheme"),
        ({"output": "{tmp}/in/out"}, "must lie apart"),
        ({"output": "{tmp}"}, "must lie apart"),
        ({"model": "{tmp}/nobundle"}, "not a model bundle"),
    ],
)
def test_what_is_wrong_is_named_before_ray_starts(tmp_path, model, changed, words):
    write_scans(str(tmp_path / "in"), 1)
    places = {"source": str(tmp_path / "in"), "output": str(tmp_path / "out"), "model": model}
    places |= {name: value.format(tmp=tmp_path) for name, value in changed.items()}
    with pytest.raises(ColornetError, match=words):
        colorize(settings(**places))
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--model", "nobundle"], "not a model bundle"), (["--quality", "900"], "quality"), (["--limit", "few"], "limit")],
)
def test_on_the_command_line_it_is_one_line_and_exit_code_2(tmp_path, model, options, words):
    write_scans(str(tmp_path / "in"), 1)
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--model", model]
    command = [sys.executable, "-m", "jobs.colorize", *places, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu_share": 2.0},
        {"min_workers": 0},
        {"max_attempts": 0},
        {"predictors": -1},
        {"min_workers": 3, "max_workers": 2},
        {"log_format": "xml"},
        {"max_attempts": "3"},
    ],
)
def test_settings_that_cannot_be_are_named(wrong):
    with pytest.raises(SettingsError, match=list(wrong)[-1]):
        settings("in", "out", "model", **wrong)


def test_help_teaches_and_says_nothing_else():
    done = subprocess.run([sys.executable, "-m", "jobs.colorize", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert "Exit codes" in done.stdout and "--plan" in done.stdout and "--storage-class" in done.stdout
