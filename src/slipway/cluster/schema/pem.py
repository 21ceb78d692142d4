"""PEM: the blocks of a text, and text of a block (RFC 7468, as Go's encoding/pem reads and writes it)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = re.compile(
    r"^-----BEGIN (?P<label>[^\n]*?)-----[ \t]*\r?\n(?P<inner>.*?)^-----END (?P=label)-----[ \t]*\r?$",
    re.MULTILINE | re.DOTALL,
)
_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Block:
    """`headers` says whether lines such as `Proc-Type: 4,ENCRYPTED` stand before the data."""

    label: str
    data: bytes
    headers: bool = False


def blocks(text: str) -> Iterator[Block]:
    """The blocks; what stands between them, and a block whose data is not base64, is passed over."""
    for found in _BLOCK.finditer(text):
        lines = found["inner"].splitlines()
        start = 0
        while start < len(lines) and ":" in lines[start]:
            start += 1
        try:
            data = base64.b64decode("".join("".join(line.split()) for line in lines[start:]), validate=True)
        except binascii.Error:
            continue
        yield Block(found["label"], data, start > 0)


def encoded(label: str, data: bytes) -> str:
    body = base64.b64encode(data).decode()
    lines = [body[start : start + _WIDTH] for start in range(0, len(body), _WIDTH)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
