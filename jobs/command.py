"""What every job's command line has in common: settings from a dataclass, one clear line for an error, exit codes.

What the exit codes mean is in `colornet.errors.ExitCode`.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TypeVar

import tyro

from colornet.errors import ColornetError, ExitCode

Settings = TypeVar("Settings")


class _TerminatedError(BaseException):
    """The process was asked to end; on its way out it lets go of what it holds."""


def run_job(
    settings: type[Settings],
    job: Callable[[Settings], ExitCode],
    description: str | None,
    *,
    defaults: Callable[[list[str]], Settings] | None = None,
    flags: tuple[Any, ...] = (tyro.conf.OmitArgPrefixes,),
) -> None:
    """Parse the command line into `settings`, run `job` with them, and exit with the code it returns.

    Args:
        settings: a dataclass; its fields are the flags, the text under each field is the flag's help.
        job: does the work and returns an exit code; that of a ColornetError which it raises is the error's own.
        description: the first words of `--help`.
        defaults: makes the settings' defaults from the command line's arguments, where they depend on one another.
        flags: how tyro names the flags; unless given, a field of a nested dataclass has no prefix.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        default = defaults(sys.argv[1:]) if defaults else tyro.MISSING_NONPROP
        try:
            parsed = tyro.cli(settings, description=description, default=default, config=flags)
        except SystemExit as answer:  # to --help, or to what is wrong with the command line
            if job.__module__ == "__main__":
                _end_at_once(answer)
            raise
        code = job(parsed)
    except ColornetError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except _TerminatedError:
        print("terminated; the same command goes on from here", file=sys.stderr)
        code = ExitCode.TERMINATED
    sys.exit(code)


def _end_at_once(answer: SystemExit) -> NoReturn:
    """End the process without taking it apart.

    tyro looks for docstrings in all modules; of PyTorch's lazy ones some wake up, and keep types of DuckDB from being
    freed, which complains of that at length. Nothing has begun that would have to end well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(answer.code if isinstance(answer.code, int) else ExitCode.USAGE)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _TerminatedError
