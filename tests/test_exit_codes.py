"""Exit codes mean the same for every job: a `Job` ends with that of the job, or of the error that ended it."""

import os
import signal
import sys
from dataclasses import dataclass

import pytest

from colornet.errors import (
    AccessError,
    BundleError,
    ColornetError,
    ExitCode,
    LockedError,
    NotFoundError,
    SettingsError,
    StoppedError,
    StorageError,
    TrainingError,
)
from jobs.command import Job


@dataclass(frozen=True)
class Nothing:
    """No settings."""


@pytest.fixture
def ended(monkeypatch, capsys):
    """Run a job as its command does: its exit code, and what it says on standard error."""
    monkeypatch.setattr(sys, "argv", ["job"])
    before = signal.getsignal(signal.SIGTERM)
    # A shell starts what it puts into the background with SIGINT ignored; jobs there are ended by SIGTERM.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(job) -> tuple[object, str]:
        with pytest.raises(SystemExit) as answer:
            Job(settings=Nothing, run=job, description="", program="job")()
        return answer.value.code, capsys.readouterr().err

    yield run
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, interrupt)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ColornetError("none can be used"), 1),
        (StorageError("slow down"), 1),
        (TrainingError("the losses are not finite"), 1),
        (SettingsError("limit must be at least 1"), 2),
        (NotFoundError("nothing there"), 2),
        (AccessError("forbidden"), 2),
        (BundleError("not a model bundle"), 2),
        (LockedError("another job is at work"), 4),
        (StoppedError("stopped"), 4),
    ],
)
def test_an_error_ends_the_job_with_its_code_and_one_line(ended, error, code):
    def job(_) -> ExitCode:
        raise error

    assert ended(job) == (code, f"error: {error}\n")


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.FINDINGS])
def test_the_code_that_a_job_returns_is_that_of_the_command(ended, code):
    assert ended(lambda _: code) == (code, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_job_with_their_codes(ended, number, code):
    def job(_) -> ExitCode:
        os.kill(os.getpid(), number)
        signal.pause()
        return ExitCode.DONE

    found, said = ended(job)
    assert found == code and "goes on from here" in said
