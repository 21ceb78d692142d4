"""Mutating and validating admission webhooks: whom to ask, what to send, what the answer means.

Facts: k8s.io/api admissionregistration/v1 and admission/v1, and how the API server words refusals.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from slipway.cluster.access.authorization import Attributes, Authorizer
from slipway.cluster.access.reviews import user_info
from slipway.cluster.access.webhook_call import Resolve, WebhookFailure, ask
from slipway.cluster.exchange import Identity
from slipway.cluster.patching.json_patch import apply_json_patch
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.registry.selectors import labels_match, requirements_of
from slipway.cluster.status import StatusError, bad_request, forbidden

if TYPE_CHECKING:
    from slipway.cluster.schema.cel.authorizer import Access, Answer

Object = dict[str, Any]
GROUP = "admissionregistration.k8s.io"
OPERATIONS = {
    "create": "CREATE",
    "update": "UPDATE",
    "patch": "UPDATE",
    "delete": "DELETE",
    "connect": "CONNECT",
}
# Webhook configurations are never sent to webhooks: a broken one must stay repairable.
_EXEMPT = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}


class Webhooks:
    def __init__(
        self,
        registry: Registry,
        resolve: Resolve,
        authorizer: Authorizer,
    ) -> None:
        self._registry = registry
        self._resolve = resolve
        self._authorizer = authorizer  # for expressions that ask what the caller may do

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        hooks = self._matching("mutatingwebhookconfigurations", call, obj, old)
        changed_after: list[bool] = []
        for hook in hooks:
            before = obj
            obj = await self._ask_mutating(hook, call, obj, old)
            changed_after = [changed or obj != before for changed in changed_after] + [False]
        # Reinvocation: once more for those who ask for it and whose object others changed after them.
        for hook, changed in zip(hooks, changed_after, strict=True):
            if changed and hook.get("reinvocationPolicy") == "IfNeeded":
                obj = await self._ask_mutating(hook, call, obj, old)
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        hooks = self._matching("validatingwebhookconfigurations", call, obj, old)
        results = await asyncio.gather(
            *(self._ask(hook, call, obj, old) for hook in hooks), return_exceptions=True
        )
        for hook, result in zip(hooks, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                self._judge(hook, call, result)

    def _matching(self, plural: str, call: Call, obj: Object | None, old: Object | None) -> list[Object]:
        if call.resource.plural in _EXEMPT or call.verb not in OPERATIONS:
            return []
        found = []
        for configuration in sorted(
            self._registry.objects(GROUP, "v1", plural), key=lambda c: str(c["metadata"]["name"])
        ):
            found += [
                hook
                for hook in configuration.get("webhooks") or []
                if self._concerns(hook, call, obj, old) and self._conditions_hold(hook, call, obj, old)
            ]
        return found

    def _conditions_hold(self, hook: Object, call: Call, obj: Object | None, old: Object | None) -> bool:
        """The hook's matchConditions; what cannot be decided is decided by its failurePolicy."""
        conditions = hook.get("matchConditions") or []
        if not conditions:
            return True
        # Imported here, and in `_decide`: few clusters have conditions, and all start faster without CEL.
        from slipway.cluster.schema.cel.admission import UndecidedConditions, conditions_match
        from slipway.cluster.schema.cel.authorizer import Access
        from slipway.cluster.schema.cel.authorizer import Authorizer as CelAuthorizer

        resource = call.resource
        own = Access(
            group=resource.group,
            resource=resource.plural,
            subresource=call.subresource,
            namespace=call.namespace,
            name=call.name,
        )
        bindings = {
            "object": obj,
            "oldObject": old,
            "request": self._review("", call, obj, old)["request"],
            "namespaceObject": {},  # a real server leaves it empty here
            "authorizer": CelAuthorizer(partial(self._decide, call.identity), own),
        }
        try:
            return conditions_match(conditions, bindings)
        except UndecidedConditions as error:
            if hook.get("failurePolicy") == "Ignore":
                return False
            raise forbidden(resource.plural, resource.group, call.name, str(error)) from None

    def _decide(self, identity: Identity, access: Access) -> Answer:
        from slipway.cluster.schema.cel.authorizer import Answer

        if access.service_account is not None:
            namespace, name = access.service_account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            identity = Identity(f"system:serviceaccount:{namespace}:{name}", groups=groups)
        asked = Attributes(
            access.verb,
            access.group,
            "*",
            access.resource,
            access.subresource,
            access.namespace,
            access.name,
            access.path,
        )
        decision = self._authorizer.decide(identity, asked)
        return Answer(decision.allowed, decision.reason, decision.error)

    def _concerns(self, hook: Object, call: Call, obj: Object | None, old: Object | None) -> bool:
        if not any(_rule_matches(rule, call) for rule in hook.get("rules") or []):
            return False
        namespaces = requirements_of(hook.get("namespaceSelector"))
        if namespaces:
            if call.resource.qualified == "namespaces":
                labels = ((obj or old or {}).get("metadata") or {}).get("labels")
            elif call.namespace:
                record = self._registry.record("", "v1", "namespaces", "", call.namespace)
                labels = record.value["metadata"].get("labels") if record else {}
            else:
                labels = None
            if (labels is not None or call.resource.namespaced) and not labels_match(namespaces, labels):
                return False
        objects = requirements_of(hook.get("objectSelector"))
        if not objects:
            return True
        return any(
            labels_match(objects, (each.get("metadata") or {}).get("labels"))
            for each in (obj, old)
            if each is not None
        )

    async def _ask_mutating(
        self, hook: Object, call: Call, obj: Object | None, old: Object | None
    ) -> Object | None:
        response = await self._ask(hook, call, obj, old)
        if response is None:
            return obj
        self._judge(hook, call, response)
        patch = response.get("patch")
        if not patch or obj is None:
            return obj
        if response.get("patchType") != "JSONPatch":
            raise _internal(hook, "webhook returned response.patch but not response.patchType=JSONPatch")
        try:
            operations = orjson.loads(base64.b64decode(patch))
        except ValueError as error:
            raise _internal(hook, f"the patch cannot be decoded: {error}") from None
        changed = apply_json_patch(copy.deepcopy(obj), operations)
        if not isinstance(changed, dict):
            raise _internal(hook, "the patched object is not an object")
        return changed

    async def _ask(self, hook: Object, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        """The webhook's response; None when it failed and its policy is to ignore that."""
        if call.options.dry_run and hook.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            raise bad_request(
                f"admission webhook {_quoted(hook)} does not support dry run (sideEffects is not None or"
                " NoneOnDryRun)"
            )
        uid = self._registry.new_uid()
        try:
            answer = await ask(
                hook.get("clientConfig") or {},
                self._resolve,
                self._review(uid, call, obj, old),
                float(hook.get("timeoutSeconds") or 10),
            )
            response = answer.get("response")
            if not isinstance(response, dict):
                raise WebhookFailure("webhook response was absent")
            if response.get("uid") != uid:
                raise WebhookFailure(f"expected response.uid={uid}, got {response.get('uid')}")
        except WebhookFailure as error:
            if hook.get("failurePolicy") == "Ignore":
                return None
            raise _internal(hook, str(error)) from None
        call.warnings += [str(warning) for warning in response.get("warnings") or []]
        for key, value in (response.get("auditAnnotations") or {}).items():
            call.audit[f"{hook['name']}/{key}"] = value
        return response

    def _review(self, uid: str, call: Call, obj: Object | None, old: Object | None) -> Object:
        resource = call.resource
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        if call.subresource and (shown := obj or old) and shown.get("kind"):  # a Scale, an Eviction, …
            group, _, version = shown["apiVersion"].rpartition("/")
            kind = {"group": group, "version": version, "kind": shown["kind"]}
        plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
        request: Object = {
            "uid": uid,
            "kind": kind,
            "resource": plural,
            "requestKind": kind,
            "requestResource": plural,
            "name": call.name,
            "operation": OPERATIONS[call.verb],
            "userInfo": user_info(call.identity),
            "object": obj,
            "oldObject": old,
            "dryRun": call.options.dry_run,
            "options": _options(call),
        }
        if call.namespace:
            request["namespace"] = call.namespace
        if call.subresource:
            request["subResource"] = request["requestSubResource"] = call.subresource
        return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}

    def _judge(self, hook: Object, call: Call, response: Object) -> None:
        if response.get("allowed"):
            return
        said = response.get("status") or {}
        message = said.get("message") or said.get("reason") or ""
        text = f"admission webhook {_quoted(hook)} denied the request"
        text += f": {message}" if message else " without explanation"
        code = int(said.get("code") or 0)
        if code < 400:
            code = 400 if code == 0 and said.get("reason") == "BadRequest" else 403
        raise StatusError(
            code, said.get("reason") or ("Forbidden" if code == 403 else ""), text, said.get("details")
        )


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def _options(call: Call) -> Object | None:
    """A connection has none besides its object."""
    kind = _OPTIONS.get(OPERATIONS[call.verb])
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1"} if kind else None


def _quoted(hook: Object) -> str:
    return f'"{hook.get("name", "")}"'


def _internal(hook: Object, why: str) -> StatusError:
    text = f"failed calling webhook {_quoted(hook)}: failed to call webhook: {why}"
    return StatusError(
        500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]}
    )


def _rule_matches(rule: Object, call: Call) -> bool:
    resource = call.resource
    operation = OPERATIONS[call.verb]
    operations, groups = rule.get("operations") or [], rule.get("apiGroups") or []
    if "*" not in operations and operation not in operations:
        return False
    if "*" not in groups and resource.group not in groups:
        return False
    versions = rule.get("apiVersions") or []
    if "*" not in versions and resource.version not in versions:
        return False
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") != resource.namespaced:
        return False
    for wanted in rule.get("resources") or []:
        plural, _, sub = wanted.partition("/")
        if plural in {"*", resource.plural} and (sub == "*" or sub == call.subresource or wanted == "*/*"):
            return True
    return False
