"""Encoded bytes <-> a Scan, and nothing else."""

from colornet.scans.decode import MAX_PIXELS, decode
from colornet.scans.encode import CONTENT_TYPES, encode
from colornet.scans.scan import Scan

__all__ = ["CONTENT_TYPES", "MAX_PIXELS", "Scan", "decode", "encode"]
