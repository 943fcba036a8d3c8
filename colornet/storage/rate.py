"""A bound on how often one process asks one prefix of an object store, retries included."""

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyrate_limiter import GCRA, Limiter, Rate, SingleBucketFactory, StateBucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX_FOLDERS = 2
"""Stores spread a bucket over servers by the beginnings of keys; two folders tell most archives' apart."""
_PREFIXES = 1024
"""Prefixes to remember; the one not asked for the longest time is forgotten."""


def bound_requests(client: "S3Client", requests_per_second: float) -> None:
    """Make every request of `client` wait for its turn, the threads of this process together."""

    @functools.lru_cache(_PREFIXES)
    def limiter(_prefix: str) -> Limiter:
        # At most a tenth of a second's requests at once: a second's would be what servers call a burst.
        burst = max(1, math.floor(requests_per_second / 10))
        rate = Rate(max(1, round(requests_per_second * 1000)), 1_000_000, burst)  # per 1000 s, so that fractions count
        return Limiter(SingleBucketFactory(StateBucket([rate], GCRA()), schedule_leak=False), buffer_ms=1)

    def note_prefix(params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        context["colornet_prefix"] = prefix_of(params.get("Bucket", ""), params.get("Key") or params.get("Prefix", ""))

    def wait(request: Any, **_: object) -> None:
        limiter(request.context.get("colornet_prefix", "")).try_acquire()

    client.meta.events.register("before-parameter-build.s3", note_prefix)
    client.meta.events.register("before-sign.s3", wait)  # before each try, and early enough for a fresh signature


def prefix_of(bucket: str, key: str) -> str:
    """Return what a request is counted under: the bucket and the first folders of the key."""
    return "/".join([bucket, *key.split("/")[:-1][:PREFIX_FOLDERS]])
