"""Mutating and validating admission webhooks: whom to ask, what to send, what the answer means.

Facts: k8s.io/api admissionregistration/v1 and admission/v1, and how the API server words refusals.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from slipway.cluster.access.admission.question import OPERATIONS, Question
from slipway.cluster.access.admission.versions import converted, resource_for, speaks_its_kind
from slipway.cluster.access.authorization import Attributes, Authorizer
from slipway.cluster.access.webhook_call import Resolve, WebhookFailure, ask
from slipway.cluster.exchange import Identity
from slipway.cluster.patching.json_patch import apply_json_patch
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.registry.selectors import labels_match, requirements_of
from slipway.cluster.schema.json_bodies import parse_json
from slipway.cluster.status import StatusError, bad_request, forbidden

if TYPE_CHECKING:
    from slipway.cluster.schema.cel.authorizer import Access, Answer

Object = dict[str, Any]
GROUP = "admissionregistration.k8s.io"
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
        asked: list[Object] = []
        changed_after: list[bool] = []
        for hook in self._hooks("mutatingwebhookconfigurations", call):
            question = await self._question(hook, call, obj, old)
            if question is None:
                continue
            before, obj = obj, await self._ask_mutating(question, obj)
            asked.append(hook)
            changed_after = [changed or obj != before for changed in changed_after] + [False]
        # Reinvocation: once more for those who ask for it and whose object others changed after them.
        for hook, changed in zip(asked, changed_after, strict=True):
            if changed and hook.get("reinvocationPolicy") == "IfNeeded":
                question = await self._question(hook, call, obj, old)
                obj = await self._ask_mutating(question, obj) if question is not None else obj
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        hooks = self._hooks("validatingwebhookconfigurations", call)
        questions = [await self._question(hook, call, obj, old) for hook in hooks]
        asked = [question for question in questions if question is not None]
        results = await asyncio.gather(*map(self._ask, asked), return_exceptions=True)
        for question, result in zip(asked, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                self._judge(question.hook, result)

    def _hooks(self, plural: str, call: Call) -> list[Object]:
        """All webhooks of a kind of configuration that may be asked about such a call, in order."""
        if call.resource.plural in _EXEMPT or call.verb not in OPERATIONS:
            return []
        configurations = self._registry.objects(GROUP, "v1", plural)
        configurations.sort(key=lambda configuration: str(configuration["metadata"]["name"]))
        return [hook for configuration in configurations for hook in configuration.get("webhooks") or []]

    async def _question(
        self, hook: Object, call: Call, obj: Object | None, old: Object | None
    ) -> Question | None:
        """What to ask the webhook, in the version that its rules name; None when it is not concerned."""
        definitions = self._registry.definitions
        resource = resource_for(hook, call, OPERATIONS[call.verb], definitions)
        if resource is None or not self._selected(hook, call, obj, old):
            return None
        question = Question(hook, call, resource, obj, old)
        if resource is not call.resource and speaks_its_kind(call):
            there = partial(converted, self._registry, call.resource, resource)
            question.obj = await there(obj) if obj is not None else None
            question.old = await there(old) if old is not None else None
        return question if self._conditions_hold(question) else None

    def _conditions_hold(self, question: Question) -> bool:
        """The hook's matchConditions; what cannot be decided is decided by its failurePolicy."""
        hook, call = question.hook, question.call
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
            "object": question.obj,
            "oldObject": question.old,
            "request": question.review("")["request"],
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

    def _selected(self, hook: Object, call: Call, obj: Object | None, old: Object | None) -> bool:
        """Whether the hook's selectors choose the namespace and the object."""
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

    async def _ask_mutating(self, question: Question, obj: Object | None) -> Object | None:
        """The object as the webhook wants it, in the version of the request."""
        hook = question.hook
        response = await self._ask(question)
        if response is None:
            return obj
        self._judge(hook, response)
        patch = response.get("patch")
        if not patch or question.obj is None:
            return obj
        if response.get("patchType") != "JSONPatch":
            raise _internal(hook, "webhook returned response.patch but not response.patchType=JSONPatch")
        try:
            operations = parse_json(base64.b64decode(patch))
        except ValueError as error:
            raise _internal(hook, f"the patch cannot be decoded: {error}") from None
        changed = apply_json_patch(copy.deepcopy(question.obj), operations)
        if not isinstance(changed, dict):
            raise _internal(hook, "the patched object is not an object")
        asked, resource = question.call.resource, question.resource
        if resource is asked or not speaks_its_kind(question.call):
            return changed
        self._registry.definitions.of(resource).default(changed)
        return await converted(self._registry, resource, asked, changed)

    async def _ask(self, question: Question) -> Object | None:
        """The webhook's response; None when it failed and its policy is to ignore that."""
        hook, call = question.hook, question.call
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
                question.review(uid),
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

    def _judge(self, hook: Object, response: Object) -> None:
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


def _quoted(hook: Object) -> str:
    return f'"{hook.get("name", "")}"'


def _internal(hook: Object, why: str) -> StatusError:
    text = f"failed calling webhook {_quoted(hook)}: failed to call webhook: {why}"
    return StatusError(
        500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]}
    )
