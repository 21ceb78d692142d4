"""Sub-resources that are not a part of their object: scale, binding, eviction, token, and the streams of pods."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.access.token_requests import request_token
from slipway.cluster.exchange import Request, Response
from slipway.cluster.registry import pod_operations, scaling
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.api_bodies import (
    apply_body,
    checked_body,
    is_apply,
    object_body,
    patch_body,
    read_object,
)
from slipway.cluster.server.api_options import check_write_options
from slipway.cluster.server.component_statuses import ComponentStatuses
from slipway.cluster.status import method_not_allowed

Object = dict[str, Any]
Handler = Callable[[Call, Request], Awaitable[Response]]


def answer(obj: Object, status: int = 200) -> Response:
    body = orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)
    return Response(status, {"content-type": "application/json"}, body)


def object_subresources(registry: Registry, signer: TokenSigner) -> dict[tuple[str, str], Handler]:
    """Handlers by (qualified plural, sub-resource); `*` stands for every kind that has the sub-resource."""

    async def bind(call: Call, request: Request) -> Response:
        _only_create(call)
        return answer(pod_operations.bind(registry, call, checked_body(request, "", "v1", "Binding")), 201)

    async def bind_by_body(call: Call, request: Request) -> Response:
        # The old way: POST to `bindings`, with the pod's name in the Binding.
        binding = checked_body(request, "", "v1", "Binding")
        pods = registry.definitions.find("", "v1", "pods").resource
        name = str((binding.get("metadata") or {}).get("name") or "")
        answered = pod_operations.bind(
            registry, dataclasses.replace(call, resource=pods, name=name, subresource="binding"), binding
        )
        return answer(answered, 201)

    async def evict(call: Call, request: Request) -> Response:
        _only_create(call)
        return answer(
            await pod_operations.evict(registry, call, checked_body(request, "policy", "v1", "Eviction")), 201
        )

    async def token(call: Call, request: Request) -> Response:
        _only_create(call)
        check_write_options(call.options, call.verb, apply=False)
        return answer(await request_token(registry, signer, call, object_body(request, "TokenRequest")), 201)

    return {
        ("*", "scale"): _scale_handler(registry),
        ("pods", "binding"): bind,
        ("bindings", ""): bind_by_body,
        ("componentstatuses", ""): ComponentStatuses(registry),
        ("pods", "eviction"): evict,
        ("serviceaccounts", "token"): token,
    }


def _scale_handler(registry: Registry) -> Handler:
    async def scale(call: Call, request: Request) -> Response:
        if call.verb == "get":
            return answer(await scaling.get_scale(registry, call))
        if call.verb == "update":
            body, call.body_errors = read_object(request, "Scale")
            return answer(await scaling.put_scale(registry, call, body))
        if call.verb == "patch" and is_apply(request):
            check_write_options(call.options, call.verb, apply=True)
            config, warnings = apply_body(request, call.options.field_validation)
            call.warnings += warnings
            return answer(await scaling.apply_scale(registry, call, config))
        if call.verb == "patch":
            change = patch_body(request, scaling.scale_definition(registry, call))
            return answer(await scaling.patch_scale(registry, call, change))
        raise method_not_allowed()

    return scale


def _only_create(call: Call) -> None:
    if call.verb != "create":
        raise method_not_allowed()
