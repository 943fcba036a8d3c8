"""Files of a local path: written whole or not at all, listed in the order of their keys."""

import contextlib
import errno
import os
import stat as file_modes
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from colornet.errors import NotFoundError, StorageError
from colornet.storage.errors import storage_errors
from colornet.storage.left_out import BROKEN, CIRCLES, HIDDEN, LINKED, NOT_UTF8, SPECIAL, LeftOut, is_utf8
from colornet.storage.objects import ObjectInfo, StoredObject
from colornet.storage.uris import name

_NAMELESS = Path("/proc/self/fd")
"""Where Linux shows open files that have no name."""


def make_folder(folder: Path) -> None:
    """Make a local folder and those above it, if they are missing. Raises what the operating system raises."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{folder}: one of its folders is a file", "a folder is a file") from error


def read(path: str) -> StoredObject:
    """Return a whole file."""
    _regular_file(path)  # opening a named pipe would wait for ever
    with Path(path).open("rb") as file:
        _, version = _size_and_version(os.fstat(file.fileno()))
        return StoredObject(file.read(), version)


def write(path: Path, data: bytes, *, create: bool = False) -> str:
    """Write a file that gets its name once it is whole and durable; to `create`, a name that nothing has yet.

    Until then it has no name at all, where the file system can do that, so a process that dies leaves nothing behind.
    Only if it replaces a file, and dies in the moment between its two names, its whole bytes stay under a hidden one.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # hidden, so that no listing shows it; short for any name
    try:
        with os.fdopen(_open_nameless(temporary), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            _, version = _size_and_version(os.fstat(file.fileno()))
            if temporary.exists():
                (os.link if create else os.replace)(temporary, path)
            else:
                _give_name(file.fileno(), path, None if create else temporary)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return version


def _open_nameless(temporary: Path) -> int:
    """Open a file without a name for writing; where there are no such files, one named `temporary`.

    Linux has them on most file systems, and needs /proc to give them a name. macOS has none.
    """
    if hasattr(os, "O_TMPFILE") and _NAMELESS.is_dir():
        try:
            return os.open(temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _give_name(descriptor: int, path: Path, temporary: Path | None) -> None:
    """Give an open file its name: a new one, or by way of a temporary one also one that another file has."""
    nameless = _NAMELESS / str(descriptor)
    # Python follows the link to the file only if it is given a folder's descriptor, which an absolute path ignores.
    try:
        os.link(nameless, path, src_dir_fd=0)
    except FileExistsError:
        if temporary is None:
            raise
        os.link(nameless, temporary, src_dir_fd=0)
        temporary.replace(path)


def stat(path: str) -> ObjectInfo:
    """Return size and version of a file."""
    return ObjectInfo(path, name(path), *_size_and_version(_regular_file(path)))


def _sync_folder(folder: Path) -> None:
    """Make the new name durable too; the file's own fsync is about its bytes only."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def _regular_file(path: str) -> os.stat_result:
    found = Path(path).stat()
    if not file_modes.S_ISREG(found.st_mode):
        raise NotFoundError(f"{path}: this is not a file")
    return found


def _size_and_version(found: os.stat_result) -> tuple[int, str]:
    return found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}"


# --- listings --------------------------------------------------------------------------------------------------------


def listing(path: str, left_out: LeftOut | None = None) -> Iterator[ObjectInfo]:
    """Yield the files at or below a path, sorted by key, as `Storage.listing` says."""
    root = Path(path).stat()
    if file_modes.S_ISDIR(root.st_mode):
        with storage_errors(path), os.scandir(path):  # what cannot be listed at all is no part of something that can
            pass
        yield from _walk(path, "", (_identity(root),), left_out)
    else:
        yield stat(path)


def _walk(
    folder: str, prefix: str, ancestors: tuple[tuple[int, int], ...], left_out: LeftOut | None
) -> Iterator[ObjectInfo]:
    counts: Counter[str] = Counter() if left_out is None else left_out.counts
    try:
        with storage_errors(folder), os.scandir(folder) as entries:
            found_here = list(entries)
    except StorageError as error:
        if left_out is None:
            raise
        left_out.note(folder, prefix, f"this folder cannot be read: {error.cause}")
        return
    visible = [entry for entry in found_here if not entry.name.startswith(".")]
    counts[HIDDEN] += len(found_here) - len(visible)
    # Keys are to come out sorted, and those in a folder go on with '/': 'a-b' comes before 'a/b', 'a.b' too, 'a0b' not.
    for entry in sorted(visible, key=lambda each: each.name + "/" * _is_folder(each)):
        key = prefix + entry.name
        try:
            found = entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):  # a link that leads nowhere, or a file that has gone since
                counts[BROKEN] += 1
            elif left_out is None:
                raise
            else:
                left_out.note(entry.path, key, f"it cannot be looked at: {error.strerror}")
            continue
        if file_modes.S_ISDIR(found.st_mode):
            counts[LINKED if _identity(found) not in ancestors else CIRCLES] += entry.is_symlink()
            if _identity(found) not in ancestors:
                yield from _walk(entry.path, f"{key}/", (*ancestors, _identity(found)), left_out)
        elif not file_modes.S_ISREG(found.st_mode):
            counts[SPECIAL] += 1
        elif left_out is not None and not is_utf8(entry.path):
            left_out.note(entry.path, key, NOT_UTF8)
        else:
            yield ObjectInfo(entry.path, key, *_size_and_version(found))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
