"""From a TargetApp's `spec` to everything that polling and acting need, or to the reasons why not.

All that can be wrong before the first request is found here: fields, GraphQL text, schema, actions and
their parameters, references to Secrets, TLS material, permissions.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from kco.actions.handler import InvalidParameters, Permission
from kco.actions.registry import ActionRegistry, PreparedAction, UnknownAction
from kco.net.tls import InvalidCertificate, TlsSettings, build_context
from kco.net.url import Address, InvalidUrl, parse_url
from kco.operator.clusters import Cluster, Clusters
from kco.spec import lint
from kco.spec.document import InvalidQuery, read_schema
from kco.spec.targetapp import KeyRef, TargetAppSpec
from kco.targets.instance import fixed_address
from operator_kit.kube.client import KubeClient, Resource

ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)


USUAL_HEADERS: Mapping[str, str] = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "kco"}
)


class Unusable(Exception):
    """A TargetApp that cannot be monitored as it is; `condition` and `reason` are words of its status."""

    def __init__(self, condition: str, reason: str, problems: list[str]) -> None:
        super().__init__("; ".join(problems[:5]))
        self.condition = condition
        self.reason = reason
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Prepared:
    """A TargetApp that can be monitored."""

    spec: TargetAppSpec
    question: str
    headers: Mapping[str, str] = field(repr=False)
    tls: TlsSettings
    cluster: Cluster
    acting: KubeClient
    actions: Mapping[str, PreparedAction]
    warnings: tuple[str, ...] = ()

    def asks_like(self, other: "Prepared") -> bool:
        """Whether polls of both go to the same cluster with the same bytes and certificates."""
        return (self.question, self.headers, self.tls, self.cluster.key) == (
            other.question,
            other.headers,
            other.tls,
            other.cluster.key,
        )


def refers(spec: TargetAppSpec) -> bool:
    """Whether values of Secrets or ConfigMaps go into how the application is asked."""
    tls = spec.tls
    parts = (spec.graphql_schema, spec.cluster, tls.ca_from, tls.client_certificate_secret)
    return any(parts) or any(header.value_from for header in spec.headers)


def check_actions(
    spec: TargetAppSpec, registry: ActionRegistry, enabled: tuple[str, ...] = ("*",)
) -> Mapping[str, PreparedAction]:
    """Handlers and checked parameters by rule; Unusable names every wrong one."""
    prepared: dict[str, PreparedAction] = {}
    problems: list[str] = []
    for position, action in enumerate(spec.actions):
        place = f"spec.actions[{position}]"
        try:
            if "*" not in enabled and action.action not in enabled:
                problems.append(
                    f"{place}.action: {action.action!r} is switched off by the operator's ENABLED_ACTIONS"
                )
                continue
            prepared[action.rule] = registry.prepare(action)
        except UnknownAction as unknown:
            problems.append(f"{place}.action: {unknown}")
        except InvalidParameters as invalid:
            problems += [f"{place}.{problem}" for problem in invalid.problems]
    if problems:
        raise Unusable("Ready", "InvalidAction", problems)
    return prepared


async def prepare(
    spec: TargetAppSpec,
    namespace: str,
    clusters: Clusters,
    registry: ActionRegistry,
    enabled: tuple[str, ...],
) -> Prepared:
    """Resolve everything. Transient failures (API outages) come through as ApiFailure."""
    try:
        address = fixed_address(spec, namespace)
    except InvalidUrl as failure:
        raise Unusable("Ready", "InvalidSpec", [f"spec.graphqlEndpoint: {failure}"]) from None
    credentials = clusters.credentials
    schema = None
    if spec.graphql_schema is not None:
        schema = read_schema(await credentials.value(namespace, spec.graphql_schema))
    try:
        query, problems = lint.check(spec, schema)
    except InvalidQuery as failure:
        raise Unusable("QueryValid", "InvalidQuery", [f"spec.{failure}"]) from None
    if problems:
        raise Unusable("QueryValid", "InvalidQuery", [f"spec.{problem}" for problem in problems])
    actions = check_actions(spec, registry, enabled)
    headers = await _headers(spec, namespace, clusters) if spec.headers else USUAL_HEADERS
    warnings = []
    if spec.tls.insecure_skip_verify and (address is None or address.scheme == "https"):
        warnings.append("TLS certificates of the endpoint are not verified (tls.insecureSkipVerify)")
    tls = await _tls(spec, namespace, clusters)
    cluster = await clusters.of(spec, namespace)
    acting = cluster.client
    if spec.service_account_name is not None:
        acting = acting.impersonating(f"system:serviceaccount:{namespace}:{spec.service_account_name}")
    body: dict[str, Any] = {"query": query.text}
    if spec.variables:
        body["variables"] = spec.variables
    if query.operation_name:
        body["operationName"] = query.operation_name
    # Many targets ask the same: one text for all of them.
    question = sys.intern(orjson.dumps(body).decode())
    return Prepared(spec, question, headers, tls, cluster, acting, actions, tuple(warnings))


async def _headers(spec: TargetAppSpec, namespace: str, clusters: Clusters) -> Mapping[str, str]:
    """The usual headers and the TargetApp's own, with the values that it refers to."""
    headers = dict(USUAL_HEADERS)
    for header in spec.headers:
        text = header.value
        if header.value_from is not None:
            text = await clusters.credentials.value(namespace, header.value_from)
        headers[header.name] = " ".join((text or "").split("\n")).replace("\r", " ").strip()
    return headers


async def _tls(spec: TargetAppSpec, namespace: str, clusters: Clusters) -> TlsSettings:
    credentials = clusters.credentials
    ca = await credentials.value(namespace, spec.tls.ca_from) if spec.tls.ca_from else None
    certificate = key = None
    if spec.tls.client_certificate_secret is not None:
        name = spec.tls.client_certificate_secret
        certificate = await credentials.secret(namespace, KeyRef(name=name, key="tls.crt"))
        key = await credentials.secret(namespace, KeyRef(name=name, key="tls.key"))
    tls = TlsSettings(ca, certificate, key, spec.tls.insecure_skip_verify, spec.tls.server_name)
    if ca or certificate:
        try:
            build_context(tls)
        except InvalidCertificate as failure:
            raise Unusable("Ready", "InvalidCertificate", [f"spec.{failure}"]) from None
    return tls


def redirect_address(address: Address, location: str) -> Address | None:
    """Where a redirect leads, if that is the very same scheme, host and port."""
    if location.startswith("/") and not location.startswith("//"):
        location = f"{address.scheme}://{address.authority}{location}"
    try:
        target = parse_url(location, field="Location")
    except InvalidUrl:
        return None
    same = (target.scheme, target.host, target.port) == (address.scheme, address.host, address.port)
    return target if same else None


async def missing_permissions(prepared: Prepared, namespace: str) -> list[str]:
    """What the acting identity may not do although the actions need it, as the API server says."""
    wanted: dict[Permission, list[str]] = {}
    for rule, action in prepared.actions.items():
        for permission in action.handler.permissions(action.parameters, prepared.spec):
            wanted.setdefault(permission, []).append(rule)
    missing = []
    for permission, rules in wanted.items():
        attributes = {
            "namespace": namespace,
            "verb": permission.verb,
            "group": permission.group,
            "resource": permission.resource,
        }
        if permission.subresource:
            attributes["subresource"] = permission.subresource
        if permission.name:
            attributes["name"] = permission.name
        review = await prepared.acting.create(
            ACCESS_REVIEWS,
            None,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
        if not (review.get("status") or {}).get("allowed"):
            what = permission.resource + (f"/{permission.subresource}" if permission.subresource else "")
            missing.append(f"{permission.verb} {what} (rule {', '.join(rules)})")
    return missing
