"""PEM texts: what is written is read back, whatever stands around it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema import pem

LABELS = st.sampled_from(["CERTIFICATE", "PRIVATE KEY", "X"])
BETWEEN = st.text(st.characters(exclude_characters="-", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(LABELS, st.binary(max_size=200), BETWEEN)))
def test_blocks_are_read_as_they_were_written_and_nothing_else(rows: list[tuple[str, bytes, str]]) -> None:
    text = "".join(f"{between}\n{pem.encoded(label, data)}" for label, data, between in rows)
    assert list(pem.blocks(text)) == [pem.Block(label, data) for label, data, _ in rows]


def test_a_block_tells_whether_it_has_headers_and_windows_line_ends_are_read() -> None:
    text = pem.encoded("CERTIFICATE", b"data").replace("\n", "\r\n")
    assert list(pem.blocks(text)) == [pem.Block("CERTIFICATE", b"data")]
    headed = "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nZGF0YQ==\n-----END X-----\n"
    assert list(pem.blocks(headed)) == [pem.Block("X", b"data", headers=True)]


def test_a_block_that_is_not_base64_or_has_another_end_is_none() -> None:
    assert list(pem.blocks("-----BEGIN X-----\n%%%%\n-----END X-----\n")) == []
    assert list(pem.blocks("-----BEGIN X-----\nZGF0YQ==\n-----END Y-----\n")) == []
