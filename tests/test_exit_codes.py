"""Exit codes mean the same for every job: a `Job` ends with that of the job, or of the error that ended it."""

import contextlib
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_counts_also_where_a_library_makes_an_error_of_it(ended, number, code):
    """As DuckDB does while it reads an object of Python."""

    def job(_) -> ExitCode:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except BaseException as error:
            raise StorageError(f"DuckDB: counting the rows failed: {type(error).__name__}") from None

    told = ended(job)
    assert told[0] == code and told[1].endswith("; the same command goes on from here\n")


def test_a_job_that_ends_well_after_a_signal_has_ended_well(ended):
    def job(_) -> ExitCode:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        return ExitCode.DONE

    assert ended(job)[0] == 0
