"""The benchmark of the archive job: its archive, its figures, and, as a long test, a small run of it."""

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import simplejpeg

from colornet import storage
from colornet.archive import inventory, stages
from colornet.render import RenderSettings
from jobs.benchmarks.archive import DISTINCT, IMAGE_SIZE, write_archive, write_bundle
from jobs.benchmarks.job import Run, Sample
from jobs.benchmarks.observed import CALLS, LATENCY, Call, Observed, read_calls


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
    for name in ("read", "write"):  # put back what the worker changes
        monkeypatch.setattr(storage, name, getattr(storage, name))
    write_archive(tmp_path / "in", 2, [0.01])
    work = stages.Work(
        output=str(tmp_path / "out"),
        model=str(tmp_path / "bundle"),
        bundle_digest=write_bundle(tmp_path / "bundle"),
        render=RenderSettings(size=IMAGE_SIZE),
    )
    worker = Observed(work)
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
    command = [sys.executable, "-m", "jobs.benchmarks.job", "--megapixels", "0.1", "--workers", "2"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=280, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == 0, done.stderr
    assert ("job / pool" if "--mixed" not in options else "object store peak") in done.stdout
