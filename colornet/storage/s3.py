"""What S3 needs beyond calls of boto3: one client per process, checked bodies, uploads in parts, errors with a kind.

Buckets and keys in, bytes and versions (ETags without their quotes) out. `colornet.storage` is the way in.

Endpoint, region and credentials come from the usual AWS places and from nowhere else, everything else from `use`. The
errors of boto3 go through as they are; `explain` says what they mean.
"""

import base64
import contextlib
import functools
import hashlib
import logging
import os
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import botocore.session
import pyarrow.fs
import tenacity
import urllib3.exceptions
from botocore.config import Config

from colornet.errors import AccessError, ExistsError, NotFoundError, StorageError
from colornet.storage.options import S3Options
from colornet.storage.rate import bound_requests

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
REQUEST_RETRIES = 8
BODY_ATTEMPTS = 4
PART_BYTES = 8 << 20
"""Of an upload in parts; the last one is smaller. S3 takes 10,000 of them, more than fits into memory."""
PART_THREADS = 4
OWN_FOLDER = "_colornet"
"""Where a job keeps what it reads again itself: in no storage class from which that would be slow or cost extra."""


# --- objects ---------------------------------------------------------------------------------------------------------


class BrokenBodyError(Exception):
    """The answer began, and its body did not arrive whole and sound."""


_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=5)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(BrokenBodyError),
    stop=tenacity.stop_after_attempt(BODY_ATTEMPTS),
    wait=_WAIT,
    reraise=True,
)
def get(bucket: str, key: str) -> tuple[bytes, str]:
    """Return the bytes of an object and their version."""
    # botocore retries a request until its answer begins, and never once the body is being read: get and read are one.
    answer = client().get_object(Bucket=bucket, Key=key, **_payer())
    try:
        with contextlib.closing(answer["Body"]) as body:  # as its own context manager it would skip botocore's checks
            data = body.read()
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenBodyError(f"the body broke off {BODY_ATTEMPTS} times ({type(error).__name__})") from error
    version = _version(answer["ETag"])
    if _is_md5(bucket, version, answer) and _md5(data).hexdigest() != version.lower():
        raise BrokenBodyError(f"the body did not fit its MD5 {BODY_ATTEMPTS} times")
    return data, version


def _is_md5(bucket: str, version: str, answer: Mapping[str, Any]) -> bool:
    """Whether the version of an object is the MD5 of its bytes: not if it came in parts, or is encrypted with a key."""
    encrypted = answer.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in answer
    return re.fullmatch(r"[0-9a-fA-F]{32}", version) is not None and not encrypted and not is_directory_bucket(bucket)


def is_directory_bucket(bucket: str) -> bool:
    """Whether this is a bucket of S3 Express: its keys are listed in no order, its ETags are random."""
    return bucket.endswith("--x-s3")


def _md5(data: bytes | memoryview) -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


_TRY_AGAIN = {
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
    "ConditionalRequestConflict",
    "OperationAborted",
}
"""Refusals of a write that came broken, or together with another: botocore gives up, and the next try may succeed."""


def _may_succeed(error: BaseException) -> bool:
    return isinstance(error, botocore.exceptions.ClientError) and _code(error) in _TRY_AGAIN


_persistently = tenacity.retry(
    retry=tenacity.retry_if_exception(_may_succeed),
    stop=tenacity.stop_after_attempt(BODY_ATTEMPTS),
    wait=_WAIT,
    reraise=True,
)


def put(bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
    """Store an object, which succeeds as a whole or not at all, and return its version."""
    form = {"ContentType": content_type, "Metadata": dict(metadata), **_wishes(key)}
    if len(data) >= _options.multipart_mb << 20:
        return _put_in_parts(bucket, key, data, form)
    return _put_whole(bucket, key, data, form)


@_persistently
def _put_whole(bucket: str, key: str, data: bytes, form: Mapping[str, Any]) -> str:
    answer = client().put_object(Bucket=bucket, Key=key, Body=data, **form, **_checksum(data))
    return _version(answer["ETag"])


class NoConditionError(Exception):
    """The server cannot write under this condition."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the server cannot write under a condition")


def put_if(condition: Mapping[str, str], bucket: str, key: str, data: bytes, content_type: str) -> str:
    """Store an object under a condition of S3 (IfNoneMatch or IfMatch), and return its version.

    `explain` makes an `ExistsError` of the ClientError that comes of a condition that does not hold. Raises
    `NoConditionError` if the server knows no such conditions.
    """
    try:
        return _put_whole(bucket, key, data, {"ContentType": content_type, **condition, **_wishes(key)})
    except botocore.exceptions.ClientError as error:
        if _code(error) == "NotImplemented":
            raise NoConditionError from error
        return _written_by_us(error, bucket, key, data)


def _written_by_us(refusal: botocore.exceptions.ClientError, bucket: str, key: str, data: bytes) -> str:
    """Return the version that a conditional write made, if it was refused because of what its own first try wrote.

    That happens where the answer to the first try was lost. Raises the refusal if that was not so.
    """
    if _code(refusal) == "PreconditionFailed" and refusal.response["ResponseMetadata"].get("RetryAttempts", 0):
        with contextlib.suppress(botocore.exceptions.ClientError):
            found, version = get(bucket, key)
            if found == data:
                return version
    raise refusal


# boto3's own upload_fileobj tells no version, and sends no Content-MD5 to those who need it.
def _put_in_parts(bucket: str, key: str, data: bytes, form: Mapping[str, Any]) -> str:
    upload = client().create_multipart_upload(Bucket=bucket, Key=key, **form)["UploadId"]
    try:
        with ThreadPoolExecutor(PART_THREADS) as threads:
            starts = range(0, len(data), PART_BYTES)
            parts = list(threads.map(functools.partial(_put_part, bucket, key, upload, data), starts))
        return _complete(bucket, key, upload, parts, data)
    except BaseException:
        _abort(bucket, key, upload)
        raise


@_persistently
def _put_part(bucket: str, key: str, upload: str, data: bytes, start: int) -> "CompletedPartTypeDef":
    part = data[start : start + PART_BYTES]
    number = start // PART_BYTES + 1
    answer = client().upload_part(
        Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part, **_checksum(part)
    )
    sums = {name: value for name, value in answer.items() if re.fullmatch(r"Checksum[A-Z0-9]+", name)}
    return {"ETag": answer["ETag"], "PartNumber": number, **sums}  # type: ignore[typeddict-item]


def _complete(bucket: str, key: str, upload: str, parts: "Sequence[CompletedPartTypeDef]", data: bytes) -> str:
    try:
        whole = client().complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": list(parts)}
        )
        return _version(whole["ETag"])
    except botocore.exceptions.ClientError as error:
        # After a lost answer the second try finds no upload any more; then the object must be there.
        if _code(error) != "NoSuchUpload":
            raise
        size, version = head(bucket, key)
        if (size, version) != (len(data), _version_in_parts(data)):
            raise
        return version


def _version_in_parts(data: bytes) -> str:
    view = memoryview(data)
    sums = [_md5(view[start : start + PART_BYTES]).digest() for start in range(0, len(data), PART_BYTES)]
    return f"{_md5(b''.join(sums)).hexdigest()}-{len(sums)}"


def _abort(bucket: str, key: str, upload: str) -> None:
    try:
        client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    except ERRORS as error:
        kind, reason = explain(error)
        if kind is not NotFoundError:
            log.warning("s3://%s/%s: parts of a failed upload are left there: %s", bucket, key, reason)


def _checksum(data: bytes) -> dict[str, Any]:
    """With what a server notices that a body was changed on its way: boto3 adds a CRC for Amazon, MD5 is older."""
    if _is_amazon(client()):
        return {}
    return {"ContentMD5": base64.b64encode(_md5(data).digest()).decode()}


def _wishes(key: str) -> dict[str, str]:
    """What the owner of the bucket wants of an object that is written."""
    wishes = {
        "StorageClass": "" if OWN_FOLDER in key.split("/") else _options.storage_class,
        "ServerSideEncryption": _options.sse,
        "SSEKMSKeyId": _options.kms_key,
        "ACL": _options.acl,
    }
    return {name: value for name, value in wishes.items() if value}


def _payer() -> dict[str, Any]:
    return {"RequestPayer": "requester"} if _options.requester_pays else {}


def head(bucket: str, key: str) -> tuple[int, str]:
    """Return the size of an object in bytes, and its version."""
    try:
        answer = client().head_object(Bucket=bucket, Key=key, **_payer())
    except botocore.exceptions.ClientError as error:
        if _status(error) == 400:  # an answer to HEAD has no body that could say why
            client().get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **_payer())["Body"].close()
        raise
    return answer["ContentLength"], _version(answer["ETag"])


def delete(bucket: str, key: str) -> None:
    """Remove an object; that there is none is no error."""
    client().delete_object(Bucket=bucket, Key=key)


def pages(bucket: str, prefix: str, after: str = "") -> Iterator[tuple[list[tuple[str, int, str]], bool]]:
    """Yield the objects whose key begins with `prefix`, sorted by key, up to 1000 at a time.

    An object is the rest of its key, its size in bytes and its version. Only those whose rest comes after `after` are
    listed. With each page comes whether there are more.
    """
    paginator = client().get_paginator("list_objects_v2")
    start: dict[str, Any] = {"StartAfter": prefix + after} if after else {}
    for page in paginator.paginate(Bucket=bucket, Prefix=prefix, **start, **_payer()):
        contents = page.get("Contents", ())
        found = [(each["Key"].removeprefix(prefix), each["Size"], _version(each["ETag"])) for each in contents]
        yield found, page.get("IsTruncated", False)


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


def use(options: S3Options) -> None:
    """Take these options from the next call on, in this process and those it forks. The same again costs nothing."""
    global _options
    if options != _options:
        _options = options
        forget_client()


_options = S3Options()
_making_client = threading.Lock()
os.register_at_fork(after_in_child=forget_client)


@functools.lru_cache(maxsize=1)
def _shared_client() -> "S3Client":
    profile = botocore.session.get_session()
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")  # boto3 itself reads the first only
    session = boto3.Session(botocore_session=profile, region_name=region)
    settings: dict[str, Any] = {
        # Not "adaptive": where 1 answer in 10 is SlowDown, 400 reads took 6 s like this and 74 s with adaptive, which
        # slows all requests down for what one of them met. `requests_per_second` is for those who need a bound.
        "retries": {"mode": "standard", "max_attempts": REQUEST_RETRIES},
        "max_pool_connections": _options.connections,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": _options.read_timeout,
    }
    if _options.path_style:
        settings["s3"] = {"addressing_style": "path"}
    made = session.client("s3", config=Config(**settings))
    if not _is_amazon(made):
        # By default boto3 adds checksums that many other servers refuse, Google Cloud Storage among them.
        for setting in ("request_checksum_calculation", "response_checksum_validation"):
            if f"AWS_{setting.upper()}" not in os.environ and setting not in profile.get_scoped_config():
                settings[setting] = "when_required"
        made = session.client("s3", config=Config(**settings))
    if _options.requests_per_second:
        bound_requests(made, _options.requests_per_second)
    return made


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
    assumed roles) are handed over, as they are now. It cannot agree to pay for reading, and waits for no rate.
    """
    meta = client().meta
    options: dict[str, Any] = {"region": meta.region_name}
    if _options.path_style or not _is_amazon(client()):  # Arrow takes the path style wherever it is told an endpoint
        options["scheme"], _, options["endpoint_override"] = meta.endpoint_url.partition("://")
    credentials = boto3.Session().get_credentials()
    if credentials and credentials.method not in _ARROW_FINDS_CREDENTIALS_OF:
        now = credentials.get_frozen_credentials()
        options |= {"access_key": now.access_key, "secret_key": now.secret_key, "session_token": now.token}
    return pyarrow.fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=_options.read_timeout,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=REQUEST_RETRIES),
        **options,
    )


# --- errors ----------------------------------------------------------------------------------------------------------

ERRORS = (
    botocore.exceptions.ClientError,
    botocore.exceptions.BotoCoreError,
    urllib3.exceptions.HTTPError,
    BrokenBodyError,
    NoConditionError,
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
    """Return which error of Colornet's an error of boto3 is, and its reason: the same for every object that met it."""
    if isinstance(error, botocore.exceptions.ClientError):
        answer = error.response.get("Error", {})
        reason = ": ".join(filter(None, (_code(error), answer.get("Message"))))
        return _kind(_code(error), _status(error)), reason
    return AccessError if isinstance(error, _NO_CREDENTIALS) else StorageError, _steady(str(error))


def _steady(reason: str) -> str:
    """Take out what differs from request to request: paths of URLs, addresses in memory, counts of bytes."""
    reason = re.sub(r"(https?://[^/\s\"'>]+)[^\s\"'>]*", r"\1", reason)
    reason = re.sub(r"<(?:\w+\.)*(\w+)[^<>]* at 0x[0-9a-f]+>", r"\1", reason)
    return re.sub(r"IncompleteRead\([^()]*\)", "IncompleteRead", reason)


def _code(error: botocore.exceptions.ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _status(error: botocore.exceptions.ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _kind(code: str, status: int) -> type[StorageError]:
    if code == "InvalidObjectState":  # in cold storage: a 403, but about this object and not about credentials
        return StorageError
    if code in _REFUSED or status in (401, 403):
        return AccessError
    if status == 412:
        return ExistsError
    return NotFoundError if status == 404 else StorageError
