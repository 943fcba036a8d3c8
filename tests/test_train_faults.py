"""jobs.train under faults: nodes come and go, the driver is killed, storage fails; afterwards nothing is lost."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.cluster_utils

from colornet.errors import TrainingError
from colornet.inference import bundle as bundles
from colornet.storage import Storage
from jobs.train import train
from jobs.training.run import WholeFiles
from tests.faulty_s3 import Request, running_proxy
from tests.noise_shards import noise
from tests.s3 import S3Server
from tests.test_train import history, settings, timeless

storage = Storage()

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

    def wait_until(self, happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
        limit = time.monotonic() + PATIENCE
        while not happened():
            assert process.poll() is None, self.said()
            assert time.monotonic() < limit, self.said()
            time.sleep(0.1)


def epochs_with(workers: int, output: Path) -> int:
    """How many epochs have been trained so, as the report has it now."""
    measured = history(output) if (output / "report" / "metrics.json").exists() else []
    return sum(each["workers"] == workers for each in measured)


# --- nodes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch) -> Iterator[ray.cluster_utils.Cluster]:
    """A cluster of one node, with room for one worker and, strictly speaking, for no reader of photographs."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


@pytest.mark.long
def test_a_run_takes_the_workers_that_there_are(cluster, shards, tmp_path):
    """One worker while there is one node, two when another joins, one again when that is lost."""
    output, epochs = tmp_path / "model", 40
    elastic = ("--num-workers", "2", "--min-workers", "1", "--resize-every", "2")
    longer = ("--stages.1.epochs", str(epochs - 1), "--stages.1.steps-per-epoch", "60", "--stages.1.decay", "0")
    job = Job(str(shards), str(output), tmp_path, (*elastic, *longer, "--stages.1.batch-size", "3"))
    process = job.start(RAY_ADDRESS=cluster.address)
    job.wait_until(lambda: epochs_with(1, output) >= 2, process)
    node = cluster.add_node(num_cpus=1)
    job.wait_until(lambda: epochs_with(2, output) >= 3, process)
    cluster.remove_node(node, allow_graceful=False)
    assert process.wait(PATIENCE) == 0, job.said()

    measured = history(output)
    assert [each["epoch"] for each in measured] == list(range(1, epochs + 1))
    workers = [each["workers"] for each in measured]
    first, last = workers.index(2), epochs - workers[::-1].index(2)
    assert workers == [1] * first + [2] * (last - first) + [1] * (epochs - last) and 2 <= first < last < epochs
    # Three photographs a step on one worker; on two of them four, because each takes two.
    gan = measured[1:]
    rate = gan[0]["generator_learning_rate"]
    assert [each["generator_learning_rate"] / rate for each in gan] == pytest.approx(
        [1 if each["workers"] == 1 else 4 / 3 for each in gan]
    )
    for each in gan:
        photographs = each["photographs_per_second"] * each["seconds"]
        assert photographs == pytest.approx(60 * (3 if each["workers"] == 1 else 4))
    assert_little_was_repeated(job.said(), epochs)
    assert bundles.load(str(output)).metrics == measured[-1]


def assert_little_was_repeated(said: str, epochs: int) -> None:
    """Demand that each start went on from a checkpoint that lay at most two epochs back: one was being uploaded."""
    done, starts = 0, 0
    for line in said.splitlines():
        if line.startswith("going on after epoch "):
            after = int(line.split()[4].rstrip(","))
            assert done - 2 <= after <= done, said
            done, starts = after, starts + 1
        elif line.startswith("epoch "):
            done = int(line.split()[1].partition("/")[0])
    assert (done, starts) == (epochs, 2), said


# --- the driver -------------------------------------------------------------------------------------------------------

LONGER = ("--num-workers", "2", "--stages.1.epochs", "8", "--stages.1.steps-per-epoch", "30")
RANDOM = ("--degradation.grain", "0.05", "--ema-decay", "0.9")


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory) -> Path:
    """The output of a run on two workers that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = Job(str(shards), str(folder / "model"), folder, (*LONGER, *RANDOM))
    assert job.run() == 0, job.said()
    return folder / "model"


@pytest.mark.parametrize(
    ("ending", "code"), [(signal.SIGKILL, -9), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_run_goes_on_as_if_its_driver_had_not_ended(undisturbed, shards, tmp_path, ending, code):
    output = tmp_path / "model"
    job = Job(str(shards), str(output), tmp_path, (*LONGER, *RANDOM))
    process = job.start()
    job.wait_until(lambda: epochs_with(2, output) >= 3, process)
    process.send_signal(ending)
    assert process.wait(PATIENCE) == code, job.said()
    assert not (output / "bundle.json").exists() and "Traceback" not in job.said()
    assert job.run() == 0, job.said()
    assert "going on after epoch " in job.said() and "going on after epoch 0" not in job.said()
    assert list(map(timeless, history(output))) == list(map(timeless, history(undisturbed)))
    weights = "generator.safetensors"
    assert (output / weights).read_bytes() == (undisturbed / weights).read_bytes()


# --- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_job(s3, shards, tmp_path) -> Job:
    for file in shards.iterdir():
        storage.write(f"{s3}/shards/{file.name}", file.read_bytes())
    options = ("--s3.read-timeout", "3", "--s3.acl", "private")
    return Job(f"{s3}/shards", f"{s3}/model", tmp_path, options)


@pytest.mark.long
def test_s3_with_faults_in_a_tenth_of_all_requests(s3_job, s3_server: S3Server):
    with running_proxy(s3_server.endpoint, rate=0.1, seed=5) as proxy:
        for _ in range(4):
            code = s3_job.run(AWS_ENDPOINT_URL=proxy.endpoint)
            if code == 0:
                break
            assert "Traceback" not in s3_job.said()
            assert [line for line in s3_job.said().splitlines() if line.startswith("error: ")], s3_job.said()
        assert sum(proxy.injected.values()) > 20
    assert code == 0, s3_job.said()
    measured = json.loads(storage.read(f"{s3_job.output}/report/metrics.json").data)
    assert [each["epoch"] for each in measured] == [1, 2, 3]
    assert bundles.load(s3_job.output).metrics == measured[-1]
    checkpoints = list(filter(is_checkpoint, proxy.requests))
    assert len(checkpoints) >= 3
    assert {each.headers.get("x-amz-acl") for each in checkpoints} == {"private"}  # the workers know it too


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
