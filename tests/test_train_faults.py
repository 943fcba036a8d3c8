"""jobs.train under faults: storage fails, and a list of checkpoints is torn; afterwards nothing is lost."""

import dataclasses
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from colornet import bundle as bundles
from colornet import storage
from colornet.errors import TrainingError
from jobs.train import train
from jobs.training.run import WholeFiles
from tests.faulty_s3 import Request, running_proxy
from tests.s3 import S3Server
from tests.test_train import noise, settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

PATIENCE = 300
"""Seconds that anything may take."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """40 photographs to train on, 6 held out."""
    folder = tmp_path_factory.mktemp("shards")
    images = [noise(seed) for seed in range(46)]
    pq.write_table(pa.table({"image": images[:40]}), folder / "train-0.parquet", row_group_size=10)
    pq.write_table(pa.table({"image": images[40:]}), folder / "val-0.parquet")
    return folder


@dataclass(frozen=True)
class Job:
    """The command line of a run of the smoke recipe, which is started as often as it takes."""

    data: str
    output: str
    logs: Path
    options: tuple[str, ...] = ()

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        places = ["--data", self.data, "--output", self.output, "--recipe", "smoke"]
        command = [sys.executable, "-m", "jobs.train", *places, *self.options]
        log = (self.logs / f"job-{time.monotonic_ns()}.log").open("w+")
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, env={**os.environ, **environment})

    def run(self, **environment: str) -> int:
        return self.start(**environment).wait(PATIENCE)

    def said(self) -> str:
        """What the job has printed, in its last start."""
        return max(self.logs.glob("job-*.log"), key=lambda path: int(path.stem[4:])).read_text()


# --- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_job(s3, shards, tmp_path) -> Job:
    for file in shards.iterdir():
        storage.write(f"{s3}/shards/{file.name}", file.read_bytes())
    options = ("--s3.read-timeout", "3", "--s3.acl", "private")
    return Job(f"{s3}/shards", f"{s3}/model", tmp_path, options)


def is_checkpoint(request: Request) -> bool:
    return request.method == "PUT" and request.key.endswith("/training.pt")


def test_a_checkpoint_that_cannot_be_uploaded_is_no_success(s3_job, s3_server: S3Server, monkeypatch):
    job = dataclasses.replace(s3_job, options=(*s3_job.options, "--max-failures", "0"))
    with running_proxy(s3_server.endpoint) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(proxy, "draw", lambda request: "deny" if is_checkpoint(request) else "")
            assert job.run(AWS_ENDPOINT_URL=proxy.endpoint) == 1
        errors = [line for line in job.said().splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "training.pt" in errors[0] and "AccessDenied" in errors[0]
        assert "Traceback" not in job.said()
        assert not storage.exists(f"{job.output}/bundle.json")
        assert job.run(AWS_ENDPOINT_URL=proxy.endpoint) == 0, job.said()
    assert bundles.load(job.output).metrics["epoch"] == 3


# --- Ray Train's own notes --------------------------------------------------------------------------------------------


def test_a_list_of_checkpoints_is_replaced_as_a_whole(tmp_path):
    place = tmp_path / "list.json"
    place.write_text("before")
    filesystem = pickle.loads(pickle.dumps(WholeFiles()))
    with filesystem.open_output_stream(str(place)) as file:
        file.write(b"after")
        assert place.read_text() == "before"
    assert place.read_text() == "after"


def test_a_list_of_checkpoints_that_is_broken_is_one_clear_error(shards, tmp_path):
    run = tmp_path / "_training" / "smoke"
    run.mkdir(parents=True)
    (run / "checkpoint_manager_snapshot.json").write_text("")
    with pytest.raises(TrainingError, match=r"_training/smoke: its checkpoints cannot be read"):
        train(settings(shards, tmp_path))
    assert not ray.is_initialized()
