"""Clients of S3: one for all threads of a process that ask for the same options in the same environment.

Endpoint, region and credentials come from the usual AWS places (environment, profiles, instance roles) and from nowhere
else; `AWS_ENDPOINT_URL` leads to any other server that speaks S3. The options say everything else.
"""

import functools
import os
import re
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pyarrow.fs
from botocore.config import Config

from colornet.storage.options import S3Options
from colornet.storage.rate import bound_requests

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 10
CLIENTS = 16
"""Clients that a process keeps; the one not used for the longest time goes first."""


def client_of(options: S3Options) -> "S3Client":
    """Return this process's client for these options. Clients are safe to share between threads.

    Making one is neither safe nor cheap, so they are kept; a changed environment (`AWS_*`) makes a new one. A forked
    process makes its own: it can share neither connections nor a held lock with its parent.
    """
    environment = frozenset((name, os.environ[name]) for name in os.environ if name.startswith("AWS_"))
    with _making_client:
        return _make_client(options, environment)


def _start_afresh() -> None:
    global _making_client
    _making_client = threading.Lock()
    _make_client.cache_clear()


_making_client = threading.Lock()
os.register_at_fork(after_in_child=_start_afresh)


@functools.lru_cache(CLIENTS)
def _make_client(options: S3Options, _environment: frozenset[tuple[str, str]]) -> "S3Client":
    profile = botocore.session.get_session()
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")  # boto3 itself reads the first only
    session = boto3.Session(botocore_session=profile, region_name=region)
    settings: dict[str, Any] = {
        # Not "adaptive": where 1 answer in 10 is SlowDown, 400 reads took 6 s like this and 74 s with adaptive, which
        # slows all requests down for what one of them met. `requests_per_second` is for those who need a bound.
        "retries": {"mode": "standard", "max_attempts": options.request_retries},
        "max_pool_connections": options.connections,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": options.read_timeout,
    }
    if options.path_style:
        settings["s3"] = {"addressing_style": "path"}
    made = session.client("s3", config=Config(**settings))
    if not is_amazon(made):
        # By default boto3 adds checksums that many other servers refuse, Google Cloud Storage among them.
        for setting in ("request_checksum_calculation", "response_checksum_validation"):
            if f"AWS_{setting.upper()}" not in os.environ and setting not in profile.get_scoped_config():
                settings[setting] = "when_required"
        made = session.client("s3", config=Config(**settings))
    if options.requests_per_second:
        bound_requests(made, options.requests_per_second)
    return made


def is_amazon(client: "S3Client") -> bool:
    """Whether the client goes to one of S3's own public endpoints, and not to one that was configured."""
    host = urllib.parse.urlsplit(client.meta.endpoint_url).hostname or ""
    return re.fullmatch(r"s3\.([a-z0-9-]+\.)?amazonaws\.com(\.cn)?", host) is not None


_ARROW_FINDS_CREDENTIALS_OF = {
    "env",
    "shared-credentials-file",
    "assume-role-with-web-identity",
    "container-role",
    "custom-process",
    "iam-role",
}


def arrow_filesystem(options: S3Options) -> pyarrow.fs.S3FileSystem:
    """Return Arrow's file system for the endpoint and region of the client.

    Arrow finds the credentials itself, so that they are renewed; only those that it cannot find (single sign-on,
    assumed roles) are handed over, as they are now. It cannot agree to pay for reading, and waits for no rate.
    """
    meta = client_of(options).meta
    given: dict[str, Any] = {"region": meta.region_name}
    if options.path_style or not is_amazon(
        client_of(options)
    ):  # Arrow takes the path style wherever it is told an endpoint
        given["scheme"], _, given["endpoint_override"] = meta.endpoint_url.partition("://")
    credentials = boto3.Session().get_credentials()
    if credentials and credentials.method not in _ARROW_FINDS_CREDENTIALS_OF:
        now = credentials.get_frozen_credentials()
        given |= {"access_key": now.access_key, "secret_key": now.secret_key, "session_token": now.token}
    return pyarrow.fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=options.read_timeout,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=options.request_retries),
        **given,
    )
