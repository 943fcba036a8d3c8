"""Colornet colorizes photo archives: it predicts a*, b* of CIE-LAB from L* and puts them back into the scan.

This package is a library: it never imports Ray. `jobs/` wires it into Ray Train and Ray Data.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colornet.colorize import Colorizer as Colorizer
    from colornet.hints import Hint as Hint

    __version__: str

__all__ = ["Colorizer", "Hint", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what takes long when somebody asks for it: PyTorch takes seconds, and `colornet --help` needs none."""
    if name == "__version__":
        from colornet.distribution import version

        return version()
    if name == "Colorizer":
        from colornet.colorize import Colorizer

        return Colorizer
    if name == "Hint":
        from colornet.hints import Hint

        return Hint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
