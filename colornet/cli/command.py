"""Command lines of settings classes: flags, a file of settings, and one clear line for what is wrong.

What the exit codes mean is in `colornet.errors.ExitCode`.
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import tyro

from colornet import distribution
from colornet.cli.config import overlay
from colornet.errors import ColornetError, ExitCode
from colornet.settings import read_file

Settings = TypeVar("Settings")
ON_OFF = (tyro.conf.FlagCreatePairsOff,)

_quiet = False


def is_quiet() -> bool:
    """Whether this process was started with --quiet: then progress and notes are not for printing."""
    return _quiet


@dataclass(frozen=True, kw_only=True)
class General:
    """What all commands have in common."""

    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Take settings from this file, .toml or .json, whose tables are the groups of flags below; flags override it."""
    quiet: Annotated[bool, *ON_OFF] = False
    """Print nothing but what goes wrong."""
    verbose: Annotated[bool, *ON_OFF] = False
    """Log more, and say where in the code an error comes from."""
    version: Annotated[bool, *ON_OFF] = False
    """Print the version and end."""


@dataclass(frozen=True, kw_only=True)
class Line(Generic[Settings]):
    """A whole command line."""

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    general: Annotated[General, tyro.conf.arg(name="")] = field(default_factory=General)


@dataclass(frozen=True, kw_only=True)
class Command(Generic[Settings]):
    """A program with a command line. Calling it parses the line, runs the program and ends the process."""

    settings: type[Settings]
    """A dataclass; its fields are the flags, the text under each field is the flag's help."""
    run: Callable[[Settings], ExitCode]
    """Does the work and returns the exit code; that of a ColornetError which it raises is the error's own."""
    description: str
    """The first words of --help. It calls the program by the name in `program`."""
    program: str
    """How to call it where nothing else is said, such as "python -m jobs.train"."""
    defaults: Callable[[list[str]], Settings] | None = None
    """Makes the settings' defaults from the command line's arguments, where they depend on one another."""
    flags: tuple[Any, ...] = (tyro.conf.OmitArgPrefixes,)
    """How tyro names the flags; unless given, a field of a nested dataclass has no prefix."""
    compact_help: bool = False
    """Whether --help only lists the flags, for a program with very many; --help-verbose explains them, too."""

    def __call__(self, arguments: Sequence[str] | None = None, program: str | None = None) -> NoReturn:
        """Run the program and end the process with its exit code.

        Args:
            arguments: the command line without the program's name; the process's own unless given.
            program: what the program is called on this command line.
        """
        line = list(sys.argv[1:] if arguments is None else arguments)
        general = General()
        try:
            parsed = self.parse(line, program or self.program)
            general = parsed.general
            with _said(general):
                code = self.run(parsed.settings)
        except ColornetError as error:
            if general.verbose:
                traceback.print_exception(error)
            print(f"error: {error}", file=sys.stderr)
            code = error.exit_code
        sys.exit(code)

    def parse(self, arguments: list[str], program: str) -> Line[Settings]:
        """Return what a command line says. Ends the process for --help, --version and what is wrong with the line."""
        if "--version" in arguments:
            print(f"colornet {distribution.version()}")
            sys.exit(0)
        default: Any = self._defaults(arguments)
        description = self.description.replace(self.program, program)
        if program.startswith("colornet "):
            description = description.replace("python -m jobs.", "colornet ")
        try:
            return tyro.cli(
                Line[self.settings],  # type: ignore[name-defined]
                args=arguments,
                prog=program,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else Line(settings=default),
                config=self.flags,
                compact_help=self.compact_help,
            )
        except SystemExit as answer:  # to --help, or to what is wrong with the line
            if program != self.program or self.run.__module__ == "__main__":  # the process is this command's
                _end_at_once(answer)
            raise

    def _defaults(self, arguments: list[str]) -> Settings | None:
        """Return what holds where flags say nothing; None if the class itself says it."""
        configured = read_file(file) if (file := value_of("--config", arguments)) else {}
        if self.defaults is None:
            return overlay(self.settings, None, configured, file) if file else None
        # Where a name stands for a group of settings, it means what it means as a flag.
        words = {key.replace("_", "-"): value for key, value in configured.items() if isinstance(value, str)}
        flags = [word for key in ("recipe", "start-from") if key in words for word in (f"--{key}", words[key])]
        base = self.defaults([*flags, *arguments])
        rest = {key: value for key, value in configured.items() if key != "recipe" or "recipe" not in words}
        return overlay(self.settings, base, rest, file) if file else base


def value_of(flag: str, arguments: Sequence[str]) -> str:
    """Return the last value of a flag among arguments that are not parsed yet; empty without one."""
    found = ""
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found


@contextlib.contextmanager
def _said(general: General) -> Iterator[None]:
    """Print as much as was asked for."""
    global _quiet
    before, _quiet = _quiet, general.quiet
    if general.verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        with contextlib.ExitStack() as held:
            if general.quiet:
                nowhere = held.enter_context(Path(os.devnull).open("w"))
                held.enter_context(contextlib.redirect_stdout(nowhere))
            yield
    finally:
        _quiet = before


def _end_at_once(answer: SystemExit) -> NoReturn:
    """End the process without taking it apart.

    tyro looks for docstrings in all modules; of PyTorch's lazy ones some wake up, and keep types of DuckDB from being
    freed, which complains of that at length. Nothing has begun that would have to end well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(answer.code if isinstance(answer.code, int) else ExitCode.USAGE)
