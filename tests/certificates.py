"""A certificate authority that exists for one test run, and signers that it vouches for."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_FROM, _TO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Signer:
    """Files as an archive would have them."""

    certificates: Path
    key: Path
    root: str
    """The authority's own certificate, PEM."""


def new_key(kind: str = "p256"):
    """Make a private key."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "k256": ec.SECP256K1()}[kind])


def make(folder: Path, kind: str = "p256", *, signs: bool = True) -> Signer:
    """Make an authority and a signer; one that `signs` not has no extended key usage, and C2PA must refuse it."""
    authority, key = new_key(), new_key(kind)
    root = _build("Authority", authority, "Authority", authority, authority=True)
    leaf = _build("Signer", key, "Authority", authority, signs=signs)
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.public_bytes(_PEM) + root.public_bytes(_PEM))
    unencrypted = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, unencrypted))
    return Signer(chain, secret, root.public_bytes(_PEM).decode())


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A Test Archive")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _build(name: str, key, issuer: str, issuer_key, *, authority: bool = False, signs: bool = False):
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*unused, "encipher_only", "decipher_only"), False)
    usage |= {"digital_signature": not authority, "key_cert_sign": authority, "crl_sign": authority}
    builder = (
        x509.CertificateBuilder(_name(issuer), _name(name), key.public_key(), x509.random_serial_number(), _FROM, _TO)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if signs:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
