"""What servers of objects do wrong that boto3 has no error for."""

from colornet.errors import StorageError


class BrokenBodyError(StorageError):
    """The answer began, and its body did not arrive whole and sound."""


class ListingError(StorageError):
    """The server does not list its keys one after the other, so that some would be missing, or come for ever."""


class NoConditionError(StorageError):
    """The server cannot write under this condition."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the server cannot write under a condition")
