"""What an archivist should know of an output: what of the scan it has not, and what is not as it should be."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from colornet import metadata
from colornet.codecs import Format, Scan, Source
from colornet.hints import Hint
from colornet.metadata import Metadata

_MOST = 10
"""Notes on metadata."""


class Added(NamedTuple):
    """What is known of a page that has its colour."""

    width: int
    height: int
    damaged: bool
    extra_left_out: bool
    fault: str | None
    chroma: float | None
    """None of a page that keeps its colours."""
    confidence: float | None

    @classmethod
    def of(cls, scan: Scan, format: Format, chroma: float | None = None, confidence: float | None = None) -> Self:
        """Note what is known of a page."""
        left_out = scan.extra is not None and format != "tiff"
        return cls(scan.width, scan.height, scan.damaged, left_out, scan.fault, chroma, confidence)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def keeps_colours(self) -> bool:
        """Whether it was in colour already, and was left as it was."""
        return self.chroma is None


def note(
    source: Source, format: Format, pages: Sequence[Added], hints: Sequence[Hint], told: Sequence[Metadata]
) -> str | None:
    """Write the note that the ledger keeps of an output; None if there is nothing to say.

    Args:
        source: the scan's file.
        format: of the output.
        pages: those that the output has.
        hints: the colours that people chose.
        told: what the source says of these pages.
    """
    notes = ["damaged: rendered as far as it could be read"] if pages[0].damaged else []
    notes += [f"read in spite of {page.fault}" for page in pages if page.fault]
    notes += source.notes
    if any(page.extra_left_out for page in pages):
        notes.append(f"samples of unknown meaning left out: {format} has no place for them")
    kept = sum(page.keeps_colours for page in pages)
    if kept:
        notes.append(f"{kept} of {len(pages)} pages in colour already: they keep their colours")
    if any(pages[hint.page].keeps_colours for hint in hints):
        notes.append("hints on pages in colour already are not used")
    left_out = source.page_count - len(pages)
    if left_out:
        notes.append(f"{left_out} pages left out: {format} holds one")
    lost = list(dict.fromkeys(lost for page in told for lost in metadata.for_output(page, format).notes))
    notes += lost[:_MOST]
    if len(lost) > _MOST:
        notes.append(f"{len(lost) - _MOST} more of such notes on metadata")
    return "; ".join(notes) or None
