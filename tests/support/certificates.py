"""Certificates for the TLS tests: an authority, a server, a client, and an authority that nobody trusts."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: ``ca`` signed ``server`` (for localhost and 127.0.0.1) and ``client``; ``stranger`` signed none."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path

    def server_context(self, *, client_required: bool = False) -> ssl.SSLContext:
        """The context of a server, for ``Proxy(tls=)``; *client_required* asks clients for a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server, self.server_key)
        if client_required:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


def make_certificates(folder: Path) -> Certificates:
    """Make new keys and certificates, good for a day, in *folder*."""
    ca_key, ca = _certificate("poolhouse test authority", None)
    _, stranger = _certificate("nobody's authority", None)
    server_key, server = _certificate("localhost", (ca_key, ca), ExtendedKeyUsageOID.SERVER_AUTH)
    client_key, client = _certificate("tester", (ca_key, ca), ExtendedKeyUsageOID.CLIENT_AUTH)
    return Certificates(
        ca=_write(folder / "ca.pem", ca),
        server=_write(folder / "server.pem", server),
        server_key=_write(folder / "server.key", server_key),
        client=_write(folder / "client.pem", client),
        client_key=_write(folder / "client.key", client_key),
        stranger=_write(folder / "stranger.pem", stranger),
    )


def _certificate(
    name: str, issuer: tuple[Key, x509.Certificate] | None, usage: x509.ObjectIdentifier | None = None
) -> tuple[Key, x509.Certificate]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        # Python 3.13 checks strictly: these three must be there.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(_key_usage(authority=authority), critical=True)
    )
    if usage is not None:
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return key, builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, thing: Key | x509.Certificate) -> Path:
    if isinstance(thing, x509.Certificate):
        path.write_bytes(thing.public_bytes(serialization.Encoding.PEM))
    else:
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(thing.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return path
