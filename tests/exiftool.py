"""exiftool, a reader and writer of metadata that owes nothing to Colornet. Only tests use it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

needed = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
"""Marks a test that cannot run without it."""

_DISPUTED = {"Non-standard format (undef) for IFD0 0x83bb IPTC-NAA"}  # XMP's part 3 says undefined or byte
_OF_THE_FILE = ("System:", "File:", "ExifTool:", "SourceFile")


def run(*arguments: str | Path) -> str:
    """Run exiftool; raises AssertionError with its words if it fails."""
    done = subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def write(data: bytes, path: Path, *arguments: str | Path) -> bytes:
    """Write tags ("-XMP-dc:Title=…") into an encoded picture, by way of a file at `path`."""
    path.write_bytes(data)
    run("-q", "-m", "-overwrite_original", *arguments, path)
    return path.read_bytes()


def read(data: bytes, path: Path, *arguments: str) -> dict[str, Any]:
    """All that an encoded picture says of itself, as "Group1:Tag", but not what is of the file system or the codec."""
    path.write_bytes(data)
    (found,) = json.loads(run("-j", "-G1", "-struct", "-a", "-n", *arguments, path))
    return {key: value for key, value in found.items() if not key.startswith(_OF_THE_FILE)}


def complaints(data: bytes, path: Path) -> set[str]:
    """What exiftool finds wrong with a file, minor matters left out."""
    path.write_bytes(data)
    found = json.loads(run("-j", "-validate", "-warning", "-error", "-a", path))[0]
    words = [found.get(name, []) for name in ("Warning", "Error")]
    each = {word for several in words for word in (several if isinstance(several, list) else [several])}
    return {word for word in each if not word.startswith("[minor]")} - _DISPUTED


def extract(data: bytes, path: Path, tag: str) -> bytes:
    """The bytes of one binary tag."""
    path.write_bytes(data)
    done = subprocess.run(["exiftool", "-b", f"-{tag}", str(path)], capture_output=True, timeout=60, check=True)
    return done.stdout
