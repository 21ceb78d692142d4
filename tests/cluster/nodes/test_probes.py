"""What probes say of a container that does not answer, in kubelet's words."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session
from slipway.cluster.nodes.probes import Target, ask


async def _nobody(host: str, port: int) -> Duplex:
    raise ConnectionRefusedError(111, "Connect call failed")


async def _nothing(command: list[str]) -> Session:
    raise AssertionError(command)


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (
            {"httpGet": {"port": "http", "path": "healthz"}},
            'Get "http://10.0.0.9:8080/healthz": dial tcp 10.0.0.9:8080: connect: connection refused',
        ),
        ({"tcpSocket": {"port": "http"}}, "dial tcp 10.0.0.9:8080: connect: connection refused"),
        ({"tcpSocket": {"port": "ftp"}}, 'dial tcp 10.0.0.9:ftp: couldn\'t find port: "ftp"'),
    ],
)
async def test_a_named_port_is_told_by_its_number(probe: dict[str, Any], words: str) -> None:
    target = Target("10.0.0.9", {"http": 8080}, _nothing, _nobody)
    assert await ask(probe, target) == (False, words)
