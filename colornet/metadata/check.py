"""What was found in a container, made sound: what cannot be read is dropped and named."""

from collections.abc import Callable
from dataclasses import replace

from colornet.metadata import exif, icc_profiles, photoshop, xmp
from colornet.metadata.ifd import DamagedError
from colornet.metadata.record import Metadata


def checked(found: Metadata) -> Metadata:
    """Drop the parts that are not what they should be, and take orientation and density from those that are."""
    notes = list(found.notes)
    block = found.exif if _sound(found.exif, "Exif", exif.read, notes) else None
    packet = found.xmp if _sound(found.xmp, "XMP", xmp.parse, notes) else None
    profile = found.icc if _sound(found.icc, "the ICC profile", _check_profile, notes) else None
    iptc = found.iptc if _sound(found.iptc, "IPTC", _check_iptc, notes) else None
    turn = exif.orientation(block) if block else None
    if turn is None and packet:  # some writers of PNG and JPEG 2000 leave it there only
        turn = xmp.orientation(packet)
    return replace(
        found,
        exif=block,
        xmp=packet,
        iptc=iptc,
        icc=profile,
        density=found.density or (exif.density(block) if block else None),
        orientation=turn or 1,
        notes=tuple(notes),
    )


def _sound(part: bytes | None, name: str, check: Callable[[bytes], object], notes: list[str]) -> bool:
    if not part:
        return False
    try:
        check(part)
    except DamagedError as error:
        notes.append(f"{name} is damaged: {error}")
        return False
    return True


def _check_profile(profile: bytes) -> None:
    if not icc_profiles.plausible(profile):
        raise DamagedError("it has no profile's header")


def _check_iptc(records: bytes) -> None:
    if not records.startswith(photoshop.IPTC_MARKER):
        raise DamagedError("it does not begin with a record")
