"""jobs.colorize under faults: processes, nodes and storage fail while it runs, and after a rerun nothing is lost.

Every test ends with the same demands: the ledger's own invariants hold (`audit`), every scan is done, and the outputs
are, byte for byte, those of a run that nothing disturbed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest
import ray.cluster_utils
import torch

from colornet.archive import inventory, ledger
from colornet.archive.audit import audit
from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage, uris
from tests import pictures, processes
from tests.faulty_s3 import FaultyProxy, running_proxy
from tests.ledgers import current_rows
from tests.s3 import S3Server

storage = Storage()

pytestmark = pytest.mark.faults

SCANS = 120
SIZE = 32
START_SECONDS = 120


@dataclass(frozen=True)
class Undisturbed:
    """An archive, and what becomes of it if nothing happens."""

    scans: dict[str, bytes]
    model: str
    task: ColorizeTask
    outputs: dict[str, bytes]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    scans = {f"box {index % 5}/{index:03}.png": encoded(index) for index in range(SCANS)}
    write(scans, str(folder / "in"))
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 2})
    bundle = Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=SIZE)
    model = str(folder / "bundle")
    digest = bundles.save(bundle, model)
    task = ColorizeTask(output=str(folder / "out"), model=model, bundle_digest=digest, render=RenderSettings(size=SIZE))
    ColorizeWorker(task)(inventory.read_inventory(str(folder / "in")))
    return Undisturbed(scans, model, task, outputs_in(task.output))


def encoded(index: int) -> bytes:
    """A scan that takes tens of milliseconds, so that there is time for something to happen."""
    return pictures.encoded(pictures.gray(600, 800, index % 9), "PNG")


def write(scans: dict[str, bytes], folder: str) -> str:
    for key, data in scans.items():
        storage.write(uris.join(folder, key), data)
    return folder


def outputs_in(output: str) -> dict[str, bytes]:
    finished = (item for item in storage.listing(output) if not item.key.startswith("_colornet"))
    return {item.key: storage.read(item.uri).data for item in finished}


@dataclass(frozen=True)
class Job:
    """The command line of a job, which is started as often as it takes."""

    source: str
    output: str
    expected: Undisturbed
    folder: Path

    def start(self, *options: str, **environment: str) -> "subprocess.Popen[str]":
        places = ["--input", self.source, "--output", self.output, "--model", self.expected.model]
        command = [sys.executable, "-m", "jobs.colorize", *places, *options]
        log = (self.folder / f"job-{time.monotonic_ns()}.log").open("w+")
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, env={**os.environ, **environment})

    def run(self, *options: str, **environment: str) -> int:
        return self.start(*options, **environment).wait(START_SECONDS + 120)

    def said(self) -> str:
        """What the job has printed, in its last start."""
        return max(self.folder.glob("job-*.log"), key=lambda path: int(path.stem[4:])).read_text()

    def wait_for_rows(self, process: "subprocess.Popen[str]", count: int = 1) -> None:
        limit = time.monotonic() + START_SECONDS
        while ledger.read(self.output).num_rows < count:
            assert process.poll() is None, self.said()
            assert time.monotonic() < limit, self.said()
            time.sleep(0.1)

    def check(self) -> None:
        """Demand that everything is there, once, and right."""
        scans = self.folder / "inventory.parquet"
        inventory.write_inventory(self.source, scans)
        run = self.expected.task.run
        assert audit(self.output, run, scans) == []
        now = current_rows(self.output, run)
        assert now["status"].to_pylist() == ["done"] * SCANS
        assert outputs_in(self.output) == self.expected.outputs


@pytest.fixture
def job(tmp_path, undisturbed) -> Job:
    return Job(write(undisturbed.scans, str(tmp_path / "in")), str(tmp_path / "out"), undisturbed, tmp_path)


# --- processes and nodes ---------------------------------------------------------------------------------------------


def kill_the_driver(job: Job, rounds: int) -> None:
    moments = random.Random(rounds)
    for _ in range(rounds):
        process = job.start()
        # At any moment: while it plans, while Ray starts, while it works, and at times when it has just ended.
        with_rows = moments.random() < 0.7
        if with_rows and ledger.read(job.output).num_rows < SCANS:
            job.wait_for_rows(process, ledger.read(job.output).num_rows + 1)
        time.sleep(moments.uniform(0, 4))
        process.kill()
        process.wait()
    assert job.run() == 0, job.said()
    job.check()


def test_the_driver_is_killed_at_random_moments(job):
    kill_the_driver(job, 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_driver_is_killed_twenty_times(job):
    kill_the_driver(job, 20)


def workers_of(job: Job, process: "subprocess.Popen[str]", count: int) -> list[psutil.Process]:
    """Wait for so many workers, and return all."""
    while len(workers := processes.below(process.pid, "MapWorker")) < count:
        assert process.poll() is None, job.said()
        time.sleep(0.1)
    return workers


def test_workers_are_killed(job):
    process = job.start()
    job.wait_for_rows(process)
    for worker in workers_of(job, process, 2):  # the pool begins with one, and grows while there is work
        worker.kill()  # all, because one that has just begun has nothing to lose
    for count in (30, 60):
        job.wait_for_rows(process, count)
        random.choice(workers_of(job, process, 1)).kill()
    assert process.wait(START_SECONDS) == 0, job.said()
    assert "lost with their worker" in job.said()
    job.check()


def test_a_node_is_removed(job):
    environment = {"RAY_AUTH_MODE": "disabled"}
    os.environ.update(environment)
    cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        process = job.start(RAY_ADDRESS=cluster.address)
        job.wait_for_rows(process, 20)
        cluster.remove_node(node, allow_graceful=False)
        assert process.wait(START_SECONDS) == 0, job.said()
    finally:
        cluster.shutdown()
    job.check()


def test_a_second_job_is_refused_and_the_first_when_terminated_lets_go(job):
    process = job.start()
    job.wait_for_rows(process)
    workers = workers_of(job, process, 2)  # the pool begins with one, and grows while there is work
    for worker in workers:
        worker.suspend()  # so that there is something left to do when the second has been refused
    assert job.run() == 4
    assert "another job" in job.said()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.resume()
    assert process.wait(60) == 143
    assert job.run() == 0, job.said()
    job.check()


# --- the archive and its disk ----------------------------------------------------------------------------------------


def test_a_source_that_changes_meanwhile_is_a_failed_row_and_done_by_the_next_start(job, undisturbed):
    process = job.start()
    while "to do" not in job.said():
        assert process.poll() is None, job.said()
        time.sleep(0.05)
    changed = "box 4/119.png"
    storage.write(uris.join(job.source, changed), pictures.encoded(pictures.gray(20, 20), "PNG"))
    assert process.wait(START_SECONDS) == 0, job.said()
    rows = ledger.read(job.output)
    failed = rows.filter(pc.field("status") == "failed").to_pylist()
    assert [(row["source_uri"], row["reason"]) for row in failed] == [
        (uris.join(job.source, changed), "the source has changed since it was listed")
    ]
    storage.write(uris.join(job.source, changed), undisturbed.scans[changed])
    assert job.run() == 0, job.said()
    job.check()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own with room for a part of the outputs."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "colornet-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_stops_the_job(job, small_disk):
    job = Job(job.source, str(small_disk / "out"), job.expected, job.folder)
    assert job.run() == 4
    said = job.said()
    assert "No space left" in said and "Traceback" not in said
    assert ledger.read(job.output).num_rows > 0
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert job.run() == 0, job.said()
    job.check()


# --- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_job(s3, tmp_path, undisturbed) -> Job:
    return Job(write(undisturbed.scans, f"{s3}/in"), f"{s3}/out", undisturbed, tmp_path)


def test_s3_with_faults_in_a_tenth_of_all_requests(s3_job, s3_server: S3Server):
    with running_proxy(s3_server.endpoint, rate=0.1, seed=7) as proxy:
        for _ in range(4):
            code = s3_job.run("--read-timeout", "3", AWS_ENDPOINT_URL=proxy.endpoint)
            assert code in (0, 4), s3_job.said()
            if code == 0 and ", 0 failed" in s3_job.said():
                break
        assert sum(proxy.injected.values()) > 20
    s3_job.check()


def test_s3_without_permission_stops_the_job_with_one_error(s3_job, s3_server: S3Server):
    with running_proxy(s3_server.endpoint, rate=0, seed=7) as proxy:
        process = s3_job.start(AWS_ENDPOINT_URL=proxy.endpoint)
        s3_job.wait_for_rows(process)
        proxy.mode = "expired"
        stopped_by("ExpiredToken", process, s3_job)
        assert ledger.read(s3_job.output).num_rows < SCANS
        goes_on(s3_job, proxy)


def test_s3_that_may_be_read_but_not_written_stops_the_job(s3_job, s3_server: S3Server):
    with running_proxy(s3_server.endpoint, rate=0, seed=7) as proxy:
        process = s3_job.start(AWS_ENDPOINT_URL=proxy.endpoint)
        s3_job.wait_for_rows(process)
        proxy.mode = "deny-writes"
        stopped_by("AccessDenied", process, s3_job)
        goes_on(s3_job, proxy)


def goes_on(job: Job, proxy: FaultyProxy) -> None:
    """Demand that the job, started again when the storage is well, does what is left."""
    proxy.mode = ""
    storage.delete(f"{job.output}/_colornet/lock")  # or the next would wait two minutes for its holder
    assert job.run(AWS_ENDPOINT_URL=proxy.endpoint) == 0, job.said()
    job.check()


def stopped_by(code: str, process: "subprocess.Popen[str]", job: Job) -> None:
    """Demand that the job stops, with one error that names the cause."""
    assert process.wait(START_SECONDS) == 4, job.said()
    errors = [line for line in job.said().splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "AccessError" in errors[0] and code in errors[0]
    assert "Traceback" not in job.said()
