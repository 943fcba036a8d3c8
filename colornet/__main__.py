"""Colorize a photograph or a few, without Ray.

    python -m colornet photo.jpg more/*.tif -o out/

Exit codes: 0 all done; 1 it failed; 2 the command line, a path or the model is wrong; 3 some could not be colorized.
"""

import logging
import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.progress import track

from colornet.colorize import Colorizer
from colornet.errors import ColornetError, ExitCode, InColourError, SettingsError
from colornet.inference.bundle import SHIPPED
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage, uris


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line of python -m colornet."""

    photographs: tyro.conf.Positional[list[str]]
    """Files, or s3:// uris of objects."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])]
    """Folder or s3:// prefix for the colour photographs; they keep their names."""
    model: str = SHIPPED
    """The model bundle: a folder or s3:// prefix, as jobs.train writes it. The default comes with Colornet."""
    device: str = "cpu"
    """Where the generator runs: cpu, or cuda."""
    render: RenderSettings = field(default_factory=RenderSettings)
    """What outputs look like."""


def colorize_all(arguments: Arguments) -> ExitCode:
    """Colorize one photograph after the other; returns the exit code."""
    storage = Storage()
    targets = _targets(arguments, storage)
    colorizer = Colorizer.from_bundle(arguments.model, arguments.render, device=arguments.device, storage=storage)
    storage.check_writable(arguments.output)
    failed = 0
    for source, target in track(targets.items(), "colorizing", disable=not sys.stderr.isatty()):
        try:
            rendered = colorizer.render(storage.read(source).data, name=source)
            storage.write(target + rendered.extension, rendered.data)
            sure = None if rendered.confidence is None else f"confidence {rendered.confidence:.2f}"
            words = "; ".join(filter(None, (rendered.note, sure)))
            print(f"{source} -> {target}{rendered.extension}{f' ({words})' if words else ''}")
        except InColourError as error:
            print(f"{source}: skipped, {error}")
        except ColornetError as error:
            failed += 1
            print(f"{source}: {error}", file=sys.stderr)
    return ExitCode.FINDINGS if failed else ExitCode.DONE


def _targets(arguments: Arguments, storage: Storage) -> dict[str, str]:
    """Say where each photograph goes, and refuse what would overwrite a photograph."""
    sources = [uris.normalize(photograph) for photograph in arguments.photographs]
    targets: dict[str, str] = {}
    for source in sources:
        if not storage.exists(source):
            raise SettingsError(f"there is no photograph at {source}")
        target = uris.join(arguments.output, source.rpartition("/")[2])
        if target in targets.values():
            raise SettingsError(f"two photographs would be written to {target}")
        if any(uris.contains(target, other) for other in sources):
            raise SettingsError(f"{target} is a photograph to colorize: give another output")
        targets[source] = target
    return targets


def main() -> None:
    """Parse the command line, colorize, and exit."""
    arguments = tyro.cli(Arguments, description=__doc__, config=(tyro.conf.OmitArgPrefixes,))
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a photograph is said in one line
    try:
        sys.exit(colorize_all(arguments))
    except ColornetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
