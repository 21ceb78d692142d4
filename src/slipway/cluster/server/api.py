"""The API: a request comes in as HTTP, passes authentication, routing and authorization, and is answered by the
registry or by a document.

This is the one hook point that every request passes (`ApiServer.handle`): faults and recordings wrap it.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from slipway.cluster.access.authentication import Authenticator
from slipway.cluster.access.authorization import Attributes, Authorizer, refusal
from slipway.cluster.access.impersonation import Impersonation
from slipway.cluster.access.reviews import Reviews
from slipway.cluster.access.usage import Usage
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.registry import deleting, patching_objects, reading
from slipway.cluster.registry.call import Call, Options, Verb
from slipway.cluster.registry.creating import create
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.label_selectors import parse_labels
from slipway.cluster.registry.registry import Registry, Written
from slipway.cluster.registry.selectors import parse_fields
from slipway.cluster.registry.updating import update
from slipway.cluster.registry.watching import watch
from slipway.cluster.schema.builtin import deprecation_of
from slipway.cluster.schema.names import path_segment
from slipway.cluster.schema.resource import Resource
from slipway.cluster.server.api_bodies import apply_body, is_apply, object_body, patch_body, read_object
from slipway.cluster.server.api_options import (
    check_timeout,
    check_write_options,
    flag,
    merge_delete_options,
    parse_options,
)
from slipway.cluster.server.api_paths import Target, parse_path
from slipway.cluster.server.fan_out import FanOut, Follower
from slipway.cluster.server.presentation import Presentation, answered
from slipway.cluster.server.unserved import check_named, misplaced, outside, page_not_found, without_resource
from slipway.cluster.status import (
    StatusError,
    forbidden,
    method_not_allowed,
    not_supported,
    resource_not_found,
)
from slipway.cluster.store import Record

Object = dict[str, Any]
JSON = {"content-type": "application/json"}
ENDED = orjson.OPT_APPEND_NEWLINE  # as every JSON document of the API server; clients compare them as text
_METHOD_VERBS: dict[str, Verb] = {
    "GET": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
PROXY = "proxy"  # the sub-resource that takes more methods than others
# Watches without timeoutSeconds, or with 0, end after a random time between this and twice this, as the API server's do.
MIN_WATCH_SECONDS = 1800.0

AUDIT_ID_LENGTH = 64  # of an id that the client brings

SubresourceHandler = Callable[[Call, Request], Awaitable[Response]]


def status_response(error: StatusError) -> Response:
    return Response(error.code, {**JSON, **error.headers}, orjson.dumps(error.to_object(), option=ENDED))


class ApiServer:
    """`documents` answers paths that are not resources (discovery, version, health, OpenAPI): it returns None
    for those it does not know. `subresources` are handlers by (qualified plural, sub-resource)."""

    def __init__(
        self,
        registry: Registry,
        authenticator: Authenticator,
        impersonation: Impersonation,
        authorizer: Authorizer,
        documents: Callable[[Request, Identity], Awaitable[Response | None]],
        subresources: dict[tuple[str, str], SubresourceHandler],
        reviews: Reviews,
        usage: Usage,
    ) -> None:
        self.registry = registry
        self.authenticator = authenticator
        self._impersonation = impersonation
        self.authorizer = authorizer
        self._documents = documents
        self._subresources = subresources
        self._reviews = reviews
        self._usage = usage
        self._fan_out = FanOut(registry.store)

    async def handle(self, request: Request) -> Response:
        """Answer any request; a StatusError becomes its Status."""
        response = await self._answered(request)
        headers = response.headers
        headers.setdefault("cache-control", "no-cache, private")
        headers["audit-id"] = request.headers.get("audit-id", "")[:AUDIT_ID_LENGTH] or str(uuid.uuid4())
        return response

    async def _answered(self, request: Request) -> Response:
        try:
            target = parse_path(request.path)
            if "timeout=" in request.query and not _is_stream(request, target):
                check_timeout(request.query)
            caller = self.authenticator.identify(request)
            attributes = attributes_of(request, target)
            identity = self._impersonation(caller, request, attributes)
            self.authorize(identity, attributes)
            if outside(unquote(request.path)):
                return page_not_found()
            if target is None:
                return await self._document(request, identity)
            return await self._resource(request, identity, target)
        except StatusError as error:
            return status_response(error)

    def authorize(self, identity: Identity, attributes: Attributes) -> None:
        if not self.authorizer.decide(identity, attributes).allowed:
            raise refusal(identity, attributes)
        self._usage.note(identity, attributes)

    async def _document(self, request: Request, identity: Identity) -> Response:
        answer = await self._documents(request, identity)
        if answer is not None and request.method in {"GET", "HEAD"}:
            return answer
        if answer is not None:
            raise method_not_allowed()
        return page_not_found()

    async def _resource(self, request: Request, identity: Identity, target: Target) -> Response:
        call, resource = self._understand(request, identity, target)
        if resource is None:
            return without_resource(self.registry.definitions.catalogue, target)
        call.resource = resource
        custom = self.registry.definitions.of(resource).custom if resource.custom else {}
        call.warnings += filter(None, [custom.get("warning") or deprecation_of(resource)])
        try:
            response = await self._dispatch(request, call, target)
        except StatusError as error:
            response = status_response(error)
        response.warnings += map(_warning, dict.fromkeys(call.warnings))
        return response

    def _understand(
        self, request: Request, identity: Identity, target: Target
    ) -> tuple[Call, Resource | None]:
        resource = self.registry.definitions.catalogue.find(target.group, target.version, target.plural)
        verb = _verb(request, target)
        # The query of a proxied request is for the backend.
        options = Options() if target.subresource == PROXY else parse_options(request.query, verb)
        placeholder = resource or Resource(
            target.group, target.version, target.plural, target.plural, "", bool(target.namespace), ()
        )
        call = Call(
            verb,
            placeholder,
            target.namespace,
            target.name,
            target.subresource,
            options,
            identity,
            request.headers.get("user-agent", ""),
        )
        return call, resource

    async def _dispatch(self, request: Request, call: Call, target: Target) -> Response:
        resource = call.resource
        elsewhere = misplaced(resource, target, call.verb)
        if elsewhere is not None:
            return elsewhere
        check_named(resource, target, call.verb)
        if target.subresource:
            found = resource.subresource(target.subresource)
            if resource.custom and found is not None and call.verb not in found.verbs:
                raise not_supported(call.verb, resource.plural, resource.group)
            handler = self._subresources.get((resource.qualified, target.subresource)) or (
                self._subresources.get(("*", target.subresource)) if found is not None else None
            )
            if handler is not None and (not target.rest or target.subresource == PROXY):
                return await handler(call, request)
            if found is None or target.rest:
                raise reading.missing(call) if resource.custom else resource_not_found()
            if call.verb not in found.verbs:
                raise method_not_allowed()
        elif call.verb not in resource.verbs:
            if target.name and not resource.stored and "get" not in resource.verbs:
                raise resource_not_found()
            _check_terminating(request, call)
        return await self._answer(request, call, target)

    async def _answer(self, request: Request, call: Call, target: Target) -> Response:
        if not call.resource.stored:
            special = self._subresources.get((call.resource.qualified, ""))
            if special is not None:
                return await special(call, request)
            check_write_options(call.options, call.verb, apply=False)
            body = self._body(request, call)
            return await answered(request, call.resource.kind, lambda: self._reviews.answer(call, body))
        definition = self.registry.definitions.of(call.resource)
        store = self.registry.store
        shown = Presentation(request, definition, call.verb, self.registry.clock)
        match call.verb:
            case "get":
                return await self._object(shown, definition, reading.get(store, definition, call))
            case "list":
                return shown.listing(await reading.list_page(self.registry, definition, call))
            case "watch":
                return await self._watch(definition, call, shown, target)
            case "create":
                if call.name and not call.subresource:
                    raise method_not_allowed()
                check_write_options(call.options, call.verb, apply=False)
                written = await create(self.registry, call, self._body(request, call))
                return await self._object(shown, definition, written.record, 201)
            case "update":
                if not call.name:
                    raise method_not_allowed()
                check_write_options(call.options, call.verb, apply=False)
                written = await update(self.registry, call, self._body(request, call))
                return await self._object(shown, definition, written.record, 201 if written.created else 200)
            case "patch":
                return await self._patch(request, definition, call, shown)
            case "delete":
                self._delete_options(request, call)
                return await self._deleted(
                    definition, call, await deleting.delete(self.registry, call), shown
                )
            case "connect":
                raise method_not_allowed()
            case "deletecollection":
                self._delete_options(request, call)
                records = await deleting.delete_collection(self.registry, call)
                return shown.listing(reading.Listing(records, store.revision))

    async def _object(
        self, shown: Presentation, definition: Definition, record: Record, status: int = 200
    ) -> Response:
        return shown.object(await self.registry.conversions.record(definition, record), status)

    def _body(self, request: Request, call: Call) -> Object:
        body, call.body_errors = read_object(request, call.resource.kind, custom=call.resource.custom)
        return body

    async def _watch(
        self, definition: Definition, call: Call, shown: Presentation, target: Target
    ) -> Response:
        timeout = call.options.timeout_seconds
        if not timeout:
            timeout = MIN_WATCH_SECONDS * (1 + self.registry.randomness.random())
        if call.name:
            if not target.legacy_watch:
                reading.get(self.registry.store, definition, call)
            term = f"metadata.name={call.name}"
            before = call.options.field_selector
            call.options.field_selector = f"{before},{term}" if before else term
        options = call.options
        if options.label_selector or options.field_selector or definition.webhook or not shown.lines:
            return shown.events(await watch(self.registry, definition, call, timeout))
        follower = Follower(self._fan_out, definition, definition.prefix(call.namespace))
        events = await watch(self.registry, definition, call, timeout, follower.wait)
        return shown.events(events, follower.attach)

    async def _patch(
        self, request: Request, definition: Definition, call: Call, shown: Presentation
    ) -> Response:
        if not call.name:
            raise method_not_allowed()
        apply = is_apply(request)
        check_write_options(call.options, call.verb, apply=apply)
        if apply:
            body, warnings = apply_body(request, call.options.field_validation)
            call.warnings += warnings
            written = await patching_objects.apply(self.registry, call, body)
        else:
            change = patch_body(request, definition)
            written = await patching_objects.patch(self.registry, call, change)
        return await self._object(shown, definition, written.record, 201 if written.created else 200)

    def _delete_options(self, request: Request, call: Call) -> None:
        if request.body:
            merge_delete_options(call.options, object_body(request, "DeleteOptions"), call.verb)

    async def _deleted(
        self, definition: Definition, call: Call, written: Written, shown: Presentation
    ) -> Response:
        if not written.deleted or definition.row.returns_object:
            return await self._object(shown, definition, written.record)
        resource = call.resource
        details: Object = {
            "name": call.name,
            "kind": resource.plural,
            "uid": written.record.value["metadata"]["uid"],
        }
        if resource.group:
            details["group"] = resource.group
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return Response(200, dict(JSON), orjson.dumps(status, option=ENDED))


def attributes_of(request: Request, target: Target | None) -> Attributes:
    """The request as authorization sees it."""
    if target is None:
        verb: str = _METHOD_VERBS.get(request.method) or request.method.lower()
        return Attributes(verb, path=unquote(request.path))
    namespace = target.namespace
    if target.plural == "namespaces" and target.group == "" and target.name:
        namespace = target.name
    verb = "" if request.method == "OPTIONS" else _verb(request, target)
    return Attributes(
        verb,
        target.group,
        target.version,
        target.plural,
        target.subresource,
        namespace,
        target.name or _selected_name(request, target, verb),
    )


def _selected_name(request: Request, target: Target, verb: str) -> str:
    """The one name that a list or watch asks for by its selector: a rule for that name (`resourceNames`) allows it."""
    if verb not in {"list", "watch"} or target.legacy_watch or "fieldSelector" not in request.query:
        return ""
    try:
        options = parse_options(request.query, verb)
        parse_labels(options.label_selector)
        terms = parse_fields(options.field_selector)
    except (StatusError, ValueError):
        return ""  # such a request is refused later, in its own words
    names = [term.value for term in terms if term.equal and term.path == "metadata.name"]
    return names[0] if names and not path_segment(names[0]) else ""


def _verb(request: Request, target: Target) -> Verb:
    verb = _METHOD_VERBS.get(request.method)
    if verb is None:
        if target.subresource == PROXY and request.method in {"HEAD", "OPTIONS"}:
            return "get"
        raise method_not_allowed()
    if verb == "get":
        watching = target.legacy_watch or flag(parse_qs(request.query, keep_blank_values=True), "watch")
        if watching and not target.subresource:
            return "watch"
        return "get" if target.name else "list"
    if verb == "delete" and not target.name:
        return "deletecollection"
    return verb


def _is_stream(request: Request, target: Target | None) -> bool:
    """Whether the request has no deadline, as long as it lasts."""
    if target is None:
        return False
    watching = request.method == "GET" and _verb(request, target) == "watch"
    return watching or target.subresource in {"attach", "exec", "log", "portforward", PROXY}


def _check_terminating(request: Request, call: Call) -> None:
    """While a CRD is being deleted discovery offers its objects no writes, yet finalizers must be removable:
    changes are taken, creating is forbidden. Every other verb that is not served is not allowed."""
    resource = call.resource
    if not (resource.custom and resource.stored) or call.verb not in {"create", "update", "patch"}:
        raise method_not_allowed()
    if call.verb == "create":
        metadata = object_body(request, resource.kind).get("metadata")
        name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(resource.plural, resource.group, name, why)


def _warning(text: str) -> str:
    """The value of a Warning header."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
