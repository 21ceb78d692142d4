"""CertificateSigningRequests: who asks is written by the server, and what was asked never changes.

Facts: k8s.io/kubernetes pkg/registry/certificates/certificates/strategy.go.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


class CertificateSigningRequestStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        asker = {
            "username": call.identity.name,
            "uid": call.identity.uid,
            "groups": list(call.identity.groups),
            "extra": {key: list(values) for key, values in call.identity.extra.items()},
        }
        said = {key: value for key, value in obj.get("spec", {}).items() if key not in asker}
        obj["spec"] = {**said, **{key: value for key, value in asker.items() if value}}

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["spec"] = copy.deepcopy(old["spec"])
