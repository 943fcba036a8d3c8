"""What the errors of boto3 mean."""

import re

import botocore.exceptions
import urllib3.exceptions

from colornet.errors import AccessError, ExistsError, NotFoundError, StorageError
from colornet.storage.server_errors import BrokenBodyError, ListingError, NoConditionError

ERRORS = (
    botocore.exceptions.ClientError,
    botocore.exceptions.BotoCoreError,
    urllib3.exceptions.HTTPError,
    BrokenBodyError,
    ListingError,
    NoConditionError,
)
"""What the functions of `s3` raise, and `explain` explains."""

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
        reason = ": ".join(filter(None, (code_of(error), answer.get("Message"))))
        return _kind(code_of(error), status_of(error)), reason
    return AccessError if isinstance(error, _NO_CREDENTIALS) else StorageError, _steady(str(error))


def _steady(reason: str) -> str:
    """Take out what differs from request to request: paths of URLs, addresses in memory, counts of bytes."""
    reason = re.sub(r"(https?://[^/\s\"'>]+)[^\s\"'>]*", r"\1", reason)
    reason = re.sub(r"<(?:\w+\.)*(\w+)[^<>]* at 0x[0-9a-f]+>", r"\1", reason)
    return re.sub(r"IncompleteRead\([^()]*\)", "IncompleteRead", reason)


def code_of(error: botocore.exceptions.ClientError) -> str:
    """Return the server's word for an error, such as AccessDenied; empty if it gave none."""
    return error.response.get("Error", {}).get("Code", "")


def status_of(error: botocore.exceptions.ClientError) -> int:
    """Return the HTTP status of an error's answer, 0 if there was none."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _kind(code: str, status: int) -> type[StorageError]:
    if code == "InvalidObjectState":  # in cold storage: a 403, but about this object and not about credentials
        return StorageError
    if code in _REFUSED or status in (401, 403):
        return AccessError
    if status == 412:
        return ExistsError
    return NotFoundError if status == 404 else StorageError
