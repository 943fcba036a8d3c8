"""What a listing leaves out of what it meets, by kind, and what it cannot list, by name."""

import os
from collections import Counter
from dataclasses import dataclass, field

HIDDEN = "hidden files and folders"
SPECIAL = "pipes, sockets and devices"
BROKEN = "links that lead nowhere"
CIRCLES = "links to a folder above"
LINKED = "links to folders, whose files are listed at each of their places"
OWN = "files of earlier jobs (below _colornet/)"
"""Kinds. What links to folders lead to is listed, perhaps twice; all others are left out."""

NOT_UTF8 = "its name is not UTF-8: rename it"


@dataclass(frozen=True)
class Unlisted:
    """A file or folder that is there and cannot be listed."""

    uri: str
    """Bytes that are not UTF-8 stand in it as in Python's literals (caf\\xe9.tif)."""
    key: str
    """Its place below what is listed; that of a folder ends in '/'."""
    reason: str


@dataclass
class LeftOut:
    """To be handed to a listing, which notes here what it leaves out."""

    counts: Counter[str] = field(default_factory=Counter)
    unlisted: list[Unlisted] = field(default_factory=list)

    def note(self, uri: str, key: str, reason: str) -> None:
        """Note what cannot be listed."""
        self.unlisted.append(Unlisted(printable(uri), printable(key), reason))

    def lines(self) -> list[str]:
        """Say it, a line for each kind."""
        told = [f"{count:,} {kind}" for kind, count in sorted(self.counts.items()) if count]
        return [*told, *([f"{len(self.unlisted):,} that cannot be listed"] if self.unlisted else [])]


def is_utf8(name: str) -> bool:
    """Whether the operating system's name can be written as text."""
    try:
        name.encode()
    except UnicodeEncodeError:  # how Python hands on the bytes of a local name that it cannot decode
        return False
    return True


def printable(name: str) -> str:
    """Return a name as text, whatever bytes it has."""
    return name if is_utf8(name) else os.fsencode(name).decode(errors="backslashreplace")
