"""Encoded bytes <-> Scans, and nothing else."""

from colornet.codecs.decode import Source, decode, open_source, sniff
from colornet.codecs.encode import encode
from colornet.codecs.limits import MAX_PIXELS
from colornet.codecs.scan import Scan
from colornet.formats import DEEP, EXTENSIONS, FORMATS, MEDIA_TYPES, Format

__all__ = [
    "DEEP",
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "MEDIA_TYPES",
    "Format",
    "Scan",
    "Source",
    "decode",
    "encode",
    "open_source",
    "sniff",
]
