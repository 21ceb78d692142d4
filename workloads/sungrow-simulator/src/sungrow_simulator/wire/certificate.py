"""Certificate: the self-signed one that a device shows, made when it starts and replaceable while it runs."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificate:
    """A server's TLS context whose certificate can change: new connections see the new one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.fingerprint = ""
        self.change()

    def change(self) -> None:
        """Make another key and certificate and show that from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "device.pem"
            file.touch(mode=0o600)
            file.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
            self.context.load_cert_chain(file)
        self.fingerprint = hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest()
