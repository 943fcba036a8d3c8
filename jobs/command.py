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
        asked: list[ExitCode] = []

        def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
            asked.append(ExitCode.TERMINATED)
            raise _TerminatedError

        def interrupt(number: int, frame: FrameType | None) -> None:
            asked.append(ExitCode.INTERRUPTED)
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGTERM, terminate)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
            signal.signal(signal.SIGINT, interrupt)
        try:
            super().__call__(arguments, program)
        except KeyboardInterrupt:
            _end(ExitCode.INTERRUPTED)
        except _TerminatedError:
            _end(ExitCode.TERMINATED)
        except SystemExit as ended:
            if asked and ended.code:  # whoever was at work, such as DuckDB, has made an error of its own of it
                _end(asked[-1])
            raise


def _end(code: ExitCode) -> NoReturn:
    print(f"{code.name.lower()}; the same command goes on from here", file=sys.stderr)
    sys.exit(code)
