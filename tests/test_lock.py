"""One job at a time on an output, on a local folder and on a real S3 server."""

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from colornet.errors import LockedError, StorageError
from colornet.storage import Storage, lock, uris
from colornet.storage.lock import OutputLock

storage = Storage()

BEAT = 0.2
"""Seconds, for tests: long enough for the slowest server to answer within four of them."""


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for outputs."""
    return str(tmp_path / "out") if request.param == "local" else request.getfixturevalue("s3") + "/out"


@pytest.fixture(params=["local", "s3"])
def leased(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place whose storage knows leases only; the local one is a file system without locks."""
    if request.param == "s3":
        return request.getfixturevalue("s3") + "/out"

    def cannot(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", cannot)
    return str(tmp_path / "out")


def place(output: str) -> str:
    return uris.join(output, "_colornet", "lock")


def held(output: str, owner: str = "jobs.test") -> OutputLock:
    return OutputLock(output, owner, beat_seconds=BEAT)


def test_second_job_is_refused_and_told_by_whom(output):
    with held(output, "jobs.first") as first:
        with pytest.raises(LockedError, match=r"jobs\.first") as refusal, held(output, "jobs.second"):
            pytest.fail("two jobs hold the lock")
        first.check()
        for part in (place(output), platform.node(), f"process {os.getpid()}", "since 20"):
            assert part in str(refusal.value)
        assert "\n" not in str(refusal.value)
    with held(output, "jobs.second") as second:
        second.check()
    assert not storage.exists(place(output))


def test_lock_is_let_go_by_a_job_that_fails(output):
    with pytest.raises(ZeroDivisionError), held(output):
        raise ZeroDivisionError
    assert not storage.exists(place(output))
    with held(output):
        pass


def test_outputs_are_locked_one_by_one(tmp_path):
    outputs = [str(tmp_path / name) for name in ("one", "two")]
    with held(outputs[0]), held(outputs[1]):
        assert all(storage.exists(place(output)) for output in outputs)


def test_one_of_many_threads_gets_a_local_lock(tmp_path):
    inside, together = threading.Semaphore(0), threading.Barrier(8)
    release = threading.Event()

    def try_it(_: int) -> bool:
        together.wait()
        try:
            with held(str(tmp_path)):
                inside.release()
                release.wait(10)
                return True
        except LockedError:
            return False

    with ThreadPoolExecutor(8) as threads:
        tries = [threads.submit(try_it, index) for index in range(8)]
        assert inside.acquire(timeout=10)
        while sum(each.done() for each in tries) < 7:
            time.sleep(0.01)
        release.set()
        assert [each.result() for each in tries].count(True) == 1


def test_file_that_its_holder_removed_is_no_lock(tmp_path, monkeypatch):
    """A job may open the file in the moment before its last holder removes it."""
    flock, removed = fcntl.flock, []

    def remove_and_lock(descriptor, how):
        if not removed:
            removed.append(Path(place(str(tmp_path))).unlink())
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    with held(str(tmp_path)) as mine:
        assert removed
        mine.check()
        with pytest.raises(LockedError), held(str(tmp_path)):
            pytest.fail("two jobs hold the lock")


_JOB = """
import sys, time
from colornet.storage.lock import OutputLock
with OutputLock(sys.argv[1], "jobs.other", beat_seconds=float(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_killed_job_leaves_its_output_to_the_next(output, caplog):
    """kill -9 leaves no time to clean up."""
    with subprocess.Popen([sys.executable, "-c", _JOB, output, str(BEAT)], stdout=subprocess.PIPE, text=True) as job:
        try:
            assert job.stdout.readline() == "locked\n"
            with pytest.raises(LockedError, match=rf"jobs\.other on host .*, process {job.pid}, "), held(output):
                pytest.fail("two jobs hold the lock")
            assert storage.exists(place(output))
        finally:
            job.send_signal(signal.SIGKILL)
            job.wait()
    caplog.clear()
    began = time.monotonic()
    with held(output) as mine:
        waited = time.monotonic() - began
        mine.check()
    if uris.is_s3(output):
        assert waited >= lock.PATIENT_BEATS * BEAT
        assert "waiting" in caplog.text
    assert not storage.exists(place(output))


def test_lease_is_kept_alive(leased):
    with held(leased) as mine:
        before = storage.stat(place(leased)).version
        time.sleep(2.5 * BEAT)
        deadline = time.monotonic() + 20
        while storage.stat(place(leased)).version == before and time.monotonic() < deadline:
            time.sleep(BEAT)
        assert storage.stat(place(leased)).version != before
        mine.check()
    assert not storage.exists(place(leased))


def test_lease_that_somebody_took_is_noticed_and_left_to_them(leased):
    theirs = json.dumps({"owner": "jobs.thief", "host": "elsewhere", "pid": 7, "since": "now", "id": "theirs"}).encode()
    with held(leased) as mine:
        storage.write(place(leased), theirs)
        with pytest.raises(LockedError, match=r"jobs\.thief on host elsewhere, process 7"):
            mine.check()
        time.sleep(2 * BEAT)
        with pytest.raises(LockedError):
            mine.check()
    assert storage.read(place(leased)).data == theirs


def test_lock_that_was_removed_is_noticed(output):
    with held(output) as mine:
        storage.delete(place(output))
        with pytest.raises(LockedError, match="removed"):
            mine.check()


def test_one_of_two_takes_over_a_dead_lease(leased):
    """Both wait until it has run out, and where a server lets both write, who wrote last has it."""
    storage.write(place(leased), b"left by a job that was killed")
    together, over = threading.Barrier(2), threading.Event()

    def try_it(name: str) -> str | None:
        together.wait()
        try:
            with held(leased, name) as mine:
                over.wait(3 * BEAT)
                mine.check()
                return name
        except LockedError:
            return None

    with ThreadPoolExecutor(2) as threads:
        winners = [name for name in threads.map(try_it, ["jobs.one", "jobs.two"]) if name]
    assert len(winners) == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1, 2]", b'{"owner": "a\\nb", "host": {}}', b"[" * 100_000])
def test_whatever_a_lock_says_it_is_refused_in_one_line(content):
    refusal = lock._refusal("s3://bucket/out/_colornet/lock", content)
    assert str(refusal).startswith("s3://bucket/out/_colornet/lock: another job holds the output: ")
    assert "\n" not in str(refusal)
    assert len(str(refusal)) < 600


def test_place_that_cannot_be_written_is_a_storage_error(tmp_path, s3):
    (tmp_path / "file").write_bytes(b"")
    for output in (str(tmp_path / "file"), f"{s3}-missing/out"):
        with pytest.raises(StorageError, match="_colornet"), held(output):
            pytest.fail("a lock nowhere")


def test_local_lock_that_cannot_be_signed_is_let_go(tmp_path, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(os, "ftruncate", raising(OSError(28, "No space left on device")))
        with pytest.raises(StorageError, match="No space left on device"), held(str(tmp_path)):
            pytest.fail("a lock that says nothing")
    with held(str(tmp_path)) as mine:
        mine.check()


def raising(error: Exception):
    def fail(*_arguments):
        raise error

    return fail
