"""C2PA manifests: outputs signed with a certificate of the archive's own, their source as parent ingredient.

Nothing here uses a network: no time stamp authority, no status of certificates, no manifests that a file names by an
address. A signature holds random numbers, so that signed outputs differ between runs.
"""

import io
import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from colornet.distribution import needed
from colornet.errors import ScanError, SettingsError, one_line
from colornet.formats import MEDIA_TYPES, Format
from colornet.hints import people, to_json
from colornet.provenance.xmp import Origin, source_type_uri
from colornet.settings import settings

log = logging.getLogger(__name__)

FORMATS: tuple[Format, ...] = ("jpeg", "png", "tiff", "webp")
"""Formats in which outputs can be signed: those that both C2PA and Colornet know."""

_SOURCE = "source"
_UNKNOWN = "application/octet-stream"
_SETTINGS: dict[str, Any] = {
    "verify": {"verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@settings
class Credentials:
    """Where the certificate and the key are. Keys themselves travel nowhere: each process reads them."""

    certificates: str
    """Path of a PEM file: the signing certificate first, then those that vouch for it."""
    key: str
    """Path of a PEM file: the certificate's private key, not encrypted. EC, RSA or Ed25519."""

    def check(self) -> None:
        """Sign a small picture, to know before a run that it will work.

        Raises:
            SettingsError: if a file cannot be read, key and certificate do not belong together, the package is not
                installed, or C2PA does not accept the certificate: it wants an end entity's, with the key usage
                digitalSignature and an extended key usage such as emailProtection.
        """
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        origin = Origin(source_name="check", source_sha256="", bundle_digest="", software="Colornet 0")
        try:
            sign(buffer.getvalue(), "png", buffer.getvalue(), "png", self, origin)
        except ScanError as error:
            raise SettingsError(str(error)) from error


def sign(
    data: bytes, format: Format, source: bytes, source_format: Format, credentials: Credentials, origin: Origin
) -> bytes:
    """Add a C2PA manifest to a finished output; nothing may be changed in it afterwards.

    The manifest says that the source was opened (c2pa.opened; with the manifest that it may carry itself), and that its
    colours were made (c2pa.color_adjustments, with the digital source type, the software, the bundle's digest and the
    source's SHA-256), and with hints that people chose some (another one, of the type humanEdits, with the hints). In a
    TIFF of several pages it lies in a directory of its own after the last page, as C2PA wants it; readers that take
    every directory for a picture stumble there.

    Args:
        data: the encoded picture with its metadata.
        format: its format, one of FORMATS.
        source: the bytes that it was made of.
        source_format: their format.
        credentials: with what to sign.
        origin: what else there is to say.

    Raises:
        SettingsError: if the credentials are no good, or the package c2pa-python is not installed.
        ScanError: if the picture cannot be signed.
    """
    if format not in FORMATS:
        raise ScanError(f"C2PA manifests cannot be written into {format.upper()}")
    c2pa = _library()
    signer = _signer(c2pa, credentials)
    signed = io.BytesIO()
    try:
        context = c2pa.Context.from_dict(_SETTINGS)
        builder = c2pa.Builder(_manifest(origin), context)
        _add_source(c2pa, builder, source, source_format, origin)
        builder.sign(signer, MEDIA_TYPES[format], io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise ScanError(f"cannot sign: {one_line(error)}") from error
    return signed.getvalue()


def _add_source(c2pa: ModuleType, builder: Any, source: bytes, format: Format, origin: Origin) -> None:
    ingredient = {"title": origin.file_name, "relationship": "parentOf", "label": _SOURCE}
    if format in FORMATS:
        try:
            builder.add_ingredient(ingredient, MEDIA_TYPES[format], io.BytesIO(source))
            return
        except c2pa.C2paError as error:  # damaged where it matters to C2PA only: it is an ingredient like any file
            log.info("no manifest can be read from %s: %s", origin.file_name, error)
    builder.add_ingredient(ingredient, _UNKNOWN, io.BytesIO(source))


def _library() -> ModuleType:
    with needed("signing outputs"):
        import c2pa
    return c2pa


def _manifest(origin: Origin) -> dict[str, Any]:
    name, _, version = origin.software.rpartition(" ")
    generator = {"name": name or version, "version": version} if name else {"name": version}
    parameters = {"colornet.bundle": origin.bundle_digest, "colornet.source_sha256": origin.source_sha256}
    if origin.strength != 1:
        parameters["colornet.strength"] = f"{origin.strength:g}"
    coloured = {
        "action": "c2pa.color_adjustments",
        "description": "colour was predicted for a monochrome photograph",
        "digitalSourceType": source_type_uri(origin.digital_source_type),
        "softwareAgent": generator,
        "parameters": parameters,
    }
    actions = [coloured, _chosen(origin)] if origin.hints else [coloured]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_SOURCE]}}
    return {
        "claim_generator_info": [generator],
        "title": origin.file_name,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, *actions]}}],
    }


def _chosen(origin: Origin) -> dict[str, Any]:
    """What people had to do with the colours."""
    by = people(origin.hints)
    return {
        "action": "c2pa.color_adjustments",
        "description": f"colours at {len(origin.hints)} places were chosen by {by or 'a person'}",
        "digitalSourceType": source_type_uri("humanEdits"),
        "parameters": {"colornet.hints": json.loads(to_json(origin.hints))},
    }


def _signer(c2pa: ModuleType, credentials: Credentials) -> Any:
    chain = _read(credentials.certificates, "certificates")
    key = _read(credentials.key, "key")
    algorithm = _algorithm(chain, key)
    try:
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, key, None))
    except c2pa.C2paError as error:
        raise SettingsError(f"cannot sign with {credentials.certificates}: {one_line(error)}") from error


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read the {what} to sign with: {path}: {error.strerror}") from error


def _algorithm(chain: bytes, key: bytes) -> str:
    """C2PA's name of the signature algorithm that a key is for; raises SettingsError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, password=None)
        public = x509.load_pem_x509_certificates(chain)[0].public_key()
    except (ValueError, TypeError, IndexError) as error:
        raise SettingsError(f"the key or certificate to sign with cannot be used: {one_line(error)}") from error
    if private.public_key() != public:
        raise SettingsError("the key to sign with is not that of the first certificate")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SettingsError("C2PA signs with keys of P-256, P-384, P-521, RSA or Ed25519 only")
