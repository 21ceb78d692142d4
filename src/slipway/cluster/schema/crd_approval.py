"""Groups of the Kubernetes community (`*.k8s.io`, `*.kubernetes.io`): whether their API was reviewed, by annotation.

Facts: k8s.io/apiextensions-apiserver `pkg/apihelpers` and `pkg/controller/apiapproval` at 1.37.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from slipway.cluster.status import go_quote

ANNOTATION = "api-approved.kubernetes.io"
CONDITION = "KubernetesAPIApprovalPolicyConformant"
_PROTECTED = re.compile(r"(^|\.)(k8s|kubernetes)\.io$")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]")
_NEEDED = f'protected groups must have approval annotation "{ANNOTATION}"'
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


@dataclass(frozen=True, slots=True)
class Approval:
    """What the annotation says; `message` is how both the condition and a refusal word it."""

    state: Literal["Missing", "Invalid", "Unapproved", "Approved"]
    annotation: str
    message: str

    @property
    def reason(self) -> str:
        return f"{self.state}Annotation"

    @property
    def conformant(self) -> bool:
        return self.state == "Approved"


def approval_of(crd: dict[str, Any]) -> Approval | None:
    """None for a CRD whose group is nobody's but its author's."""
    if not _PROTECTED.search(crd["spec"].get("group") or ""):
        return None
    said = (crd["metadata"].get("annotations") or {}).get(ANNOTATION) or ""
    if not said:
        return Approval("Missing", said, f"{_NEEDED}, {_SEE}")
    if said.startswith("unapproved"):
        return Approval("Unapproved", said, f"not approved: {go_quote(said)}")
    if _URL.match(said):
        return Approval("Approved", said, f"approved in {said}")
    why = f'{_NEEDED} with either a URL or a reason starting with "unapproved", {_SEE}'
    return Approval("Invalid", said, why)
