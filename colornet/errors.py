"""One small tree of exceptions: everything that Colornet raises on purpose is a `ColornetError`.

The message of each is one line that names what was wrong, fit for a terminal and for the ledger's `reason` column.
"""


class ColornetError(Exception):
    """Base of all errors that Colornet raises on purpose."""


class SettingsError(ColornetError, ValueError):
    """A setting, a path or a combination of them is wrong; a job ends with exit code 2 before it starts Ray."""


class StorageError(ColornetError):
    """Reading from or writing to a local path or an object store failed, after retries where they make sense.

    Two failures of one cause say the same but for the place that they name: no request ids, addresses or counts.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        """Take the whole message, and the part of it that names no place."""
        super().__init__(message)
        self.cause = cause or message
        """What went wrong, whatever the place: the same text wherever the same thing went wrong."""


class NotFoundError(StorageError):
    """There is no file or object at this place."""


class ExistsError(StorageError):
    """There is something at this place already."""


class AccessError(StorageError):
    """Credentials are missing, expired or not allowed to do this. Retrying other objects would fail the same way."""


class LockedError(ColornetError):
    """Another job is at work on this output, or has taken it over."""


class ScanError(ColornetError):
    """A scan cannot be read as a picture: damaged, empty, too large, or in a form that is not known."""


class InColourError(ColornetError):
    """A scan is in colour already, and such scans are to be skipped."""


class BundleError(ColornetError):
    """A model bundle is incomplete, damaged, or made for something else."""


class TrainingError(ColornetError):
    """A training run cannot go on: no photographs, losses that are not finite, or a resume that does not fit."""
