"""gRPC probes, against what a real server (grpcio 1.85's, with its health service) has answered byte by byte."""

from __future__ import annotations

import pytest

from slipway.cluster.nodes.grpc_health import GrpcError, health

_SETTINGS = (
    "000018040000000000000400400000000500400000000600004000fe03000000010000"
    "04080000000000003f0001000000040100000000"
)
_HEADERS = (
    "00004e01040000000188400c636f6e74656e742d74797065106170706c69636174696f6e2f677270634014677270632d6163636570742d"
    "656e636f64696e67176964656e746974792c206465666c6174652c20677a6970"
)
_PING = "0000080600000000007b811f9f1eee6225"
_TRAILERS = "00001e010500000001400b677270632d7374617475730130000c677270632d6d65737361676500"
_NOT_IMPLEMENTED = (
    "00005001050000000188400c636f6e74656e742d74797065106170706c69636174696f6e2f67727063400b677270632d73746174757302"
    "3132000c677270632d6d657373616765114d6574686f64206e6f7420666f756e6421"
)


class Recording:
    """A connection whose other end says what was recorded, in pieces of some size."""

    def __init__(self, said: str, size: int) -> None:
        self._said = bytes.fromhex(said)
        self._size = size
        self.written = b""

    async def read(self) -> bytes:
        piece, self._said = self._said[: self._size], self._said[self._size :]
        return piece

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("00000700000000000100000000020801", "SERVING"),
        ("00000700000000000100000000020802", "NOT_SERVING"),
        ("0000050000000000010000000000", "UNKNOWN"),
    ],
)
async def test_the_servers_answer_is_its_status(message: str, status: str, size: int) -> None:
    connection = Recording(_SETTINGS + _PING + _HEADERS + message + _TRAILERS, size)
    assert await health(connection, "10.0.0.1:9", "one") == status
    assert b"\x03one" in connection.written
    ping = bytes.fromhex(_PING)
    assert ping[:4] + b"\x01" + ping[5:] in connection.written, "a ping is answered"


async def test_a_server_without_the_health_service_has_no_status() -> None:
    with pytest.raises(GrpcError, match="without a status: it does not implement it"):
        await health(Recording(_SETTINGS + _NOT_IMPLEMENTED, 65536), "10.0.0.1:9", "")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "closed the connection"),
        (_SETTINGS, "closed"),
        ("000008070000000000" + "00" * 8, "ended the call"),
    ],
)
async def test_a_server_that_says_nothing_has_no_status(said: str, why: str) -> None:
    with pytest.raises(GrpcError, match=why):
        await health(Recording(said, 65536), "10.0.0.1:9", "")
