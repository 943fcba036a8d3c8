"""`ray job submit` of both jobs to a head started with `ray start --head`, against S3 on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobSubmissionClient

from colornet.archive import ledger
from colornet.inference import bundle as bundles
from colornet.storage import Storage
from tests import pictures

storage = Storage()

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def head(s3, monkeypatch) -> Iterator[str]:
    """The dashboard's address of a head of its own, started in the environment in which S3 is known."""
    port, dashboard = free_port(), free_port()
    # Ray's sockets lie in here, and their names may have 107 characters.
    folder = tempfile.mkdtemp(prefix="head-", dir="/tmp")
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    command = [
        *("ray", "start", "--head", "--block", "--num-cpus=4", f"--port={port}", f"--temp-dir={folder}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}"),
        *("--object-store-memory=300000000", "--disable-usage-stats"),
    ]
    with (Path(folder) / "start.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    address = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_for(address, process, Path(folder) / "start.log")
        yield address
    finally:
        process.terminate()  # with --block, it takes down what it started
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until a job can be submitted: the agent that runs jobs comes up some seconds after the dashboard."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(RuntimeError, ConnectionError):
            JobSubmissionClient(address).submit_job(entrypoint="true")
            return
        time.sleep(0.5)
    raise RuntimeError(f"ray start --head did not come up:\n{log.read_text()[-2000:]}")


def submit(head: str, *command: str) -> str:
    """Run the command as the README says, and return what the job printed."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    submitted = [str(BIN / "ray"), "job", "submit", "--address", head, "--working-dir", ".", "--", "python", *command]
    done = subprocess.run(submitted, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def test_train_and_colorize_through_a_head(head, s3):
    submit(head, "-m", "jobs.prepare", "--input", "shapes://60?size=32&seed=1", "--output", f"{s3}/shards")
    training = submit(
        head, *("-m", "jobs.train", "--data", f"{s3}/shards", "--output", f"{s3}/bundle", "--recipe", "smoke")
    )
    bundle = bundles.load(f"{s3}/bundle")
    assert bundle.digest and bundle.metrics, training
    for index in range(3):
        scan = pictures.encoded(pictures.gray(60, 80, index), "JPEG")
        storage.write(f"{s3}/scans/{index}.jpg", scan)
    model = ("--model", f"{s3}/bundle")
    printed = submit(head, "-m", "jobs.colorize", "--input", f"{s3}/scans", "--output", f"{s3}/colour", *model)
    assert "3 done, 0 failed" in printed
    assert ledger.read(f"{s3}/colour")["status"].to_pylist() == ["done"] * 3
    for index in range(3):
        assert pictures.decoded(storage.read(f"{s3}/colour/{index}.jpg").data).shape == (60, 80, 3)
