"""TLS settings towards one endpoint, with verification unless somebody said otherwise in writing."""

import os
import ssl
import tempfile
from dataclasses import dataclass, field


class InvalidCertificate(Exception):
    """PEM text that OpenSSL cannot use; the message names which."""


@dataclass(frozen=True)
class TlsSettings:
    """PEM texts. Equal settings share one context (and so their connections)."""

    ca: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    insecure: bool = False
    server_name: str | None = None


DEFAULT = TlsSettings()


def build_context(settings: TlsSettings) -> ssl.SSLContext:
    """A client context for these settings."""
    try:
        context = ssl.create_default_context(cadata=settings.ca)
    except (ssl.SSLError, ValueError) as failure:
        raise InvalidCertificate(f"tls.caFrom is not a PEM certificate: {failure}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certificate and settings.key:
        # OpenSSL loads key pairs from files only; the file lives in memory-backed temp space for a moment.
        descriptor, path = tempfile.mkstemp(suffix=".pem")
        try:
            with os.fdopen(descriptor, "w") as pem:
                pem.write(settings.certificate.rstrip() + "\n" + settings.key)
            context.load_cert_chain(path)
        except (ssl.SSLError, ValueError) as failure:
            raise InvalidCertificate(f"tls.clientCertificateSecret is not a PEM pair: {failure}") from None
        finally:
            os.unlink(path)
    return context
