"""What every job's command line has in common, beyond `colornet.cli.command`: what signals do.

What the exit codes mean is in `colornet.errors.ExitCode`.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, TypeVar

from colornet.cli.command import Command
from colornet.errors import ExitCode

Settings = TypeVar("Settings")


class _TerminatedError(BaseException):
    """The process was asked to end; on its way out it lets go of what it holds."""


class Job(Command[Settings]):
    """A command that may be stopped at any time, and goes on from there when it is called again."""

    def __call__(self, arguments: Sequence[str] | None = None, program: str | None = None) -> NoReturn:
        """Run the job and end the process with its exit code; as `Command`."""
        signal.signal(signal.SIGTERM, _terminate)
        try:
            super().__call__(arguments, program)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            sys.exit(ExitCode.INTERRUPTED)
        except _TerminatedError:
            print("terminated; the same command goes on from here", file=sys.stderr)
            sys.exit(ExitCode.TERMINATED)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _TerminatedError
