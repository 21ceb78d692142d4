"""Who may act as somebody else: the `impersonate` verb on users, groups, service accounts and extra fields."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.cluster.access.authorization import Attributes, Authorizer, refusal
from slipway.cluster.exchange import Identity


class Impersonation:
    """Raises 403 when the caller may not impersonate every part of the wanted identity."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def __call__(self, caller: Identity, wanted: Identity) -> None:
        for attributes in _asked(wanted):
            if not self._authorizer.decide(caller, attributes).allowed:
                raise refusal(caller, attributes)


def _asked(wanted: Identity) -> Iterator[Attributes]:
    account = wanted.name.split(":")
    if len(account) == 4 and wanted.name.startswith("system:serviceaccount:"):
        yield Attributes(
            "impersonate", version="v1", resource="serviceaccounts", namespace=account[2], name=account[3]
        )
        implied = {"system:serviceaccounts", f"system:serviceaccounts:{account[2]}"}
    else:
        yield Attributes("impersonate", version="v1", resource="users", name=wanted.name)
        implied = set()
    for group in wanted.groups:
        if group not in implied:
            yield Attributes("impersonate", version="v1", resource="groups", name=group)
    authentication = "authentication.k8s.io"
    if wanted.uid:
        yield Attributes("impersonate", authentication, "v1", "uids", name=wanted.uid)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes("impersonate", authentication, "v1", "userextras", key, name=value)
