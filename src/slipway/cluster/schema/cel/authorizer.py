"""The `authorizer` of admission expressions: may the caller, or a service account, do this or that?

`authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()`. The declarations
follow apiserver `pkg/cel/library/authz.go`; the deciding itself is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from slipway.cluster.schema import names
from slipway.cluster.schema.cel.kinds import Functions, Kind
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Opaque

AUTHORIZER = Functions()
overload = AUTHORIZER.overload
_PREFIX = "kubernetes.authorization."


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked. `service_account` is (namespace, name) if it is not asked for the caller."""

    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answer(Opaque):
    type_name: ClassVar[str] = _PREFIX + "Decision"
    allowed: bool
    reason: str = ""
    error: str = ""


Decide = Callable[[Access], Answer]


@dataclass(frozen=True, slots=True)
class Authorizer(Opaque):
    """`own` is what the request itself does: `authorizer.requestResource`."""

    type_name: ClassVar[str] = _PREFIX + "Authorizer"
    decide: Decide
    own: Access = Access()
    service_account: tuple[str, str] | None = None

    def __contains__(self, field: str) -> bool:
        return field == "requestResource"

    def __getitem__(self, field: str) -> ResourceCheck:
        return ResourceCheck(self.decide, self.own)


@dataclass(frozen=True, slots=True)
class PathCheck(Opaque):
    type_name: ClassVar[str] = _PREFIX + "PathCheck"
    decide: Decide
    access: Access


@dataclass(frozen=True, slots=True)
class GroupCheck(Opaque):
    type_name: ClassVar[str] = _PREFIX + "GroupCheck"
    decide: Decide
    access: Access


@dataclass(frozen=True, slots=True)
class ResourceCheck(Opaque):
    type_name: ClassVar[str] = _PREFIX + "ResourceCheck"
    decide: Decide
    access: Access


AUTHORIZER_KIND = Kind(Authorizer.type_name, fields={"requestResource": Kind(ResourceCheck.type_name)})


@overload(f"{_PREFIX}Authorizer.path(string) {_PREFIX}PathCheck")
def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path:
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer.decide, Access(path=path, service_account=authorizer.service_account))


@overload(f"{_PREFIX}Authorizer.group(string) {_PREFIX}GroupCheck")
def _group(authorizer: Authorizer, group: str) -> GroupCheck:
    return GroupCheck(authorizer.decide, Access(group=group, service_account=authorizer.service_account))


@overload(f"{_PREFIX}Authorizer.serviceAccount(string, string) {_PREFIX}Authorizer")
def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns1123_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return replace(authorizer, service_account=(namespace, name))


@overload(f"{_PREFIX}GroupCheck.resource(string) {_PREFIX}ResourceCheck")
def _resource(check: GroupCheck, resource: str) -> ResourceCheck:
    return ResourceCheck(check.decide, replace(check.access, resource=resource))


@overload(f"{_PREFIX}ResourceCheck.subresource(string) {_PREFIX}ResourceCheck")
def _subresource(check: ResourceCheck, subresource: str) -> ResourceCheck:
    return replace(check, access=replace(check.access, subresource=subresource))


@overload(f"{_PREFIX}ResourceCheck.namespace(string) {_PREFIX}ResourceCheck")
def _namespace(check: ResourceCheck, namespace: str) -> ResourceCheck:
    return replace(check, access=replace(check.access, namespace=namespace))


@overload(f"{_PREFIX}ResourceCheck.name(string) {_PREFIX}ResourceCheck")
def _name(check: ResourceCheck, name: str) -> ResourceCheck:
    return replace(check, access=replace(check.access, name=name))


@overload(
    f"{_PREFIX}ResourceCheck.fieldSelector(string) {_PREFIX}ResourceCheck",
    f"{_PREFIX}ResourceCheck.labelSelector(string) {_PREFIX}ResourceCheck",
)
def _selector(check: ResourceCheck, selector: str) -> ResourceCheck:
    return check  # RBAC takes no notice of selectors


def _authorization_cost(*_: Any) -> float:
    return 350_000  # a decision may be a request to another server


@overload(
    f"{_PREFIX}ResourceCheck.check(string) {_PREFIX}Decision",
    f"{_PREFIX}PathCheck.check(string) {_PREFIX}Decision",
    cost=_authorization_cost,
)
def _check(check: ResourceCheck | PathCheck, verb: str) -> Answer:
    return check.decide(replace(check.access, verb=verb))


@overload(f"{_PREFIX}Decision.allowed() bool")
def _allowed(answer: Answer) -> bool:
    return answer.allowed


@overload(f"{_PREFIX}Decision.reason() string")
def _reason(answer: Answer) -> str:
    return answer.reason


@overload(f"{_PREFIX}Decision.errored() bool")
def _errored(answer: Answer) -> bool:
    return bool(answer.error)


@overload(f"{_PREFIX}Decision.error() string")
def _error(answer: Answer) -> str:
    return answer.error
