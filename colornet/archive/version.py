"""Which code made an output, more exactly than a version number that nobody raised."""

import functools
import hashlib
from pathlib import Path

from colornet import distribution


@functools.cache
def code_version() -> str:
    """Return the package's version and a digest of its code, as "0.2.0+0123456789ab"."""
    return f"{distribution.version()}+{code_digest(Path(distribution.__file__).parent)[:12]}"


def code_digest(folder: Path) -> str:
    """SHA-256, hexadecimal, of all Python files in a folder and below: of their places and of what they say."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
