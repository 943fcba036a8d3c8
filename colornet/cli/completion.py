"""Completion of the command `colornet` and of all its commands' flags by a shell."""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import tyro

from colornet.cli.command import Command, Line
from colornet.errors import SettingsError

SHELLS = ("bash", "zsh", "tcsh")


def completion(commands: Mapping[str, Command[Any]], shell: str = "bash") -> str:
    """Return the script that makes a shell complete `colornet`; raises SettingsError for an unknown shell."""
    if shell not in SHELLS:
        raise SettingsError(f"completions are made for {', '.join(SHELLS)}, not {shell!r}")
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):  # with which tyro ends
        tyro.extras.subcommand_cli_from_dict(
            {name: _taking(command) for name, command in commands.items()},
            prog="colornet",
            args=["--tyro-print-completion", shell],
        )
    return written.getvalue()


def _taking(command: Command[Any]) -> Callable[[Any], None]:
    """Return a function that takes the command's line, since tyro makes subcommands of functions."""

    def take(line: Any) -> None:
        pass

    line: Any = Line[command.settings]  # type: ignore[name-defined]
    take.__annotations__["line"] = Annotated[line, tyro.conf.arg(name=""), *command.flags]
    return take
