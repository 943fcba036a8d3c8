"""What a bucket's owner may ask of requests to S3, beyond where they go and who sends them."""

import re
from typing import Annotated, Literal

from colornet.errors import SettingsError
from colornet.settings import Field, settings


@settings
class S3Options:
    """Options of S3, the same for every bucket of a job. Small, and plain data: they travel to every worker.

    Arrow (which reads training data) follows `path_style`, `read_timeout` and `request_retries`; it knows none of the
    others.
    """

    path_style: bool = False
    """Address buckets as server/bucket, never as bucket.server; by default, Amazon's are addressed the second way."""
    storage_class: str = ""
    """Storage class of outputs, such as STANDARD_IA; empty for the bucket's own. Not for what is under _colornet/."""
    sse: Literal["", "AES256", "aws:kms"] = ""
    """Server-side encryption that every write asks for; empty for the bucket's own."""
    kms_key: str = ""
    """Key of KMS for sse aws:kms: its id, alias or ARN; empty for the account's own."""
    acl: str = ""
    """Canned ACL of every write, such as bucket-owner-full-control; empty for none."""
    requester_pays: bool = False
    """Agree to pay for reading and listing, which buckets with requester pays ask for."""
    requests_per_second: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Bound on each process's requests to each prefix (bucket and first two folders), retries included; 0 for none."""
    connections: Annotated[int, Field(ge=1)] = 64
    """Connections that each process keeps open to the server, at most."""
    read_timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds that a server may be silent before a request is tried again."""
    request_retries: Annotated[int, Field(ge=0, le=100)] = 8
    """How often a request is tried again that failed by a fault of the server or of the network."""
    multipart_mb: Annotated[int, Field(ge=5, le=5000)] = 64
    """Objects of at least so many MiB are uploaded in parts. The bounds are those of S3."""

    def __post_init__(self) -> None:
        """Check the words; raises `SettingsError`."""
        if not re.fullmatch(r"[A-Z0-9_]*", self.storage_class):
            raise SettingsError(f"storage_class is a word like STANDARD_IA, not {self.storage_class!r}")
        if self.kms_key and self.sse != "aws:kms":
            raise SettingsError("kms_key needs sse aws:kms")
        if not self.kms_key.isprintable():
            raise SettingsError(f"kms_key is the id, alias or ARN of a key, not {self.kms_key!r}")
        if not re.fullmatch(r"[a-z-]*", self.acl):
            raise SettingsError(f"acl is a canned ACL like bucket-owner-full-control, not {self.acl!r}")
