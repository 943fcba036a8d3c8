"""What the worker does with one scan beside rendering it: read it, store its picture, say what came of it."""

import hashlib
import logging

from colornet import distribution
from colornet.archive import companions
from colornet.archive.task import ColorizeTask, Row
from colornet.codecs import MEDIA_TYPES, Source
from colornet.errors import ColornetError, InColourError, NotAPictureError, ScanError, StorageError, one_line
from colornet.rendering.render import Rendered, RenderSettings
from colornet.storage import StoredObject, uris

log = logging.getLogger(__name__)


def fetch(task: ColorizeTask, row: Row) -> StoredObject:
    """Read a scan's bytes; raises StorageError, and ScanError if they are no longer those that were listed."""
    found = task.storage.read(row["source_uri"])
    if row["source_version"] not in (None, found.version):
        raise ScanError("the source has changed since it was listed")
    return found


def place_of(task: ColorizeTask, row: Row, extension: str = "") -> str:
    """Where a scan's output belongs; raises ScanError if that is no place for one, whatever the scan."""
    try:
        return uris.below(task.output, row["key"] + extension)
    except StorageError as error:
        raise ScanError(
            "its key is no place below the output: it has an empty part, '.' or '..', or is of a job's own"
        ) from error


def store(task: ColorizeTask, row: Row, rendered: Rendered) -> str:
    """Write the finished picture under the source's key, and return its uri; raises StorageError, ScanError.

    `row` has what the ledger calls `source_version` and `source_sha256`: S3 keeps with the picture what it was made of.
    """
    output_uri = place_of(task, row, rendered.extension)
    if output_uri == row["source_uri"]:  # an inventory can name anything
        raise ScanError("its output would take its own place: sources are never touched")
    if not uris.contains(task.output, output_uri):  # perhaps among the sources
        raise ScanError("a symbolic link in the output would lead its output elsewhere: sources are never touched")
    metadata = {
        "colornet": distribution.version(),
        "bundle-digest": task.bundle_digest,
        "settings-digest": row.get("settings_digest") or task.run.settings_digest,
        "source-sha256": row["source_sha256"],
        "source-version": row["source_version"],
    }
    task.storage.write(output_uri, rendered.data, MEDIA_TYPES[rendered.format], metadata=metadata)
    return output_uri


def success(rendered: Rendered) -> Row:
    """What the ledger says of a finished picture, but for its place."""
    kept = rendered.mean_chroma is None  # the source's own colour: nobody chose any
    return {
        **(dict.fromkeys(("hints", "hints_by", "strength")) if kept else {}),
        "output_size": len(rendered.data),
        "output_sha256": hashlib.sha256(rendered.data).hexdigest(),
        "status": "done",
        "reason": rendered.note,
        "width": rendered.width,
        "height": rendered.height,
        "pixels": rendered.pixels,
        "pages": rendered.pages,
        "mean_chroma": rendered.mean_chroma,
        "confidence": rendered.confidence,
    }


def failure(error: Exception, row: Row) -> Row:
    """Put an error into the words of the ledger, and into the log: with a traceback if nobody foresaw it."""
    name = type(error).__name__
    status = "skipped" if isinstance(error, InColourError | NotAPictureError) else "failed"
    if isinstance(error, ColornetError):
        reason, level, trace = str(error), logging.INFO, None
    else:
        reason = f"unexpected {name}: {one_line(error)}"
        level, trace = logging.ERROR, error
    outcome = {"status": status, "reason": reason, "error": name}
    facts = {"source_uri": row["source_uri"], **outcome}
    log.log(level, "%s: %s: %s", row["source_uri"], status, reason, exc_info=trace, extra=facts)
    return outcome


def opened(row: Row, data: bytes, settings: RenderSettings) -> Source:
    """Open a scan's file; raises ScanError, and NotAPictureError if it cannot be read and its name says why."""
    try:
        return settings.open(data)
    except ScanError as error:
        if companions.lies_beside_pictures(row["key"]):
            raise NotAPictureError("not a picture") from error
        raise
