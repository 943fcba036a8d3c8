"""What S3 needs beyond a call of boto3: one client per process, bodies that are fetched again, errors that have a kind.

Buckets and keys in, bytes and versions (ETags without their quotes) out. `colornet.storage` is the way in.

Endpoint, region and credentials come from the usual AWS places and from nowhere else. The errors of boto3 go through as
they are; `explain` says what they mean.
"""

import contextlib
import functools
import os
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import botocore.session
import pyarrow.fs
import tenacity
import urllib3.exceptions
from botocore.config import Config

from colornet.errors import AccessError, NotFoundError, StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 10
READ_SECONDS = 60
REQUEST_RETRIES = 8
BODY_ATTEMPTS = 4


# --- objects ---------------------------------------------------------------------------------------------------------


class BrokenBodyError(Exception):
    """The answer began, and its body did not arrive whole."""


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(BrokenBodyError),
    stop=tenacity.stop_after_attempt(BODY_ATTEMPTS),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    reraise=True,
)
def get(bucket: str, key: str) -> tuple[bytes, str]:
    """Return the bytes of an object and their version."""
    # botocore retries a request until its answer begins, and never once the body is being read: get and read are one.
    answer = client().get_object(Bucket=bucket, Key=key)
    try:
        with contextlib.closing(answer["Body"]) as body:  # as its own context manager it would skip botocore's checks
            data = body.read()
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenBodyError(f"the body broke off {BODY_ATTEMPTS} times: {error}") from error
    return data, _version(answer["ETag"])


def put(bucket: str, key: str, data: bytes, content_type: str) -> str:
    """Store an object in one request, which succeeds as a whole or not at all, and return its version."""
    answer = client().put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)
    return _version(answer["ETag"])


def head(bucket: str, key: str) -> tuple[int, str]:
    """Return the size of an object in bytes, and its version."""
    answer = client().head_object(Bucket=bucket, Key=key)
    return answer["ContentLength"], _version(answer["ETag"])


def delete(bucket: str, key: str) -> None:
    """Remove an object; that there is none is no error."""
    client().delete_object(Bucket=bucket, Key=key)


def listing(bucket: str, prefix: str) -> Iterator[tuple[str, int, str]]:
    """Yield key, size in bytes and version of every object whose key begins with `prefix`, sorted by key."""
    for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            yield found["Key"], found["Size"], _version(found["ETag"])


def _version(etag: str) -> str:
    return etag.strip('"')


# --- clients ---------------------------------------------------------------------------------------------------------


def client() -> "S3Client":
    """Return this process's client. Clients are safe to share between threads; making one is neither safe nor cheap."""
    with _making_client:
        return _shared_client()


def forget_client() -> None:
    """Let the next call make a new client, for a changed environment.

    A forked process does so by itself: it can share neither connections nor a held lock with its parent.
    """
    global _making_client
    _making_client = threading.Lock()
    _shared_client.cache_clear()


_making_client = threading.Lock()
os.register_at_fork(after_in_child=forget_client)


@functools.lru_cache(maxsize=1)
def _shared_client() -> "S3Client":
    profile = botocore.session.get_session()
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")  # boto3 itself reads the first only
    session = boto3.Session(botocore_session=profile, region_name=region)
    settings: dict[str, Any] = {
        "retries": {"mode": "adaptive", "max_attempts": REQUEST_RETRIES},
        "max_pool_connections": 64,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
    made = session.client("s3", config=Config(**settings))
    if _is_amazon(made):
        return made
    # By default boto3 adds checksums that many other servers refuse, Google Cloud Storage among them.
    for setting in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{setting.upper()}" not in os.environ and setting not in profile.get_scoped_config():
            settings[setting] = "when_required"
    return session.client("s3", config=Config(**settings))


def _is_amazon(made: "S3Client") -> bool:
    """Whether the client goes to one of S3's own public endpoints, and not to one that was configured."""
    host = urllib.parse.urlsplit(made.meta.endpoint_url).hostname or ""
    return re.fullmatch(r"s3\.([a-z0-9-]+\.)?amazonaws\.com(\.cn)?", host) is not None


_ARROW_FINDS_CREDENTIALS_OF = {
    "env",
    "shared-credentials-file",
    "assume-role-with-web-identity",
    "container-role",
    "custom-process",
    "iam-role",
}


def arrow_filesystem() -> pyarrow.fs.S3FileSystem:
    """Return Arrow's file system for the endpoint and region of `client`.

    Arrow finds the credentials itself, so that they are renewed; only those that it cannot find (single sign-on,
    assumed roles) are handed over, as they are now.
    """
    meta = client().meta
    options: dict[str, Any] = {"region": meta.region_name}
    if not _is_amazon(client()):
        options["scheme"], _, options["endpoint_override"] = meta.endpoint_url.partition("://")
    credentials = boto3.Session().get_credentials()
    if credentials and credentials.method not in _ARROW_FINDS_CREDENTIALS_OF:
        now = credentials.get_frozen_credentials()
        options |= {"access_key": now.access_key, "secret_key": now.secret_key, "session_token": now.token}
    return pyarrow.fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=READ_SECONDS,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=REQUEST_RETRIES),
        **options,
    )


# --- errors ----------------------------------------------------------------------------------------------------------

ERRORS = (
    botocore.exceptions.ClientError,
    botocore.exceptions.BotoCoreError,
    urllib3.exceptions.HTTPError,
    BrokenBodyError,
)
"""What the functions of this module raise, and `explain` explains."""

_NO_CREDENTIALS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.MetadataRetrievalError,
)
_REFUSED = {"AllAccessDisabled", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # not all come as 401 or 403


def explain(error: Exception) -> tuple[type[StorageError], str]:
    """Return which error of Colornet's an error of boto3 is, and its reason."""
    if isinstance(error, botocore.exceptions.ClientError):
        answer = error.response.get("Error", {})
        code = answer.get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _kind(code, status), ": ".join(filter(None, (code, answer.get("Message"))))
    return AccessError if isinstance(error, _NO_CREDENTIALS) else StorageError, str(error)


def _kind(code: str, status: int) -> type[StorageError]:
    if code == "InvalidObjectState":  # in cold storage: a 403, but about this object and not about credentials
        return StorageError
    if code in _REFUSED or status in (401, 403):
        return AccessError
    return NotFoundError if status == 404 else StorageError
