"""The finished scan: its own luminance, with colour, in the format and depth that it came in.

    rendering = Rendering(source, settings, origin)
    for number, scan in rendering.pages():
        page = prepare(scan, size, origin.hints_on(number))
        rendering.add(page, predict(page))
    output = rendering.finish()

One page is decoded at a time.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from colornet import distribution, metadata
from colornet.codecs import EXTENSIONS, MAX_PIXELS, Format, Scan, Source, open_source
from colornet.codecs.tiff_output import PageLayout, TiffOutput
from colornet.errors import InColourError, SettingsError
from colornet.hints import Hint, in_order, to_json
from colornet.inference.hints import Cells
from colornet.inference.letterbox import Letterbox, turn
from colornet.inference.page import PreparedPage
from colornet.inference.predictor import Prediction, certainty_of_pixels
from colornet.metadata import Metadata
from colornet.provenance import xmp
from colornet.provenance.c2pa import Credentials, sign
from colornet.provenance.xmp import DEFAULT_SOURCE_TYPE, DigitalSourceType, Origin
from colornet.rendering import spreading
from colornet.rendering.guided_upsampling import follow_lightness
from colornet.rendering.monochrome import COLOURFUL, colour_beyond_tone
from colornet.rendering.notes import Added, note
from colornet.rendering.pages import bands, encoded, own_bands
from colornet.rendering.spreading import spread
from colornet.settings import Field, settings, to_dict

OutputFormat = Literal["same", "jpeg", "png", "tiff", "jp2", "webp", "bmp"]

DIGEST_SCHEMA = 2
"""Goes up when a default, or what a value means, changes: then all outputs are to be made again."""
_NOT_DECISIVE = "max_pixels"  # decides about scans that fail, and those are tried again anyway


@settings
class RenderSettings:
    """What decides, beside the bundle, what an output looks like."""

    size: Annotated[int, Field(ge=0)] = 0
    """Side in pixels of the square that the network sees; 0 takes the size that the bundle was trained at."""
    upsampling: Literal["guided", "plain"] = "guided"
    """How colour comes to full size: along the edges of the luminance, or by plain interpolation."""
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Factor of the colours' chroma, 0 to 2: below 1 they are paler, above it louder, and with 0 outputs are gray. Hues
    and luminance stay."""
    neutral_below: Annotated[float, Field(ge=0, le=1)] = 0.02
    """How sure the network must be, 0 to 1, for colour not to fade: of what is as sure as this, with its surroundings,
    half of the colour is left, of what is less sure less. Raise it where outputs are blotchy; 0 never fades. Generators
    that predict no distribution are sure of nothing or everything: there it does nothing."""
    in_colour: Literal["skip", "copy", "recolor"] = "skip"
    """What becomes of scans that are in colour already; toned prints are not. Copied ones stay as they are."""
    damaged: Literal["fail", "render"] = "fail"
    """What becomes of damaged scans: a failure with its reason, or rendered as far as they can be read, and marked."""
    output_format: OutputFormat = "same"
    """Format of the outputs; another than the scan's own appends its ending to the key."""
    quality: Annotated[int, Field(ge=1, le=100)] = 92
    """Quality of JPEG and WebP outputs, 1 to 100. A JPEG that stays one keeps its luma: then it is the chroma's."""
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    """Pictures with more pixels than this are refused before they are decoded."""
    digital_source_type: DigitalSourceType = DEFAULT_SOURCE_TYPE
    """IPTC's term for what outputs are, written into their XMP."""

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of all that decides what an output looks like, or whether there is one.

        Of canonical JSON (keys sorted, no whitespace) of the schema's number and the values that are not the defaults:
        a later version, with more settings, gives the same for those that are known today.
        """
        return self.digest_with(())

    def digest_with(self, hints: Sequence[Hint]) -> str:
        """As `digest`, for a scan with hints, and who gave them; without any it is the same."""
        defaults = to_dict(type(self)())
        changed = {name: value for name, value in to_dict(self).items() if value != defaults[name]}
        changed.pop(_NOT_DECISIVE, None)
        decisive: dict[str, object] = {"schema": DIGEST_SCHEMA, "settings": changed}
        if hints:
            decisive["hints"] = to_json(in_order(hints))
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def open(self, data: bytes) -> Source:
        """Open a scan's file; raises ScanError."""
        return open_source(data, max_pixels=self.max_pixels, salvage=self.damaged == "render")

    def format_of(self, source: Format) -> Format:
        """Name the format in which a scan of the format `source` is written."""
        return source if self.output_format == "same" else self.output_format

    @property
    def extension(self) -> str:
        """What outputs of other formats than this one have behind their source's key; empty if each keeps its own."""
        return "" if self.output_format == "same" else EXTENSIONS[self.output_format]

    def origin(self, source_name: str, data: bytes, bundle_digest: str, hints: Sequence[Hint] = ()) -> Origin:
        """Say what an output will be made of, and by what.

        Raises:
            SettingsError: if two hints say different colours of one pixel, or there are too many.
        """
        return Origin(
            source_name=source_name,
            source_sha256=hashlib.sha256(data).hexdigest(),
            bundle_digest=bundle_digest,
            software=f"Colornet {distribution.version()}",
            digital_source_type=self.digital_source_type,
            settings=self.digest_with(hints),
            strength=self.strength,
            hints=in_order(hints),
        )


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """An output and what the ledger says of it."""

    data: bytes
    format: Format
    extension: str
    """What its key has behind the source's: empty, unless the format is another."""
    width: int
    height: int
    pages: int
    pixels: int
    """Of all pages."""
    mean_chroma: float | None = None
    """Mean of sqrt(a*² + b*²) over all pages, as painted; None if the source's own colour was kept."""
    confidence: float | None = None
    """How sure the generator was of the page of which it was least sure, in [0, 1]; None if it does not know."""
    note: str | None = None
    """What an archivist should know of it."""


class Rendering:
    """A scan in the making. Its pages are decoded and get their colour one by one: none waits decoded for the others.

    Its output is, in the archive's job and for one photograph alike, what `pages`, `add` and `finish` make in turn.
    """

    def __init__(self, source: Source, settings: RenderSettings, origin: Origin) -> None:
        """Begin.

        Args:
            source: the opened scan.
            settings: how it is rendered.
            origin: what the output says of itself.

        Raises:
            SettingsError: if a hint is for a page that is not rendered.
        """
        self.source = source
        self.settings = settings
        self.origin = origin
        self.format = settings.format_of(source.format)
        self.page_count = source.page_count if self.format == "tiff" else 1
        for hint in origin.hints:
            if hint.page >= self.page_count:
                raise SettingsError(f"{hint.place}: there is no such page; the output has {self.page_count}, from 0")
        self._added: list[Added] = []
        self._copy: Rendered | None = None
        self._tiff: TiffOutput | None = None
        self._encoded = b""

    def pages(self) -> Iterator[tuple[int, Scan]]:
        """Decode, one after the other, the pages that are to get their colour, each with its number, from 0.

        Pages in colour already are not among them, unless they are to be recolored: beside others they keep their
        colours. Of a scan that has only such pages there is none.

        Raises:
            InColourError: if all pages are in colour already, and such scans are skipped.
            ScanError: if a page cannot be decoded.
        """
        waiting: list[Added] = []  # nobody knows yet whether the whole scan is in colour
        for number in range(self.page_count):
            scan = self.source.page(number)
            if self.settings.in_colour == "recolor" or not is_in_colour(scan):
                for earlier in range(len(waiting)):
                    self._keep(self.source.page(earlier))
                waiting = []
                yield number, scan if scan.colours is None else replace(scan, colours=None)
            elif self._added:
                self._keep(scan)
            else:
                waiting.append(Added.of(scan, self.format))
            del scan  # the next one is decoded without it
        if waiting:
            self._copy = _unchanged(self.source, waiting, self.settings)

    def add(self, page: PreparedPage, prediction: Prediction) -> None:
        """Give the next page its colour, and encode it; its hints are held, whatever was predicted, at any strength."""
        ab = small_colour(prediction, page.letterbox, page.lightness, self.settings, held(page.hints, page.letterbox))
        planes = ab if self.settings.upsampling == "plain" else follow_lightness(ab, page.lightness)
        if self.format == "tiff":
            layout = self.source.layout(len(self._added))
            self._add_to_tiff(page.scan, bands(page.scan, planes, layout), layout)
        else:
            self._encoded = encoded(self.source, page.scan, planes, self.format, self.settings.quality)
        chroma = float(np.hypot(*ab).mean())
        self._added.append(Added.of(page.scan, self.format, chroma, prediction.confidence))

    def _keep(self, scan: Scan) -> None:
        """Add a page of a TIFF in the colours that it has."""
        layout = self.source.layout(len(self._added))
        self._add_to_tiff(scan, own_bands(scan, layout), layout)
        self._added.append(Added.of(scan, self.format))

    def finish(self, credentials: Credentials | None = None) -> Rendered:
        """Let the output say what it is; with `credentials`, signed, if it is of a format that C2PA knows.

        Raises:
            ScanError: if metadata cannot be written, or the output not be signed.
        """
        if self._copy is not None:
            return self._copy
        first, pixels = self._added[0], sum(page.pixels for page in self._added)
        told = self.source.metadata()[: len(self._added)]
        output = Rendered(
            data=self._described(told),
            format=self.format,
            extension="" if self.format == self.source.format else EXTENSIONS[self.format],
            width=first.width,
            height=first.height,
            pages=len(self._added),
            pixels=pixels,
            mean_chroma=self._mean_chroma(),
            confidence=self._confidence(),
            note=note(self.source, self.format, self._added, self.origin.hints, told),
        )
        if credentials is None:
            return output
        signed = sign(output.data, self.format, self.source.data, self.source.format, credentials, self.origin)
        return replace(output, data=signed)

    def _add_to_tiff(self, scan: Scan, rows: Iterator[NDArray[np.generic]], layout: PageLayout) -> None:
        if self._tiff is None:
            self._tiff = TiffOutput(layout)
        self._tiff.add(rows, scan, layout)

    def _described(self, told: Sequence[Metadata]) -> bytes:
        """The encoded pages, with what each says of itself: what its source said, and what it is."""
        carried = [
            metadata.for_output(
                page if kept else xmp.describe(page, self.origin, self._confidence(), number), self.format
            )
            for number, (page, kept) in enumerate(zip(told, self._keeps(), strict=True))
        ]
        if self._tiff is None:
            return metadata.embed(self._encoded, self.format, carried[0])
        file = self._tiff.finish()
        metadata.embed_pages(file, carried)
        return file.getvalue()

    def _keeps(self) -> list[bool]:
        """Whether each page has the colours that it had."""
        return [page.keeps_colours for page in self._added]

    def _mean_chroma(self) -> float:
        painted = [(page.chroma, page.pixels) for page in self._added if page.chroma is not None]
        return sum(chroma * pixels for chroma, pixels in painted) / sum(pixels for _, pixels in painted)

    def _confidence(self) -> float | None:
        return min((page.confidence for page in self._added if page.confidence is not None), default=None)


def small_colour(
    prediction: Prediction,
    letterbox: Letterbox,
    lightness: NDArray[np.float32],
    settings: RenderSettings,
    hints: Sequence[spreading.Hint] = (),
) -> NDArray[np.float32]:
    """Give what was predicted its strength, and spread it.

    It is spread upright, so that a scan and the same scan turned get the same colour to the last bit.

    Args:
        prediction: of the square.
        letterbox: where in it the picture lies.
        lightness: (h, w), L* in [0, 100] of the small picture as it is stored.
        settings: of which strength and neutral_below count.
        hints: in pixels of the small upright picture.

    Returns:
        (2, h, w) float32, a* and b*, as the picture is stored.
    """
    predicted = letterbox.cut(prediction.ab.astype(np.float32)) * np.float32(settings.strength)
    sure = None if prediction.certainty is None else certainty_of_pixels(prediction.certainty, letterbox)
    upright = turn(lightness, letterbox.orientation)
    return letterbox.as_stored(spread(predicted, sure, upright, neutral_below=settings.neutral_below, hints=hints))


def held(hints: Cells | None, letterbox: Letterbox) -> list[spreading.Hint]:
    """Bring hints from pixels of the network's square to those of the small upright picture."""
    cells = [] if hints is None else hints.tolist()
    return [spreading.Hint(int(row) - letterbox.top, int(column) - letterbox.left, a, b) for row, column, a, b in cells]


def is_in_colour(scan: Scan) -> bool:
    """Tell whether a scan has more colour than a toned print."""
    return scan.thumbnail is not None and colour_beyond_tone(scan.thumbnail) > COLOURFUL


def _unchanged(source: Source, pages: Sequence[Added], settings: RenderSettings) -> Rendered:
    if settings.in_colour == "skip":
        raise InColourError("already in colour")
    return Rendered(
        data=source.data,
        format=source.format,
        extension="",
        width=pages[0].width,
        height=pages[0].height,
        pages=source.page_count,
        pixels=sum(page.pixels for page in pages),
        note="already in colour: copied",
    )
