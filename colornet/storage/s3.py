"""What S3 needs beyond calls of boto3: checked bodies, uploads in parts, conditional writes.

Buckets and keys in, bytes and versions (ETags without their quotes) out. The errors of boto3 go through as they are;
`s3_errors.explain` says what they mean.
"""

import base64
import contextlib
import functools
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import tenacity
import urllib3.exceptions

from colornet.errors import NotFoundError
from colornet.storage.options import S3Options
from colornet.storage.s3_client import client_of, is_amazon
from colornet.storage.s3_errors import ERRORS, code_of, explain, status_of
from colornet.storage.server_errors import BrokenBodyError, ListingError, NoConditionError
from colornet.storage.uris import OWN_FOLDER, is_directory_bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

BODY_ATTEMPTS = 4
PART_BYTES = 8 << 20
"""Of an upload in parts; the last one is smaller. S3 takes 10,000 of them, more than fits into memory."""
PART_THREADS = 4
_NO_ORDER = (
    "the server does not list keys after another one, in their order: it lacks StartAfter of ListObjectsV2, as "
    "servers do that know ListObjects V1 only"
)
_TRY_AGAIN = {
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
    "ConditionalRequestConflict",
    "OperationAborted",
}
"""Refusals of a write that came broken, or together with another: botocore gives up, and the next try may succeed."""


def _may_succeed(error: BaseException) -> bool:
    refused = isinstance(error, botocore.exceptions.ClientError) and code_of(error) in _TRY_AGAIN
    return refused or isinstance(error, BrokenBodyError)


_persistently = tenacity.retry(
    retry=tenacity.retry_if_exception(_may_succeed),
    stop=tenacity.stop_after_attempt(BODY_ATTEMPTS),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    reraise=True,
)


@dataclass(frozen=True)
class S3Objects:
    """The objects of S3, asked for with some options."""

    options: S3Options

    @property
    def client(self) -> "S3Client":
        """The client of this process."""
        return client_of(self.options)

    @_persistently
    def get(self, bucket: str, key: str) -> tuple[bytes, str]:
        """Return the bytes of an object and their version."""
        # botocore retries a request until its answer begins, and never once the body is being read.
        answer = self.client.get_object(Bucket=bucket, Key=key, **self._payer)
        try:
            # As its own context manager the body would skip botocore's checks.
            with contextlib.closing(answer["Body"]) as body:
                data = body.read()
        except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
            raise BrokenBodyError(f"the body broke off {BODY_ATTEMPTS} times ({type(error).__name__})") from error
        version = _version(answer["ETag"])
        if _is_md5(bucket, version, answer) and _md5(data).hexdigest() != version.lower():
            raise BrokenBodyError(f"the body did not fit its MD5 {BODY_ATTEMPTS} times")
        return data, version

    def put(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        """Store an object, which succeeds as a whole or not at all, and return its version."""
        form = {"ContentType": content_type, "Metadata": dict(metadata), **self._wishes(key)}
        if len(data) >= self.options.multipart_mb << 20:
            return self._put_in_parts(bucket, key, data, form)
        return self._put_whole(bucket, key, data, form)

    @_persistently
    def _put_whole(self, bucket: str, key: str, data: bytes, form: Mapping[str, Any]) -> str:
        answer = self.client.put_object(Bucket=bucket, Key=key, Body=data, **form, **self._checksum(data))
        return _version(answer["ETag"])

    def put_if(self, condition: Mapping[str, str], bucket: str, key: str, data: bytes, content_type: str) -> str:
        """Store an object under a condition of S3 (IfNoneMatch or IfMatch), and return its version.

        `explain` makes an `ExistsError` of the ClientError that comes of a condition that does not hold. Raises
        `NoConditionError` if the server knows no such conditions.
        """
        try:
            return self._put_whole(bucket, key, data, {"ContentType": content_type, **condition, **self._wishes(key)})
        except botocore.exceptions.ClientError as error:
            if code_of(error) == "NotImplemented":
                raise NoConditionError from error
            return self._written_by_us(error, bucket, key, data)

    def _written_by_us(self, refusal: botocore.exceptions.ClientError, bucket: str, key: str, data: bytes) -> str:
        """Return the version that a conditional write made, if it was refused because of what its own first try wrote.

        That happens where the answer to the first try was lost. Raises the refusal if that was not so.
        """
        if code_of(refusal) == "PreconditionFailed" and refusal.response["ResponseMetadata"].get("RetryAttempts", 0):
            with contextlib.suppress(botocore.exceptions.ClientError):
                found, version = self.get(bucket, key)
                if found == data:
                    return version
        raise refusal

    def head(self, bucket: str, key: str) -> tuple[int, str]:
        """Return the size of an object in bytes, and its version."""
        try:
            answer = self.client.head_object(Bucket=bucket, Key=key, **self._payer)
        except botocore.exceptions.ClientError as error:
            if status_of(error) == 400:  # an answer to HEAD has no body that could say why
                self.client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0", **self._payer)["Body"].close()
            raise
        return answer["ContentLength"], _version(answer["ETag"])

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; that there is none is no error."""
        self.client.delete_object(Bucket=bucket, Key=key)

    def pages(self, bucket: str, prefix: str, after: str = "") -> Iterator[tuple[list[tuple[str, int, str]], bool]]:
        """Yield the objects whose key begins with `prefix`, sorted by key, up to 1000 at a time.

        An object is the rest of its key, its size in bytes and its version. Only those whose rest comes after `after`
        are listed. With each page comes whether there are more. Raises `ListingError` if the server lists in another
        way, since then nobody knows which keys are missing.

        It goes on from the last key that came: there are servers whose tokens skip keys. A directory bucket lists in no
        order, and has nothing else than its tokens.
        """
        ordered = not is_directory_bucket(bucket)
        last, token, more = prefix + after if after else None, "", True
        while more:
            go_on = {"ContinuationToken": token} if token else {"StartAfter": last} if last else {}
            answer = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix, **go_on, **self._payer)  # type: ignore[arg-type]
            contents, more = answer.get("Contents", ()), answer.get("IsTruncated", False)
            for each in contents if ordered else ():
                if last is not None and each["Key"] <= last:
                    raise ListingError(_NO_ORDER)
                last = each["Key"]
            token = "" if ordered and contents else answer.get("NextContinuationToken", "")
            if more and not (token or contents):
                raise ListingError("the server says that there are more keys, and not how to go on to them")
            yield [(each["Key"].removeprefix(prefix), each["Size"], _version(each["ETag"])) for each in contents], more

    # boto3's own upload_fileobj tells no version, and sends no Content-MD5 to those who need it.
    def _put_in_parts(self, bucket: str, key: str, data: bytes, form: Mapping[str, Any]) -> str:
        upload = self.client.create_multipart_upload(Bucket=bucket, Key=key, **form)["UploadId"]
        try:
            with ThreadPoolExecutor(PART_THREADS) as threads:
                starts = range(0, len(data), PART_BYTES)
                parts = list(threads.map(functools.partial(self._put_part, bucket, key, upload, data), starts))
            return self._complete(bucket, key, upload, parts, data)
        except BaseException:
            self._abort(bucket, key, upload)
            raise

    @_persistently
    def _put_part(self, bucket: str, key: str, upload: str, data: bytes, start: int) -> "CompletedPartTypeDef":
        part = data[start : start + PART_BYTES]
        number = start // PART_BYTES + 1
        answer = self.client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part, **self._checksum(part)
        )
        sums = {name: value for name, value in answer.items() if re.fullmatch(r"Checksum[A-Z0-9]+", name)}
        return {"ETag": answer["ETag"], "PartNumber": number, **sums}  # type: ignore[typeddict-item]

    def _complete(
        self, bucket: str, key: str, upload: str, parts: "Sequence[CompletedPartTypeDef]", data: bytes
    ) -> str:
        try:
            whole = self.client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": list(parts)}
            )
            return _version(whole["ETag"])
        except botocore.exceptions.ClientError as error:
            # After a lost answer the second try finds no upload any more; then the object must be there.
            if code_of(error) != "NoSuchUpload":
                raise
            size, version = self.head(bucket, key)
            if (size, version) != (len(data), _version_in_parts(data)):
                raise
            return version

    def _abort(self, bucket: str, key: str, upload: str) -> None:
        try:
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        except ERRORS as error:
            kind, reason = explain(error)
            if kind is not NotFoundError:
                log.warning("s3://%s/%s: parts of a failed upload are left there: %s", bucket, key, reason)

    def _checksum(self, data: bytes) -> dict[str, Any]:
        """With what a server notices that a body was changed on its way: boto3 adds a CRC for Amazon, MD5 is older."""
        if is_amazon(self.client):
            return {}
        return {"ContentMD5": base64.b64encode(_md5(data).digest()).decode()}

    def _wishes(self, key: str) -> dict[str, str]:
        """What the owner of the bucket wants of an object that is written."""
        wishes = {
            # What is read again goes into no storage class from which that would be slow or cost extra.
            "StorageClass": "" if OWN_FOLDER in key.split("/") else self.options.storage_class,
            "ServerSideEncryption": self.options.sse,
            "SSEKMSKeyId": self.options.kms_key,
            "ACL": self.options.acl,
        }
        return {name: value for name, value in wishes.items() if value}

    @property
    def _payer(self) -> dict[str, Any]:
        return {"RequestPayer": "requester"} if self.options.requester_pays else {}


def _is_md5(bucket: str, version: str, answer: Mapping[str, Any]) -> bool:
    """Whether the version of an object is the MD5 of its bytes: not if it came in parts, or is encrypted with a key."""
    encrypted = answer.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in answer
    return re.fullmatch(r"[0-9a-fA-F]{32}", version) is not None and not encrypted and not is_directory_bucket(bucket)


def _md5(data: bytes | memoryview) -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def _version_in_parts(data: bytes) -> str:
    view = memoryview(data)
    sums = [_md5(view[start : start + PART_BYTES]).digest() for start in range(0, len(data), PART_BYTES)]
    return f"{_md5(b''.join(sums)).hexdigest()}-{len(sums)}"


def _version(etag: str) -> str:
    return etag.strip('"')
