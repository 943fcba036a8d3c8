"""Colorize a photograph, a few, or a folder of them, without Ray.

    colornet photo photo.jpg more/*.tif -o out/
    colornet photo scans/ -o out/
    colornet photo photo.jpg -o out/ --hint 420,1310=#2f6b3a --hint 85,60=#a8c4e0 --strength 1.1

Exit codes: 0 all done; 1 it failed; 2 the command line, a path or the model is wrong; 3 some could not be colorized.
"""

import logging
import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.progress import track

from colornet.cli.command import Command, is_quiet
from colornet.colorize import Colorizer
from colornet.errors import ColornetError, ExitCode, InColourError, NotFoundError, SettingsError
from colornet.hints import parse
from colornet.inference.bundle import SHIPPED
from colornet.rendering.render import RenderSettings
from colornet.storage import ObjectInfo, Storage, uris


@dataclass(frozen=True, kw_only=True)
class PhotoSettings:
    """The settings of colornet photo."""

    photographs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOGRAPH ...")] = ()
    """Files, folders (what lies in them, at any depth), or s3:// uris of objects."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])]
    """Folder or s3:// prefix for the colour photographs; they keep their names."""
    model: str = SHIPPED
    """The model bundle: a folder or s3:// prefix, as `colornet train` writes it. The default comes with Colornet."""
    device: str = "cpu"
    """Where the generator runs: cpu, or cuda."""
    hint: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="X,Y=#RRGGBB")] = ()
    """A colour that you know, at a pixel of the upright photograph; of a TIFF's page, counted from 0, X,Y,PAGE=#RRGGBB.
    May be given again and again, for one photograph; only bundles that were trained with hints take any."""
    hints_by: str = ""
    """Who knows it: goes on record in the output."""
    render: RenderSettings = field(default_factory=RenderSettings)
    """What outputs look like."""


def colorize_all(settings: PhotoSettings) -> ExitCode:
    """Colorize one photograph after the other; returns the exit code."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a photograph is said in one line
    storage = Storage()
    hints = [parse(each, settings.hints_by) for each in settings.hint]
    targets = _targets(settings, storage)
    if hints and len(targets) > 1:
        raise SettingsError(f"a hint is for one photograph, and these are {len(targets)}")
    colorizer = Colorizer.from_bundle(settings.model, settings.render, device=settings.device, storage=storage)
    if hints:
        colorizer.bundle.require_hints()
    storage.check_writable(settings.output)
    failed = 0
    for source, target in track(targets.items(), "colorizing", disable=is_quiet() or not sys.stderr.isatty()):
        try:
            rendered = colorizer.render(storage.read(source).data, name=source, hints=hints)
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


def _targets(settings: PhotoSettings, storage: Storage) -> dict[str, str]:
    """Say where each photograph goes, and refuse what would overwrite a photograph."""
    targets: dict[str, str] = {}
    for place in map(uris.normalize, settings.photographs):
        for source in _found(place, settings.output, storage):
            target = uris.join(settings.output, source.key)
            if target in targets.values():
                raise SettingsError(f"two photographs would be written to {target}")
            targets[source.uri] = target
    if not targets:
        named = ", ".join(settings.photographs)
        raise SettingsError(f"there are no photographs in {named}" if named else "name a photograph or a folder")
    for target in targets.values():
        if any(uris.contains(target, source) for source in targets):
            raise SettingsError(f"{target} is a photograph to colorize: give another output")
    return targets


def _found(place: str, output: str, storage: Storage) -> list[ObjectInfo]:
    """Return one photograph, or all in a folder."""
    if storage.exists(place):
        return [storage.stat(place)]
    if uris.contains(place, output):
        raise SettingsError(f"the output {output} must lie outside of {place}: it would be colorized the next time")
    try:
        return list(storage.listing(place))
    except NotFoundError as error:
        raise SettingsError(f"there is no photograph at {place}") from error


main = Command(settings=PhotoSettings, run=colorize_all, description=__doc__, program="colornet photo")
