"""What storage says of files and objects."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectInfo:
    """One file or object, without its bytes."""

    uri: str
    key: str
    """Place relative to the listed root, segments separated by '/'. The last segment of the uri if that is the root."""
    size: int
    """Bytes."""
    version: str
    """Changes when the content does. S3: the ETag without its quotes; local: modification time and size."""


@dataclass(frozen=True)
class StoredObject:
    """The bytes of one file or object, and the version that these bytes are."""

    data: bytes
    version: str
