"""What the cluster's authority signs for requests is good from when it signs, not from when the cluster started."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slipway.cluster.access.certificates import CertificateAuthority

STARTED = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_a_request_that_is_signed_long_after_the_start_gets_the_time_that_it_asks_for() -> None:
    authority = CertificateAuthority.create(STARTED)
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    text = request.public_bytes(serialization.Encoding.PEM)
    now = STARTED + datetime.timedelta(days=10)
    signed = authority.sign_request(text, seconds=3600, usages=["client auth"], now=now)
    found = x509.load_pem_x509_certificate(signed)
    assert found.not_valid_before_utc == now - datetime.timedelta(minutes=5)
    assert found.not_valid_after_utc == now + datetime.timedelta(hours=1)


def test_what_is_no_request_is_not_signed() -> None:
    with pytest.raises(ValueError):
        CertificateAuthority.create(STARTED).sign_request(b"x", seconds=1, usages=[], now=STARTED)
