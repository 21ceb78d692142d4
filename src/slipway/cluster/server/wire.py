"""The head of an HTTP/1.1 response as bytes, and the answers that need no handler (400, 408, 413, 431, 500).

The texts are those of Go's net/http and of the API server: clients log them.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

import orjson

from slipway.cluster.exchange import Response
from slipway.cluster.status import StatusError

BODY_LIMIT = 3 * 1024 * 1024  # what the API server reads of a resource (MaxRequestBodyBytes)
HEADER_LIMIT = 1024 * 1024  # DefaultMaxHeaderBytes of Go's net/http
GZIP_THRESHOLD = 128 * 1024  # defaultGzipThresholdBytes of the API server
GZIP_LEVEL = 1  # defaultGzipContentEncodingLevel of the API server

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_REASONS: dict[int, str] = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
}
_STATUS_LINES: dict[int, str] = {code: f"HTTP/1.1 {code} {text}\r\n" for code, text in _REASONS.items()}

_date_second = 0
_date_line = ""


def _date() -> str:
    """The Date header, formatted once a second."""
    global _date_second, _date_line
    now = int(time.time())
    if now != _date_second:
        _date_second = now
        _date_line = f"Date: {formatdate(now, usegmt=True)}\r\n"
    return _date_line


def encode_head(response: Response, headers: dict[str, str], framing: str) -> bytes:
    """Status line and headers; `framing` is the ready-made lines for length, chunking and connection."""
    status, warnings = response.status, response.warnings
    lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"]
    for name, value in headers.items():
        lines.append(f"{name}: {value}\r\n")
    lines += [f"{name}: {value}\r\n" for name, value in response.repeated]
    lines += [f"Warning: {value}\r\n" for value in warnings]
    lines.append(_date())
    lines.append(framing)
    lines.append("\r\n")
    head = "".join(lines)
    expected = len(headers) + len(response.repeated) + len(warnings) + 3 + framing.count("\n")
    if head.count("\n") != expected or head.count("\r") != expected:
        # Someone's text with a line break in it would end the header early; Go writes spaces instead.
        clean = {name: _in_one_line(value) for name, value in headers.items()}
        quiet = Response(status, warnings=[_in_one_line(value) for value in warnings])
        quiet.repeated = [(name, _in_one_line(value)) for name, value in response.repeated]
        return encode_head(quiet, clean, framing)
    return head.encode("utf-8", "replace")


def _in_one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def plain_refusal(code: int) -> bytes:
    """What Go's net/http says, before any handler, to what it cannot read; the connection ends after it."""
    text = f"{code} {_REASONS[code]}"
    return (
        f"HTTP/1.1 {text}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}"
    ).encode()


def status_response(error: StatusError) -> Response:
    """A Status object as the answer."""
    headers = {"Content-Type": "application/json", **error.headers}
    return Response(error.code, headers, orjson.dumps(error.to_object()) + b"\n")


def too_large() -> Response:
    return status_response(
        StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}")
    )
