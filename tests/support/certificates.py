"""Certificates that are made for a test: one that signs pictures, and one of a server."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_USAGES = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")


@dataclass(frozen=True)
class Certificate:
    """The PEM files of a chain and of its private key."""

    chain: Path
    private_key: Path


def make_certificate(directory: Path) -> Certificate:
    """Return a certificate for signing, and the authority above it, of today."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(
        "A test's authority", authority_key, "A test's authority", authority_key, is_authority=True
    )
    signer = _certificate("A test's signer", key, "A test's authority", authority_key, is_authority=False)
    certificate = Certificate(directory / "chain.pem", directory / "key.pem")
    pem = serialization.Encoding.PEM
    certificate.chain.write_bytes(signer.public_bytes(pem) + authority.public_bytes(pem))
    certificate.private_key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate


def authority_for(host: str, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server of that name needs for TLS, and what a client needs to believe it."""
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(host))
        .issuer_name(_name(host))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = directory / "server.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + certificate.public_bytes(pem))
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    server_side.load_cert_chain(file)
    client_side.load_verify_locations(file)
    return server_side, client_side


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    usages = dict.fromkeys(_USAGES, False) | {"digital_signature": not is_authority, "key_cert_sign": is_authority}
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(**usages, encipher_only=False, decipher_only=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_authority:
        # What C2PA accepts of a certificate that is not made for it.
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Omixa's tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
