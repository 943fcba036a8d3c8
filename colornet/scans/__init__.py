"""Encoded bytes <-> Scans, and nothing else."""

from colornet.scans.decode import FORMATS, Source, decode, open_source, sniff
from colornet.scans.encode import encode
from colornet.scans.formats import DEEP, EXTENSIONS, MEDIA_TYPES
from colornet.scans.limits import MAX_PIXELS
from colornet.scans.scan import Scan

__all__ = [
    "DEEP",
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "MEDIA_TYPES",
    "Scan",
    "Source",
    "decode",
    "encode",
    "open_source",
    "sniff",
]
