"""The jobs do all their work without what is private of Ray, or will end; and under another package's name."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.without_ray_apis.sitecustomize import APIS

ROOT = Path(__file__).parents[1]


JOBS = ("prepare", "train", "evaluate", "colorize")


def run(
    folder: Path, without: tuple[str, ...] = (), package: str = "jobs", jobs: tuple[str, ...] = JOBS
) -> dict[str, Any]:
    """Run the smoke of jobs, in processes to which these APIs are not there; returns what came of it."""
    folder.mkdir()
    paths = [str(ROOT / "tests" / "without_ray_apis"), str(folder.parent)]
    environment = {"COLORNET_TEST_WITHOUT": ",".join(without), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tests.smoke", package, str(folder), *jobs]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0 and "\nTraceback" not in done.stderr, done.stderr  # those of Ray have a prefix
    assert "3 done, 0 failed" in done.stdout
    made = [*(folder / "shards").glob("*.parquet"), folder / "model" / "generator.safetensors"]
    made += (folder / "colour").glob("*.*")
    assert len(made) == 7
    found: dict[str, Any] = {str(path.relative_to(folder)): path.read_bytes() for path in made}
    if "evaluate" in jobs:  # its rows name the folder
        found["evaluation"] = pq.read_table(folder / "results" / "evaluation.parquet").drop_columns("uri").to_pylist()
    return found


def test_without_all_of_them_the_jobs_do_their_work(tmp_path):
    run(tmp_path / "jobs", without=APIS, jobs=("prepare", "train", "colorize"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_what_comes_of_it_is_the_same_without_each_of_them_and_under_another_name(tmp_path):
    expected = run(tmp_path / "all")
    for api in APIS:
        assert run(tmp_path / api, without=(api,)) == expected, api
    (tmp_path / "colornet_jobs").symlink_to(ROOT / "jobs")
    assert run(tmp_path / "renamed", package="colornet_jobs") == expected
