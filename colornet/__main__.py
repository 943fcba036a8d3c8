"""The command `colornet`, or `python -m colornet`: hands the rest of the line to the command that is asked for.

    colornet photo photo.jpg -o out/

Commands are entry points, so that this library knows none of the jobs; nothing is imported of those not asked for.
"""

import ast
import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colornet import distribution
from colornet.errors import ExitCode, SettingsError

if TYPE_CHECKING:
    from colornet.cli.command import Command


def main() -> None:
    """Run the command that the process's arguments name, and end the process with its exit code."""
    try:
        _run(*(sys.argv[1:] or ["--help"]))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # of a command that has nothing to say to it
        print("interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)


def _run(name: str, *rest: str) -> None:
    commands = distribution.commands()
    if name in ("-h", "--help", "help"):
        print(usage(commands))
    elif name == "--version":
        print(f"colornet {distribution.version()}")
    elif name == "--print-completion":
        from colornet.cli.completion import completion  # imports all commands

        print(completion({name: load(name, place) for name, place in commands.items()}, *rest))
    elif name in commands:
        load(name, commands[name])(rest, f"colornet {name}")
    else:
        raise SettingsError(_unknown(name, commands))


def load(name: str, place: str) -> "Command[Any]":
    """Import a command. Raises SettingsError if the extra that it needs is not installed."""
    module, _, attribute = place.partition(":")
    try:
        command: Command[Any] = getattr(importlib.import_module(module), attribute)
        return command
    except ModuleNotFoundError as error:
        raise distribution.missing(error, f"colornet {name}") from error


def usage(commands: dict[str, str]) -> str:
    """Return what `--help` prints: all commands, each with the first sentence of its module's docstring."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {_summary(place)}" for name, place in commands.items()]
    return "\n".join(
        [
            "usage: colornet COMMAND ...",
            "",
            "Gives black-and-white photographs, and archives of them, their colour.",
            "",
            *lines,
            "",
            "colornet COMMAND --help says more. colornet --version prints the version.",
        ]
    )


def _summary(place: str) -> str:
    """Return the first line of a command's docstring, without importing it."""
    spec = importlib.util.find_spec(place.partition(":")[0])
    if spec is None or spec.origin is None:
        return "(cannot be found: the installation is incomplete)"
    words = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return words.partition("\n")[0].rstrip(".")


def _unknown(name: str, commands: dict[str, str]) -> str:
    words = f"there is no command {name!r}; there are {', '.join(commands)}"
    if Path(name).exists() or name.startswith("s3://"):
        return f"{words}. To colorize {name}: colornet photo {name} -o FOLDER"
    close = difflib.get_close_matches(name, commands, 1)
    return f"{words}. Did you mean {close[0]}?" if close else words


if __name__ == "__main__":
    main()
