"""One facade over local paths and s3://: whole objects in, whole objects out.

A place is named by a *uri*, as `uris` explains. Objects are read and written whole; a write is all or nothing, on
either side, so a reader never meets half an object. Every failure is a `StorageError` whose message is one line with
the uri in it: `NotFoundError` where there is nothing, `AccessError` where credentials are the trouble, `ExistsError`
where there is something already.

Bytes that S3 hands out are checked against the checksum that the server keeps of them, and those that it is handed come
with one, so that what was changed on its way is fetched or sent again.

    storage = Storage(S3Options(requester_pays=True))
    storage.write("s3://archive/colour/a.jpg", storage.read("s3://archive/scans/a.jpg").data)
"""

import contextlib
import functools
import mimetypes
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from colornet import distribution
from colornet.errors import ExistsError, NotFoundError
from colornet.storage import local
from colornet.storage.errors import storage_errors as storage_errors
from colornet.storage.left_out import LeftOut as LeftOut
from colornet.storage.listing import list_in_parallel
from colornet.storage.objects import ObjectInfo as ObjectInfo
from colornet.storage.objects import StoredObject as StoredObject
from colornet.storage.options import S3Options as S3Options
from colornet.storage.server_errors import NoConditionError
from colornet.storage.uris import (
    S3,
    bucket_and_key,
    bucket_and_prefix,
    is_directory_bucket,
    is_s3,
    join,
    name,
    normalize,
)

if TYPE_CHECKING:
    import pyarrow.fs

    from colornet.storage.s3 import S3Objects

PAGE_OBJECTS = 1000
"""Of a listing in pages: as many as S3 sends at once."""
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@dataclass(frozen=True)
class Storage:
    """Local files, and S3 under some options. Small, and plain data: it travels to every worker.

    Clients of S3 are made where they are first needed, one for each process, options and environment (`AWS_*`).
    """

    s3: S3Options = S3Options()

    def read(self, uri: str) -> StoredObject:
        """Return a whole file or object. Raises `NotFoundError`, `AccessError` or another `StorageError`."""
        uri = normalize(uri)
        with storage_errors(uri):
            return StoredObject(*self._objects.get(*bucket_and_key(uri))) if is_s3(uri) else local.read(uri)

    def write(
        self, uri: str, data: bytes, content_type: str | None = None, *, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Store `data` at `uri`, replacing what was there, and return its version. It is durable when this returns.

        All or nothing: until then, and if it fails, readers see what was there before. Missing local folders are made.

        Args:
            uri: the place.
            data: the bytes. S3 gets large ones in parts, see `S3Options.multipart_mb`.
            content_type: guessed from the name where it is None. Kept by S3 only.
            metadata: names (ASCII) and values that S3 keeps with the object; 2 KB at most. What is not printable ASCII
                in a value, and '%', is written as in a URL. Kept by S3 only.
        """
        uri = normalize(uri)
        with storage_errors(uri):
            if not is_s3(uri):
                return local.write(Path(uri), data)
            ascii_only = {
                label: urllib.parse.quote(value, safe=_PRINTABLE) for label, value in (metadata or {}).items()
            }
            return self._objects.put(*bucket_and_key(uri), data, content_type or _content_type(uri), ascii_only)

    def create(self, uri: str, data: bytes, content_type: str | None = None) -> str:
        """Store `data` at `uri` if there is nothing yet, and return its version; raises `ExistsError` if there is.

        All or nothing and durable like `write`. Of many who create the same place at once, one succeeds: on local file
        systems (they must have hard links), and on servers that check `If-None-Match` when they store, as Amazon does.
        OpenStack Swift checks it when the request begins.
        """
        uri = normalize(uri)
        with storage_errors(uri):
            if not is_s3(uri):
                return local.write(Path(uri), data, create=True)
            condition = {"IfNoneMatch": "*"}
            return self._objects.put_if(condition, *bucket_and_key(uri), data, content_type or _content_type(uri))

    def replace(self, uri: str, data: bytes, version: str, content_type: str | None = None) -> str:
        """Store `data` at `uri` in place of what is there in this version, and return the new version.

        Raises `ExistsError` if another version is there, `NotFoundError` if nothing is. Where a server knows no
        `If-Match`, and on local file systems, somebody else's write in the same moment can go unnoticed.
        """
        uri = normalize(uri)
        if is_s3(uri):
            with storage_errors(uri), contextlib.suppress(NoConditionError):
                condition = {"IfMatch": f'"{version}"'}
                return self._objects.put_if(condition, *bucket_and_key(uri), data, content_type or _content_type(uri))
        if self.stat(uri).version != version:
            raise ExistsError(f"{uri}: another version is there already", "another version is there already")
        return self.write(uri, data, content_type)

    def stat(self, uri: str) -> ObjectInfo:
        """Return size and version of one file or object; its key is its name. `NotFoundError`, also for a folder."""
        uri = normalize(uri)
        with storage_errors(uri):
            if not is_s3(uri):
                return local.stat(uri)
            return ObjectInfo(uri, name(uri), *self._objects.head(*bucket_and_key(uri)))

    def exists(self, uri: str) -> bool:
        """Whether there is a file or object at `uri`; a folder or prefix is neither."""
        try:
            self.stat(uri)
        except NotFoundError:
            return False
        return True

    def delete(self, uri: str) -> None:
        """Remove one file or object. That it is not there is no error, so a delete may be repeated."""
        uri = normalize(uri)
        with storage_errors(uri):
            if is_s3(uri):
                self._objects.delete(*bucket_and_key(uri))
            else:
                Path(uri).unlink(missing_ok=True)

    def check_writable(self, uri: str) -> None:
        """Write and delete a tiny object below `uri`, or raise the `StorageError` that says why not.

        For a job to call before it starts anything that is slow or costs money. A missing local folder is made.
        """
        probe = join(uri, f".colornet-probe-{uuid.uuid4().hex}")
        self.write(probe, b"colornet")
        self.delete(probe)

    def arrow_filesystem(self, uri: str) -> "tuple[pyarrow.fs.FileSystem, str]":
        """Return Arrow's file system and the path in it that lead to `uri`, for Parquet files and Ray Data.

        For S3 it goes to the endpoint and region that the rest of this module goes to, with the same credentials.
        """
        uri = normalize(uri)
        if not is_s3(uri):
            from pyarrow.fs import LocalFileSystem  # Arrow is for those who have tables

            return LocalFileSystem(), uri
        with distribution.needed("s3://"):
            from colornet.storage.s3_client import arrow_filesystem
        with storage_errors(uri):
            return arrow_filesystem(self.s3), uri.removeprefix(S3)

    def listing(self, uri: str, left_out: LeftOut | None = None) -> Iterator[ObjectInfo]:
        """Yield every file or object at or below `uri`, sorted by key, without holding them all.

        Local: regular files and symbolic links to them; hidden names (a leading '.') and links back to a folder above
        are left out. S3: all keys but the empty markers of folders, whose keys end in '/'. An empty folder or bucket
        yields nothing; a place that does not exist raises `NotFoundError` on the first step.

        With `left_out`, local files whose names are not UTF-8, folders that may not be read, and objects whose keys end
        in '/' though they are not empty are noted there, with counts of what is left out. Without, such names come as
        Python has them, such folders are errors, and such objects are left out.
        """
        uri = normalize(uri)
        with storage_errors(uri):
            yield from self._list_s3(uri, left_out) if is_s3(uri) else local.listing(uri, left_out)

    def listing_pages(self, uri: str, threads: int = 16, left_out: LeftOut | None = None) -> Iterator[list[ObjectInfo]]:
        """Yield the same objects as `listing`, up to 1000 at a time and in no order: many times faster on S3.

        `threads` requests list parts of the keys at once. Few pages are held in memory, and each object comes once.
        Raises what `listing` raises.
        """
        uri = normalize(uri)
        if is_s3(uri) and not is_directory_bucket(bucket_and_prefix(uri)[0]):
            with storage_errors(uri):
                yield from self._list_s3_in_parallel(uri, threads, left_out)
        else:
            yield from _pages(self.listing(uri, left_out))

    def _list_s3(self, uri: str, left_out: LeftOut | None) -> Iterator[ObjectInfo]:
        bucket, prefix = bucket_and_prefix(uri)
        empty = True
        for page, _ in self._objects.pages(bucket, prefix):
            empty = empty and not page
            yield from _infos(bucket, prefix, page, left_out)
        if empty and prefix:  # there are empty buckets, but no empty prefixes: it is one object, or nothing
            yield self.stat(uri)

    def _list_s3_in_parallel(self, uri: str, threads: int, left_out: LeftOut | None) -> Iterator[list[ObjectInfo]]:
        bucket, prefix = bucket_and_prefix(uri)
        empty = True
        for page in list_in_parallel(functools.partial(self._objects.pages, bucket, prefix), threads):
            empty = empty and not page
            if found := list(_infos(bucket, prefix, page, left_out)):
                yield found
        if empty and prefix:
            yield [self.stat(uri)]

    @property
    def _objects(self) -> "S3Objects":
        with distribution.needed("s3://"):  # boto3 is an extra
            from colornet.storage.s3 import S3Objects
        return S3Objects(self.s3)


def _content_type(uri: str) -> str:
    return mimetypes.guess_type(name(uri))[0] or "application/octet-stream"


def _pages(found: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    found = iter(found)
    while page := list(islice(found, PAGE_OBJECTS)):
        yield page


def _infos(
    bucket: str, prefix: str, page: Iterable[tuple[str, int, str]], left_out: LeftOut | None
) -> Iterator[ObjectInfo]:
    """All but the markers of folders; what is called like one, and is not empty, is noted."""
    for key, size, version in page:
        uri = f"{S3}{bucket}/{prefix}{key}"
        if key and not key.endswith("/"):
            yield ObjectInfo(uri, key, size, version)
        elif size and left_out is not None:
            left_out.note(uri, key, "its key ends in '/', as that of a folder")
