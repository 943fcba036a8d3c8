"""Colornet colorizes photo archives: it predicts a*, b* of CIE-LAB from L* and puts them back into the scan.

This package is a library: it never imports Ray. `jobs/` wires it into Ray Train and Ray Data.
"""

from importlib.metadata import version

__version__ = version("colornet")
