"""Names of places: local paths (`scans/a.jpg`, `~/scans`, `file:///scans`) and `s3://bucket/key`. Nothing is asked."""

import os
import re
import urllib.parse
from pathlib import Path

from colornet.errors import NotFoundError, SettingsError, StorageError

S3 = "s3://"
OWN_FOLDER = "_colornet"
"""Below an output: where a job keeps what it reads again itself."""


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


def below(output: str, key: str) -> str:
    """Return the place of a key below an output: on S3 as it is, also with empty segments.

    Raises `StorageError` if it could lead elsewhere, or to a job's own files; on local disks as `join` does.
    """
    segments = key.split("/")
    if segments[0] == OWN_FOLDER:
        raise StorageError(f"{output}: {key!r} is a place of the job's own files")
    if not is_s3(output):
        return join(output, key)
    if "\0" in key or not segments[-1] or any(segment in (".", "..") for segment in segments):
        raise StorageError(f"{output}: {key!r} is not a key below it")
    return f"{normalize(output)}/{key}"


def own(output: str, *parts: str) -> str:
    """Return the place `parts` below the folder of a job's own files, or that folder."""
    return join(output, OWN_FOLDER, *parts)


def contains(outer: str, inner: str) -> bool:
    """Whether `inner` is the same place as `outer` or below it. Symbolic links of local paths are resolved."""
    outer, inner = (each if is_s3(each) else os.path.realpath(each) for each in map(normalize, (outer, inner)))
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def name(uri: str) -> str:
    """Return the last segment of a normalized uri."""
    return uri.rpartition("/")[2]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Return bucket and key of an object, from its normalized uri; `NotFoundError` for a whole bucket."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    if not key:
        raise NotFoundError(f"{uri}: this is a bucket, not an object")
    return bucket, key


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of what lies below a place of S3, from its normalized uri."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key + "/" if key else ""


def _absolute(path: str) -> str:
    if not path or "\0" in path:
        raise SettingsError(f"{path!r} is not a path")
    try:
        return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  (Path.absolute keeps '..')
    except RuntimeError as error:  # ~nobody
        raise SettingsError(f"{path}: {error}") from error


def is_directory_bucket(bucket: str) -> bool:
    """Whether this is a bucket of S3 Express: its keys are listed in no order, its ETags are random."""
    return bucket.endswith("--x-s3")
