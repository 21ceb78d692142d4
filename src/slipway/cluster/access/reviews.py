"""The review kinds: questions to the cluster that are answered and forgotten.

SubjectAccessReview and its relatives (authorization.k8s.io), TokenReview, SelfSubjectReview
(authentication.k8s.io).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slipway.cluster.access.access_questions import attributes_of, check_question
from slipway.cluster.access.authentication import TokenReviewer, with_authenticated
from slipway.cluster.access.authorization import Attributes, RbacAuthorizer
from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.exchange import Identity
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.questions import understand
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import bad_request

Object = dict[str, Any]
Review = Callable[[Call, Object], Object]


class Reviews:
    """Answers by kind. `signer` reviews service-account tokens, `reviewers` all others."""

    def __init__(
        self,
        registry: Registry,
        authorizer: RbacAuthorizer,
        signer: TokenSigner,
        reviewers: Iterable[TokenReviewer],
    ) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._signer = signer
        self._reviewers = list(reviewers)
        self.by_kind: dict[str, Review] = {
            "SubjectAccessReview": self._subject_access,
            "LocalSubjectAccessReview": self._subject_access,
            "SelfSubjectAccessReview": self._self_access,
            "SelfSubjectRulesReview": self._self_rules,
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
        }

    async def answer(self, call: Call, body: Object) -> Object:
        """The review with its status filled in; 422 when the question is not one."""
        review = await understand(self._registry, call, body)
        return self.by_kind[call.resource.kind](call, review)

    def _decided(self, review: Object, identity: Identity, attributes: Attributes) -> Object:
        decision = self._authorizer.decide(identity, attributes)
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        if decision.error:
            status["evaluationError"] = decision.error
        return {**review, "status": status}

    def _subject_access(self, call: Call, review: Object) -> Object:
        check_question(review)
        spec = review["spec"]
        extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
        identity = Identity(
            spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra
        )
        return self._decided(review, identity, attributes_of(spec))

    def _self_access(self, call: Call, review: Object) -> Object:
        check_question(review)
        return self._decided(review, call.identity, attributes_of(review["spec"]))

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
        answered = {"kind": review["kind"], "apiVersion": review["apiVersion"]}
        return {**answered, "metadata": {}, "spec": {}, "status": status}

    def _token(self, call: Call, review: Object) -> Object:
        spec = review.get("spec") or {}
        token, audiences = str(spec.get("token") or ""), list(spec.get("audiences") or [])
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        identity = self._signer.review(token, audiences)
        if identity is None:
            identity = next((found for found in (one(token) for one in self._reviewers) if found), None)
        if identity is None:
            status: Object = {"user": {}, "error": "invalid bearer token"}
        else:
            status = {"authenticated": True, "user": user_info(with_authenticated(identity))}
            status["audiences"] = audiences or [self._signer.issuer]
        return {**review, "status": status}

    def _self(self, call: Call, review: Object) -> Object:
        review["metadata"]["creationTimestamp"] = self._registry.clock.timestamp()
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
