"""What every job's command line has in common: settings from a dataclass, one clear line for an error, exit codes.

Exit codes: 0 the job ended as asked; 1 it failed after it had started; 2 the command line, a path or a setting is
wrong and nothing was started; 130 interrupted.
"""

import sys
from collections.abc import Callable
from typing import TypeVar

import ray
import tyro

from colornet.errors import ColornetError

Settings = TypeVar("Settings")


def run_job(settings: type[Settings], job: Callable[[Settings], int], description: str | None) -> None:
    """Parse the command line into `settings`, run `job` with them, and exit with the code it returns.

    Args:
        settings: a dataclass; its fields are the flags, the text under each field is the flag's help.
        job: does the work and returns an exit code. What it raises before it starts Ray is the user's to mend.
        description: the first words of `--help`.
    """
    parsed = tyro.cli(settings, description=description, config=(tyro.conf.OmitArgPrefixes,))
    try:
        code = job(parsed)
    except ColornetError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1 if ray.is_initialized() else 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        code = 130
    sys.exit(code)
