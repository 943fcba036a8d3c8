"""Errors of boto3 and of the operating system, in the words of Colornet."""

import contextlib
import errno
import re
import sys
from collections.abc import Iterator

from colornet.errors import AccessError, ExistsError, NotFoundError, StorageError
from colornet.storage.uris import S3


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turn what boto3 and the operating system raise in the block into `StorageError`s that name `uri`."""
    try:
        yield
    except _errors_of_s3() as error:
        from colornet.storage import s3_errors

        kind, reason = s3_errors.explain(error)
        raise failure(kind, uri, reason) from error
    except FileExistsError as error:
        raise failure(ExistsError, uri, error.strerror) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise failure(NotFoundError, uri, error.strerror) from error
    except OSError as error:
        kind = AccessError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else StorageError
        raise failure(kind, uri, error.strerror or error) from error


def _errors_of_s3() -> tuple[type[Exception], ...]:
    """Return those that boto3 can have raised: none where nobody has spoken S3, and boto3 may not be installed."""
    s3_errors = sys.modules.get("colornet.storage.s3_errors")
    return s3_errors.ERRORS if s3_errors else ()


def failure(kind: type[StorageError], uri: str, reason: object) -> StorageError:
    """Make an error whose message differs between places in nothing but the uri."""
    cause = " ".join(str(reason).split())
    resource = re.escape(uri.removeprefix(S3))
    told = re.sub(f"arn:[a-z-]+:s3:::{resource}", lambda _: uri, cause)  # Amazon names the object in its own way
    return kind(f"{uri}: {told}", told.replace(uri, "it"))
