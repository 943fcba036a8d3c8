"""What a bucket's owner may ask of requests to S3, beyond where they go and who sends them."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """Options of S3, the same for every bucket of a job. Small, and plain data: they travel to every worker.

    Arrow (which reads training data) follows `path_style`, `read_timeout` and `retries`; it knows none of the others.
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
    requests_per_second: float = 0.0
    """Bound on each process's requests to each prefix (bucket and first two folders), retries included; 0 for none."""
    connections: int = 64
    """Connections that each process keeps open to the server, at most."""
    read_timeout: float = 60.0
    """Seconds that a server may be silent before a request is tried again."""
    retries: int = 8
    """How often a request is tried again that failed by a fault of the server or of the network."""
    multipart_mb: int = 64
    """Objects of at least so many MiB are uploaded in parts."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError naming the field."""
        if not re.fullmatch(r"[A-Z0-9_]*", self.storage_class):
            raise ValueError(f"storage-class is a word like STANDARD_IA, not {self.storage_class!r}")
        if self.sse not in ("", "AES256", "aws:kms"):
            raise ValueError(f"sse is AES256 or aws:kms, not {self.sse!r}")
        if self.kms_key and self.sse != "aws:kms":
            raise ValueError("kms-key needs sse aws:kms")
        if not self.kms_key.isprintable():
            raise ValueError(f"kms-key is the id, alias or ARN of a key, not {self.kms_key!r}")
        if not re.fullmatch(r"[a-z-]*", self.acl):
            raise ValueError(f"acl is a canned ACL like bucket-owner-full-control, not {self.acl!r}")
        if not 0 <= self.requests_per_second <= 1e6:
            raise ValueError(f"requests-per-second must be from 0 to a million, not {self.requests_per_second}")
        if self.connections < 1:
            raise ValueError(f"connections must be at least 1, not {self.connections}")
        if not 0 < self.read_timeout <= 3600:
            raise ValueError(f"read-timeout must be more than 0 and at most 3600 seconds, not {self.read_timeout}")
        if not 0 <= self.retries <= 100:
            raise ValueError(f"retries must be from 0 to 100, not {self.retries}")
        if not 5 <= self.multipart_mb <= 5000:
            raise ValueError(f"multipart-mb must be from 5 to 5000, the bounds of S3, not {self.multipart_mb}")
