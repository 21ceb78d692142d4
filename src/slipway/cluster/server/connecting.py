"""Admission of a connection to a pod, service or node: exec, attach, port-forward, proxy."""

from __future__ import annotations

import dataclasses
from typing import Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


async def admit_connection(registry: Registry, call: Call, options: Object) -> None:
    """Ask admission about the options object (PodExecOptions, …) of a CONNECT; StatusError when it is refused."""
    connect = dataclasses.replace(call, verb="connect")
    judged = await registry.admission.mutate(connect, options, None)
    await registry.admission.validate(connect, judged, None)
