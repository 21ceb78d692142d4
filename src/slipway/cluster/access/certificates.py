"""The cluster's certificate authority: server and client certificates, and the signing of CSRs."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A clock that is a little behind must not find a certificate that is not valid yet.
_LEEWAY = datetime.timedelta(hours=1)
_LEEWAY_OF_REQUESTS = datetime.timedelta(
    minutes=5
)  # as kube-controller-manager's signers: these may be short
_YEAR = datetime.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def _name(common_name: str, organizations: Iterable[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


class CertificateAuthority:
    """Signs with one EC P-256 key. `now` gives certificates their validity; real time is right here even in virtual
    time: TLS libraries look at the machine's clock."""

    def __init__(self, pair: KeyPair, now: datetime.datetime) -> None:
        self.pair = pair
        self._now = now
        self._certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @classmethod
    def create(cls, now: datetime.datetime, common_name: str = "slipway-ca") -> CertificateAuthority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LEEWAY)
            .not_valid_after(now + 10 * _YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(_pem(certificate, key), now)

    @property
    def certificate(self) -> bytes:
        """The CA's certificate, PEM."""
        return self.pair.certificate

    def issue_server(self, names: Sequence[str]) -> KeyPair:
        """A certificate for a server with these DNS names and addresses; the first is the common name."""
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(names[0]), key.public_key(), *self._year())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate, key)

    def issue_client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate: the common name is the user, organisations are the groups."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(user, groups), key.public_key(), *self._year())
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate, key)

    def sign_request(
        self, request_pem: bytes, *, seconds: int, usages: Sequence[str], now: datetime.datetime
    ) -> bytes:
        """The certificate for a PEM certificate request (certificates.k8s.io), good for so many seconds from `now`;
        ValueError if it is not one."""
        request = x509.load_pem_x509_csr(request_pem)
        if not request.is_signature_valid:
            raise ValueError("the signature of the certificate request is not valid")
        extended = {
            "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
            "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
        }
        start, end = now - _LEEWAY_OF_REQUESTS, now + datetime.timedelta(seconds=seconds)
        builder = self._builder(request.subject, request.public_key(), start, end)
        wanted = [extended[usage] for usage in usages if usage in extended]
        if wanted:
            builder = builder.add_extension(x509.ExtendedKeyUsage(wanted), critical=False)
        for extension in request.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(extension.value, critical=extension.critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _year(self) -> tuple[datetime.datetime, datetime.datetime]:
        return self._now - _LEEWAY, self._now + _YEAR

    def _builder(
        self, subject: x509.Name, public_key: object, start: datetime.datetime, end: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(public_key)  # type: ignore[arg-type]  # any key that a request may hold
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def server_context(self, pair: KeyPair) -> ssl.SSLContext:
        """TLS for a server that asks clients for certificates of this CA, without insisting."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with _file_of(pair.certificate + pair.key) as path:
            context.load_cert_chain(path)
        context.load_verify_locations(cadata=self.certificate.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


@contextmanager
def _file_of(pem: bytes) -> Iterator[Path]:
    """A path to read it from, which is all that OpenSSL takes; on Linux of a file in memory, so that no key is written
    to a disk."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("tls.pem"), "wb", buffering=0) as file:
            file.write(pem)
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with tempfile.TemporaryDirectory(prefix="slipway-tls-") as folder:
            path = Path(folder, "tls.pem")
            path.touch(mode=0o600)
            path.write_bytes(pem)
            yield path


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
