"""One small tree of exceptions: everything that Colornet raises on purpose is a `ColornetError`.

The message of each is one line that names what was wrong, fit for a terminal and for the ledger's `reason` column. Each
class has the exit code of a command that it ends.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command ended; every command means the same by them."""

    DONE = 0
    """As asked."""
    FAILED = 1
    """The job failed: a fault of the code, of a machine, or of storage."""
    USAGE = 2
    """A setting, a path or a right is wrong: the same command would fail again."""
    FINDINGS = 3
    """All was worked on, and some of it is not as it should be."""
    STOPPED = 4
    """For a reason that passes, or can be mended outside of the job: the same command goes on from there."""
    INTERRUPTED = 130
    """By Ctrl-C (SIGINT); the same command goes on from there."""
    TERMINATED = 143
    """By SIGTERM; the same command goes on from there."""


class ColornetError(Exception):
    """Base of all errors that Colornet raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    """Of a command that this error ends."""


class SettingsError(ColornetError, ValueError):
    """A setting, a path or a combination of them is wrong."""

    exit_code = ExitCode.USAGE


class StorageError(ColornetError):
    """Reading from or writing to a local path or an object store failed, after retries where they make sense.

    Two failures of one cause say the same but for the place that they name: no request ids, addresses or counts.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        """Take the whole message, and the part of it that names no place."""
        super().__init__(message)
        self.cause = cause or message
        """What went wrong, whatever the place: the same text wherever the same thing went wrong."""


class NotFoundError(StorageError):
    """There is no file or object at this place."""

    exit_code = ExitCode.USAGE


class ExistsError(StorageError):
    """There is something at this place already."""

    exit_code = ExitCode.USAGE


class AccessError(StorageError):
    """Credentials are missing, expired or not allowed to do this. Retrying other objects would fail the same way."""

    exit_code = ExitCode.USAGE


class StoppedError(ColornetError):
    """A job ended before its work did, for a reason outside of it; the same command goes on from there."""

    exit_code = ExitCode.STOPPED


class LockedError(ColornetError):
    """Another job is at work on this output, or has taken it over."""

    exit_code = ExitCode.STOPPED


class ScanError(ColornetError):
    """A scan cannot be read as a picture: damaged, empty, too large, or in a form that is not known."""


class InColourError(ColornetError):
    """A scan is in colour already, and such scans are to be skipped."""


class NotAPictureError(ColornetError):
    """A file is none, and its name says so: notes, checksums, what systems keep beside pictures."""


class BundleError(ColornetError):
    """A model bundle is incomplete, damaged, or made for something else."""

    exit_code = ExitCode.USAGE


class TrainingError(ColornetError):
    """A training run cannot go on: no photographs, losses that are not finite, or a resume that does not fit."""


def one_line(error: BaseException) -> str:
    """Return what an error says as one line of up to 300 characters; the name of its class if it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__
