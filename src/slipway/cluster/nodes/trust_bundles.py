"""Trust anchors for pods: the certificates of ClusterTrustBundles, each once, in an order that stays.

A projected `clusterTrustBundle` names one bundle, or a signer with a selector over labels; no selector takes none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.schema import pem

Object = dict[str, Any]
# all ClusterTrustBundles
ListBundles = Callable[[], Awaitable[list[Object]]]


class NoBundle(Exception):
    """No bundle is what the source asks for, and it is not optional."""


async def anchors(source: Object, bundles: ListBundles) -> bytes:
    """What the source's file holds; nothing where it is optional and there is no such bundle."""
    taken = [bundle for bundle in await bundles() if takes(source, bundle)]
    if not taken and not source.get("optional"):
        raise NoBundle(
            f'clustertrustbundle.certificates.k8s.io "{source["name"]}" not found'
            if source.get("name")
            else "combination of signerName and labelSelector matched zero ClusterTrustBundles"
        )
    return _normalized(bundle["spec"].get("trustBundle") or "" for bundle in taken)


def takes(source: Object, bundle: Object) -> bool:
    if source.get("name"):
        return bool(bundle["metadata"]["name"] == source["name"])
    if bundle["spec"].get("signerName") != source.get("signerName"):
        return False
    selector = source.get("labelSelector")
    return selector is not None and selectors.matches(selector, bundle["metadata"].get("labels") or {})


def _normalized(texts: Iterable[str]) -> bytes:
    found = {block.data for text in texts for block in pem.blocks(text)}
    return "".join(pem.encoded("CERTIFICATE", data) for data in sorted(found)).encode()
