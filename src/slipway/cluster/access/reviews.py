"""The review kinds: questions to the cluster that are answered and forgotten.

SubjectAccessReview and its relatives (authorization.k8s.io), TokenReview, SelfSubjectReview
(authentication.k8s.io).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slipway.cluster.access.authentication import TokenReviewer, with_authenticated
from slipway.cluster.access.authorization import Attributes, RbacAuthorizer
from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.exchange import Identity
from slipway.cluster.registry.call import Call
from slipway.cluster.status import FieldError, bad_request, invalid

Object = dict[str, Any]
Review = Callable[[Call, Object], Object]


class Reviews:
    """Answers by kind. `signer` reviews service-account tokens, `reviewers` all others."""

    def __init__(
        self, authorizer: RbacAuthorizer, signer: TokenSigner, reviewers: Iterable[TokenReviewer]
    ) -> None:
        self._authorizer = authorizer
        self._signer = signer
        self._reviewers = list(reviewers)
        self.by_kind: dict[str, Review] = {
            "SubjectAccessReview": self._subject_access,
            "LocalSubjectAccessReview": self._local_subject_access,
            "SelfSubjectAccessReview": self._self_access,
            "SelfSubjectRulesReview": self._self_rules,
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
        }

    def answer(self, call: Call, review: Object) -> Object:
        """The review with its status filled in; 422 when the question is not one."""
        metadata = {"creationTimestamp": None, **(review.get("metadata") or {})}
        if call.namespace:
            metadata["namespace"] = call.namespace
        answered = {**review, "kind": call.resource.kind, "apiVersion": call.resource.api_version}
        answered["metadata"] = metadata
        answered.pop("status", None)
        return self.by_kind[call.resource.kind](call, answered)

    def _attributes(self, kind: str, spec: Object) -> Attributes:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if resource is not None and path is not None:
            error = FieldError(
                "FieldValueInvalid",
                "spec.nonResourceAttributes",
                path,
                "cannot be specified in combination with resourceAttributes",
            )
            raise invalid(kind, "authorization.k8s.io", "", [error])
        if path is not None:
            return Attributes(str(path.get("verb") or ""), path=str(path.get("path") or ""))
        if resource is None:
            why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            error = FieldError("FieldValueInvalid", "spec.resourceAttributes", None, why, shown="null")
            raise invalid(kind, "authorization.k8s.io", "", [error])
        return Attributes(
            str(resource.get("verb") or ""),
            str(resource.get("group") or ""),
            str(resource.get("version") or ""),
            str(resource.get("resource") or ""),
            str(resource.get("subresource") or ""),
            str(resource.get("namespace") or ""),
            str(resource.get("name") or ""),
        )

    def _decided(self, review: Object, identity: Identity, attributes: Attributes) -> Object:
        decision = self._authorizer.decide(identity, attributes)
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        if decision.error:
            status["evaluationError"] = decision.error
        return {**review, "status": status}

    def _subject(self, review: Object) -> Identity:
        spec = review.get("spec") or {}
        if not spec.get("user") and not spec.get("groups"):
            error = FieldError(
                "FieldValueInvalid", "spec.user", "", "at least one of user or group must be specified"
            )
            raise invalid(review["kind"], "authorization.k8s.io", "", [error])
        extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
        return Identity(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)

    def _subject_access(self, call: Call, review: Object) -> Object:
        attributes = self._attributes(review["kind"], review.get("spec") or {})
        return self._decided(review, self._subject(review), attributes)

    def _local_subject_access(self, call: Call, review: Object) -> Object:
        attributes = self._attributes(review["kind"], review.get("spec") or {})
        if attributes.namespace != call.namespace:
            raise bad_request(
                f"spec.resourceAttributes.namespace must match namespace: {attributes.namespace} != {call.namespace}"
            )
        return self._decided(review, self._subject(review), attributes)

    def _self_access(self, call: Call, review: Object) -> Object:
        attributes = self._attributes(review["kind"], review.get("spec") or {})
        return self._decided(review, call.identity, attributes)

    def _self_rules(self, call: Call, review: Object) -> Object:
        namespace = str((review.get("spec") or {}).get("namespace") or "")
        if not namespace:
            raise bad_request("no namespace on request")
        resources: list[Object] = []
        paths: list[Object] = []
        for rule, _ in self._authorizer.granted(call.identity, namespace):
            if rule.get("nonResourceURLs"):
                paths.append({"verbs": rule.get("verbs"), "nonResourceURLs": rule["nonResourceURLs"]})
            else:
                kept = {
                    k: rule[k] for k in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(k)
                }
                resources.append(kept)
        status = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
        return {**review, "status": status}

    def _token(self, call: Call, review: Object) -> Object:
        spec = review.get("spec") or {}
        token, audiences = str(spec.get("token") or ""), list(spec.get("audiences") or [])
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        identity = self._signer.review(token, audiences)
        if identity is None:
            identity = next((found for found in (one(token) for one in self._reviewers) if found), None)
        if identity is None:
            status: Object = {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        else:
            status = {"authenticated": True, "user": user_info(with_authenticated(identity))}
            status["audiences"] = audiences or [self._signer.issuer]
        return {**review, "status": status}

    def _self(self, call: Call, review: Object) -> Object:
        return {**review, "status": {"userInfo": user_info(call.identity)}}


def user_info(identity: Identity) -> Object:
    """authentication.k8s.io UserInfo of a caller."""
    info: Object = {"username": identity.name}
    if identity.uid:
        info["uid"] = identity.uid
    if identity.groups:
        info["groups"] = list(identity.groups)
    if identity.extra:
        info["extra"] = {key: list(values) for key, values in identity.extra.items()}
    return info
