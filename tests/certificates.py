"""Certificates for tests: an authority of their own, for servers, clients and proxies."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both and return their paths; each is replaced in one step."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (self.certificate, self.key), strict=True):
            replace_file(path, content)
        return paths


def replace_file(path: Path, content: bytes) -> None:
    """Give a file another content in one step, as a kubelet or a renewing tool does."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


class Authority:
    """Signs certificates; `strictly_formed` ones have what RFC 5280 asks for."""

    def __init__(self, name: str = "test-ca", *, strictly_formed: bool = True) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key: Any = ec.generate_private_key(ec.SECP256R1())
        self._strictly_formed = strictly_formed
        builder = _builder(
            self._name, self._name, self._key.public_key(), datetime.now(UTC) + _HOUR
        )
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        if strictly_formed:
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            ).add_extension(_SIGNS, critical=True)
        self.pem = _pem(builder.sign(self._key, hashes.SHA256()))

    @classmethod
    def from_files(cls, certificate: Path, key: Path) -> "Authority":
        """Sign with an authority that exists."""
        authority = cls.__new__(cls)
        authority.pem = certificate.read_bytes()
        authority._name = x509.load_pem_x509_certificate(authority.pem).subject
        authority._key = serialization.load_pem_private_key(key.read_bytes(), None)
        authority._strictly_formed = True
        return authority

    @property
    def key_pem(self) -> bytes:
        """Its private key, for a program that signs with it."""
        return _key_pem(self._key)

    def server(self, *hosts: str) -> Pair:
        """Return a server's certificate for names and addresses; 127.0.0.1 without any."""
        names = [_subject(host) for host in hosts or ("127.0.0.1",)]
        return self._sign("server", datetime.now(UTC) + _HOUR, names, server=True)

    def client(
        self, name: str = "client", *, seconds: float = 3600, group: str | None = None
    ) -> Pair:
        """Return a client's certificate that ends in some seconds, perhaps in the past."""
        return self._sign(name, datetime.now(UTC) + timedelta(seconds=seconds), [], group=group)

    def _sign(
        self,
        name: str,
        ends_at: datetime,
        names: list[x509.GeneralName],
        *,
        server: bool = False,
        group: str | None = None,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if group is not None:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        builder = _builder(x509.Name(attributes), self._name, key.public_key(), ends_at)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if self._strictly_formed:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(_pem(certificate), _key_pem(key))


def server_context(
    folder: Path, pair: Pair, *, client_authority: Authority | None = None
) -> ssl.SSLContext:
    """Return a server's side of TLS; with an authority for clients it wants their certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    show(context, folder, pair)
    if client_authority is not None:
        context.load_verify_locations(cadata=client_authority.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def show(context: ssl.SSLContext, folder: Path, pair: Pair) -> None:
    """Have a server show this certificate from its next handshake on."""
    context.load_cert_chain(*pair.write(folder, "shown"))


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ends_at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(ends_at, datetime.now(UTC)) - _HOUR)
        .not_valid_after(ends_at)
    )


def _subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
