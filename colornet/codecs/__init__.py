"""Encoded bytes <-> Scans, and nothing else."""

from colornet.codecs.decode import FORMATS, Source, decode, open_source, sniff
from colornet.codecs.encode import encode
from colornet.codecs.limits import MAX_PIXELS
from colornet.codecs.scan import Scan
from colornet.formats import DEEP, EXTENSIONS, MEDIA_TYPES

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
