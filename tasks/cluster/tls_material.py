"""What TLS with the API server needs, as bytes: whom to trust, and what proves who we are.

Bytes and not files, so that a change shows by comparing, and no private key stays on a disk.
"""

import re
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.+?"
    rb"-----END (?:TRUSTED |X509 )?CERTIFICATE-----",
    re.DOTALL,
)


class TlsMaterialInvalid(ValueError):
    """It cannot be used; the sentence quotes none of it."""


@dataclass(frozen=True)
class TlsMaterial:
    """One state of it; two equal ones need one context.

    Attributes:
        authority: Certificates to trust, PEM; None trusts those of this machine.
        certificate: Our own certificate with its chain, PEM.
        key: Its private key, PEM.
        verifies: Whether the server's certificate is checked at all.
        strict: Whether certificates must also have the form that RFC 5280 asks for.
    """

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    verifies: bool = True
    strict: bool = False


def build_tls_context(material: TlsMaterial) -> ssl.SSLContext:
    """Return a client's TLS settings.

    Without `strict` they accept what kubectl accepts, on every Python: from 3.13 on the default
    would refuse authorities that lack an extension, as many clusters' do.

    Raises:
        TlsMaterialInvalid: A certificate or key is none, or the two do not belong together.
    """
    authority = None if material.authority is None else _certificates(material.authority)
    try:
        context = ssl.create_default_context(cadata=authority)
    except ssl.SSLError as failure:
        raise TlsMaterialInvalid("the certificate authority is not a certificate") from failure
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if material.strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not material.verifies:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if material.certificate is not None:
        _load_own(context, material.certificate, material.key or b"")
    return context


def _certificates(pem: bytes) -> str:
    # What stands between them may be in any encoding, which the library refuses.
    found = _CERTIFICATE.findall(pem)
    if not found:
        raise TlsMaterialInvalid("the certificate authority contains no certificate")
    try:
        return b"\n".join(found).decode("ascii")
    except UnicodeDecodeError:
        raise TlsMaterialInvalid("the certificate authority is not a certificate") from None


def _load_own(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="claude-jobs-tls-") as folder:  # for its owner alone
        path = Path(folder) / "client.pem"
        path.write_bytes(certificate.rstrip() + b"\n" + key)
        # With no password an encrypted key would ask for one on the terminal.
        try:
            context.load_cert_chain(path, password="")
        except ssl.SSLError as failure:
            raise TlsMaterialInvalid(
                "the client certificate or its key is invalid, or they do not belong together"
            ) from failure


def certificate_ends_at(pem: bytes) -> datetime | None:
    """Return when the first certificate ends, UTC; None when it cannot be read."""
    # Loads a library in native code that only client certificates need.
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return None
