"""One facade over local paths and s3://: whole objects in, whole objects out.

A place is named by a *uri*: a local path (`scans/a.jpg`, `~/scans`, `file:///scans`) or `s3://bucket/key`. Objects are
read and written whole; a write is all or nothing, on either side, so a reader never meets half an object. Every failure
is a `StorageError` whose message is one line with the uri in it: `NotFoundError` where there is nothing, `AccessError`
where credentials are the trouble, `ExistsError` where there is something already.

Bytes that S3 hands out are checked against the checksum that the server keeps of them, and those that it is handed come
with one, so that what was changed on its way is fetched or sent again.

Endpoint, region and credentials of S3 come from the usual AWS places (environment, profiles, instance roles) and from
nowhere else; `AWS_ENDPOINT_URL` leads to any other server that speaks S3. `use` sets everything else.
"""

import contextlib
import errno
import functools
import mimetypes
import os
import re
import stat as file_modes
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow.fs

from colornet.errors import AccessError, ExistsError, NotFoundError, SettingsError, StorageError
from colornet.storage import s3
from colornet.storage.listing import list_in_parallel
from colornet.storage.options import S3Options as S3Options

S3 = "s3://"
PAGE_OBJECTS = 1000
"""Of a listing in pages: as many as S3 sends at once."""


@dataclass(frozen=True)
class ObjectInfo:
    """One file or object, without its bytes."""

    uri: str
    key: str
    """Place relative to the listed root, segments separated by '/'. The last segment of the uri if that is the root."""
    size: int
    """Bytes."""
    version: str
    """Changes when the content does. S3: the ETag without its quotes; local: modification time and size."""


@dataclass(frozen=True)
class StoredObject:
    """The bytes of one file or object, and the version that these bytes are."""

    data: bytes
    version: str


# --- places -----------------------------------------------------------------------------------------------------------


def normalize(uri: str) -> str:
    """Return the one spelling of a place: `s3://bucket/key` or an absolute local path, without a trailing slash.

    `~` is expanded, `file://` is taken off. Symbolic links are kept. Raises `SettingsError` for any other scheme.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return _absolute(uri)
    if scheme.lower() == "s3":
        bucket, slash, key = rest.partition("/")
        if not bucket:
            raise SettingsError(f"{uri}: an s3 uri is s3://bucket or s3://bucket/prefix")
        return S3 + (bucket + slash + key).rstrip("/")
    if scheme.lower() == "file":
        if not rest.startswith("/"):
            raise SettingsError(f"{uri}: a file uri has three slashes and an absolute path, file:///folder")
        return _absolute(urllib.parse.unquote(rest))
    raise SettingsError(f"{uri}: unknown scheme {scheme}://; use a local path, file:// or s3://")


def is_s3(uri: str) -> bool:
    """Whether the uri names a place in an object store."""
    return uri[: len(S3)].lower() == S3


def join(uri: str, *parts: str) -> str:
    """Return the place `parts` below `uri`; each part is one or more segments separated by '/'.

    Keys come from other people's buckets, so a part that could lead anywhere else (`..`, `.`, an absolute path, an
    empty segment, a NUL) raises `StorageError`.
    """
    for part in parts:
        if "\0" in part or any(segment in ("", ".", "..") for segment in part.split("/")):
            raise StorageError(f"{uri}: {part!r} is not a key below it")
    return "/".join([normalize(uri).rstrip("/"), *parts])


def contains(outer: str, inner: str) -> bool:
    """Whether `inner` is the same place as `outer` or below it. Symbolic links of local paths are resolved."""
    outer, inner = (each if is_s3(each) else os.path.realpath(each) for each in map(normalize, (outer, inner)))
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _absolute(path: str) -> str:
    if not path or "\0" in path:
        raise SettingsError(f"{path!r} is not a path")
    try:
        return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (Path.absolute keeps '..')
    except RuntimeError as error:  # ~nobody
        raise SettingsError(f"{path}: {error}") from error


def _address(uri: str) -> tuple[str, str]:
    """Return bucket and key of an object."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    if not key:
        raise NotFoundError(f"{uri}: this is a bucket, not an object")
    return bucket, key


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


# --- objects ---------------------------------------------------------------------------------------------------------


def use(options: S3Options) -> None:
    """Take these options for S3 from the next call on, in this process. The same again costs nothing."""
    s3.use(options)


def read(uri: str) -> StoredObject:
    """Return a whole file or object. Raises `NotFoundError`, `AccessError` or another `StorageError`."""
    uri = normalize(uri)
    with storage_errors(uri):
        return StoredObject(*s3.get(*_address(uri))) if is_s3(uri) else _read_file(uri)


def write(uri: str, data: bytes, content_type: str | None = None, *, metadata: Mapping[str, str] | None = None) -> str:
    """Store `data` at `uri`, replacing what was there, and return its version. It is durable when this returns.

    All or nothing: until then, and if it fails, readers see what was there before. Missing local folders are made.

    Args:
        uri: the place.
        data: the bytes. S3 gets large ones in parts, see `S3Options.multipart_mb`.
        content_type: guessed from the name where it is None. Kept by S3 only.
        metadata: names (ASCII) and values that S3 keeps with the object; 2 KB at most. What is not printable ASCII in
            a value, and '%', is written as in a URL. Kept by S3 only.
    """
    uri = normalize(uri)
    with storage_errors(uri):
        if not is_s3(uri):
            return _write_file(Path(uri), data)
        ascii_only = {name: urllib.parse.quote(value, safe=_PRINTABLE) for name, value in (metadata or {}).items()}
        return s3.put(*_address(uri), data, content_type or _content_type(uri), ascii_only)


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def create(uri: str, data: bytes, content_type: str | None = None) -> str:
    """Store `data` at `uri` if there is nothing yet, and return its version; raises `ExistsError` if there is.

    All or nothing and durable like `write`. Of many who create the same place at once, one succeeds: on local file
    systems (they must have hard links), and on servers that check `If-None-Match` when they store, as Amazon does.
    OpenStack Swift checks it when the request begins.
    """
    uri = normalize(uri)
    with storage_errors(uri):
        if not is_s3(uri):
            return _write_file(Path(uri), data, create=True)
        return s3.put_if({"IfNoneMatch": "*"}, *_address(uri), data, content_type or _content_type(uri))


def replace(uri: str, data: bytes, version: str, content_type: str | None = None) -> str:
    """Store `data` at `uri` in place of what is there in this version, and return the new version.

    Raises `ExistsError` if another version is there, `NotFoundError` if nothing is. Where a server knows no `If-Match`,
    and on local file systems, somebody else's write in the same moment can go unnoticed.
    """
    uri = normalize(uri)
    if is_s3(uri):
        with storage_errors(uri), contextlib.suppress(s3.NoConditionError):
            condition = {"IfMatch": f'"{version}"'}
            return s3.put_if(condition, *_address(uri), data, content_type or _content_type(uri))
    if stat(uri).version != version:
        raise ExistsError(f"{uri}: another version is there already", "another version is there already")
    return write(uri, data, content_type)


def _content_type(uri: str) -> str:
    return mimetypes.guess_type(_name(uri))[0] or "application/octet-stream"


def stat(uri: str) -> ObjectInfo:
    """Return size and version of one file or object; its key is its name. Raises `NotFoundError`, also for a folder."""
    uri = normalize(uri)
    with storage_errors(uri):
        size, version = s3.head(*_address(uri)) if is_s3(uri) else _size_and_version(_regular_file(uri))
        return ObjectInfo(uri, _name(uri), size, version)


def exists(uri: str) -> bool:
    """Whether there is a file or object at `uri`; a folder or prefix is neither."""
    try:
        stat(uri)
    except NotFoundError:
        return False
    return True


def delete(uri: str) -> None:
    """Remove one file or object. That it is not there is no error, so a delete may be repeated."""
    uri = normalize(uri)
    with storage_errors(uri):
        if is_s3(uri):
            s3.delete(*_address(uri))
        else:
            Path(uri).unlink(missing_ok=True)


def check_writable(uri: str) -> None:
    """Write and delete a tiny object below `uri`, or raise the `StorageError` that says why not.

    For a job to call before it starts anything that is slow or costs money. A missing local folder is made.
    """
    probe = join(uri, f".colornet-probe-{uuid.uuid4().hex}")
    write(probe, b"colornet")
    delete(probe)


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return Arrow's file system and the path in it that lead to `uri`, for Parquet files and Ray Data.

    For S3 it goes to the endpoint and region that the rest of this module goes to, with the same credentials.
    """
    uri = normalize(uri)
    if not is_s3(uri):
        return pyarrow.fs.LocalFileSystem(), uri
    with storage_errors(uri):
        return s3.arrow_filesystem(), uri.removeprefix(S3)


def make_folder(folder: Path) -> None:
    """Make a local folder and those above it, if they are missing. Raises what the operating system raises."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{folder}: one of its folders is a file", "a folder is a file") from error


def _read_file(path: str) -> StoredObject:
    _regular_file(path)  # opening a named pipe would wait for ever
    with Path(path).open("rb") as file:
        _, version = _size_and_version(os.fstat(file.fileno()))
        return StoredObject(file.read(), version)


def _write_file(path: Path, data: bytes, *, create: bool = False) -> str:
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
    """Open a file without a name for writing; where the file system has no such files, one named `temporary`."""
    try:
        return os.open(temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _give_name(descriptor: int, path: Path, temporary: Path | None) -> None:
    """Give an open file its name: a new one, or by way of a temporary one also one that another file has."""
    nameless = f"/proc/self/fd/{descriptor}"
    # Python follows the link to the file only if it is given a folder's descriptor, which an absolute path ignores.
    try:
        os.link(nameless, path, src_dir_fd=0)
    except FileExistsError:
        if temporary is None:
            raise
        os.link(nameless, temporary, src_dir_fd=0)
        temporary.replace(path)


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


def listing(uri: str) -> Iterator[ObjectInfo]:
    """Yield every file or object at or below `uri`, sorted by key, without holding them all.

    Local: regular files and symbolic links to them; hidden names (a leading '.') and links back to a folder above are
    left out. S3: all keys but the empty markers of folders, whose keys end in '/'. An empty folder or bucket yields
    nothing; a place that does not exist raises `NotFoundError` on the first step.
    """
    uri = normalize(uri)
    with storage_errors(uri):
        yield from _list_s3(uri) if is_s3(uri) else _list_local(uri)


def listing_pages(uri: str, threads: int = 16) -> Iterator[list[ObjectInfo]]:
    """Yield the same objects as `listing`, up to 1000 at a time and in no order: many times faster on S3.

    `threads` requests list parts of the keys at once. Few pages are held in memory, and each object comes once. Raises
    what `listing` raises.
    """
    uri = normalize(uri)
    if is_s3(uri) and not s3.is_directory_bucket(_listed(uri)[0]):
        with storage_errors(uri):
            yield from _list_s3_in_parallel(uri, threads)
    else:
        yield from _pages(listing(uri))


def _pages(found: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    found = iter(found)
    while page := list(islice(found, PAGE_OBJECTS)):
        yield page


def _list_s3(uri: str) -> Iterator[ObjectInfo]:
    bucket, prefix = _listed(uri)
    empty = True
    for page, _ in s3.pages(bucket, prefix):
        empty = empty and not page
        yield from _objects(bucket, prefix, page)
    if empty and prefix:  # there are empty buckets, but no empty prefixes: it is one object, or nothing
        yield stat(uri)


def _list_s3_in_parallel(uri: str, threads: int) -> Iterator[list[ObjectInfo]]:
    bucket, prefix = _listed(uri)
    empty = True
    for page in list_in_parallel(functools.partial(s3.pages, bucket, prefix), threads):
        empty = empty and not page
        if found := list(_objects(bucket, prefix, page)):
            yield found
    if empty and prefix:
        yield [stat(uri)]


def _listed(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of what is below a place."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key + "/" if key else ""


def _objects(bucket: str, prefix: str, page: Iterable[tuple[str, int, str]]) -> Iterator[ObjectInfo]:
    """All but the markers of folders."""
    for key, size, version in page:
        if key and not key.endswith("/"):
            yield ObjectInfo(f"{S3}{bucket}/{prefix}{key}", key, size, version)


def _list_local(path: str) -> Iterator[ObjectInfo]:
    root = Path(path).stat()
    if file_modes.S_ISDIR(root.st_mode):
        yield from _walk(path, "", (_identity(root),))
    else:
        yield stat(path)


def _walk(folder: str, prefix: str, ancestors: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
    with storage_errors(folder), os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    # Keys are to come out sorted, and those in a folder go on with '/': 'a-b' comes before 'a/b', 'a.b' too, 'a0b' not.
    for entry in sorted(visible, key=lambda each: each.name + "/" * _is_folder(each)):
        try:
            found = entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):  # a link that leads nowhere, or a file that has gone since
                continue
            raise
        if file_modes.S_ISDIR(found.st_mode):
            if _identity(found) not in ancestors:
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*ancestors, _identity(found)))
        elif file_modes.S_ISREG(found.st_mode):
            yield ObjectInfo(entry.path, prefix + entry.name, *_size_and_version(found))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


# --- errors ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn what boto3 and the operating system raise in the block into `StorageError`s that name `uri`."""
    try:
        yield
    except s3.ERRORS as error:
        kind, reason = s3.explain(error)
        raise _failure(kind, uri, reason) from error
    except FileExistsError as error:
        raise _failure(ExistsError, uri, error.strerror) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _failure(NotFoundError, uri, error.strerror) from error
    except OSError as error:
        kind = AccessError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else StorageError
        raise _failure(kind, uri, error.strerror or error) from error


def _failure(kind: type[StorageError], uri: str, reason: object) -> StorageError:
    """Make an error whose message differs between places in nothing but the uri."""
    cause = " ".join(str(reason).split())
    resource = re.escape(uri.removeprefix(S3))
    told = re.sub(f"arn:[a-z-]+:s3:::{resource}", lambda _: uri, cause)  # Amazon names the object in its own way
    return kind(f"{uri}: {told}", told.replace(uri, "it"))
