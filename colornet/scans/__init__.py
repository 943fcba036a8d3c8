"""Encoded bytes <-> Scans, and nothing else."""

from colornet.scans.decode import FORMATS, Source, decode, open_source, sniff
from colornet.scans.encode import CONTENT_TYPES, DEEP, EXTENSIONS, encode
from colornet.scans.limits import MAX_PIXELS
from colornet.scans.scan import Scan

__all__ = [
    "CONTENT_TYPES",
    "DEEP",
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "Scan",
    "Source",
    "decode",
    "encode",
    "open_source",
    "sniff",
]
