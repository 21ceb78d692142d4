"""Who may act as somebody else: constrained impersonation (KEP-5284) first, the `impersonate` verb after it.

A mode asks twice: whether the caller may make this very request on somebody's behalf (`impersonate-on:MODE:VERB`),
and whether it may be that somebody (`impersonate:MODE` on each part). The first mode that says yes counts; when none
does, the first one's refusal is the answer. Facts: k8s.io/apiserver pkg/endpoints/filters/impersonation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from slipway.cluster.access.authentication import AUTHENTICATED, MASTERS
from slipway.cluster.access.authorization import Attributes, Authorizer, refusal
from slipway.cluster.access.usage import Usage
from slipway.cluster.exchange import Identity, Request
from slipway.cluster.registry.call import ANONYMOUS
from slipway.cluster.schema import names
from slipway.cluster.status import StatusError, bad_request

UNAUTHENTICATED = "system:unauthenticated"
_AUTHENTICATION = "authentication.k8s.io"
_NODE_OF_CALLER = "authentication.kubernetes.io/node-name"
_MANY = 4  # from so many parts of one kind on, one question about all of them comes first


class Impersonation:
    """Makes a caller the one that it wants to be, or refuses with 403."""

    def __init__(self, authorizer: Authorizer, usage: Usage) -> None:
        self._authorizer = authorizer
        self._usage = usage

    def __call__(self, caller: Identity, request: Request, attributes: Attributes) -> Identity:
        """Who acts: the caller itself where the request names nobody else."""
        wanted = _wanted(request)
        if wanted is None:
            return caller
        first: StatusError | None = None
        for mode in _modes(caller, wanted):
            try:
                asking = _Asking(self._authorizer, caller)
                asking.check(replace(attributes, verb=f"impersonate-on:{mode}:{attributes.verb}"))
                asking.check_parts(wanted, mode)
                return self._become(asking, wanted, constrained=True)
            except StatusError as error:
                first = first or error
        asking = _Asking(self._authorizer, caller)
        try:
            asking.check_parts(wanted, "")
        except StatusError as error:
            raise first or error from None
        return self._become(asking, wanted, constrained=False)

    def _become(self, asking: _Asking, wanted: Identity, *, constrained: bool) -> Identity:
        for attributes in asking.allowed:
            self._usage.note(asking.caller, attributes)
        return _complete(wanted, constrained=constrained)


@dataclass(frozen=True, slots=True)
class _Asking:
    """The questions of one mode: each is answered with yes and kept, or ends them with 403."""

    authorizer: Authorizer
    caller: Identity
    allowed: list[Attributes] = field(default_factory=list)

    def check(self, attributes: Attributes) -> None:
        if not self._may(attributes):
            raise refusal(self.caller, attributes)

    def check_parts(self, wanted: Identity, mode: str) -> None:
        verb, group = ("impersonate:" + mode, _AUTHENTICATION) if mode else ("impersonate", "")
        self.check(_user(wanted.name, verb, group, mode))
        authentication = Attributes(verb, _AUTHENTICATION, "v1")
        if wanted.uid:
            self.check(replace(authentication, resource="uids", name=wanted.uid))
        self._check_groups(wanted, Attributes(verb, group, "v1", "groups"), constrained=bool(mode))
        extra = replace(authentication, resource="userextras")
        parts = [
            replace(extra, subresource=key, name=value)
            for key, values in wanted.extra.items()
            for value in values
        ]
        everything = replace(extra, subresource="*", name="*")
        self._check_all(parts, everything if mode else None)

    def _check_groups(self, wanted: Identity, asked: Attributes, *, constrained: bool) -> None:
        if constrained and "" in wanted.groups:
            raise refusal(self.caller, asked, "impersonating the empty string group is not allowed")
        if constrained and MASTERS in wanted.groups:
            why = f"impersonating the {MASTERS} group is not allowed"
            raise refusal(self.caller, replace(asked, name=MASTERS), why)
        parts = [replace(asked, name=group) for group in wanted.groups]
        self._check_all(parts, replace(asked, name="*") if constrained else None)

    def _check_all(self, parts: list[Attributes], everything: Attributes | None) -> None:
        if everything and len(parts) >= _MANY and self._may(everything):
            return
        for part in parts:
            self.check(part)

    def _may(self, attributes: Attributes) -> bool:
        allowed = self.authorizer.decide(self.caller, attributes).allowed
        if allowed:
            self.allowed.append(attributes)
        return allowed


def _modes(caller: Identity, wanted: Identity) -> Iterator[str]:
    """The constrained modes in which this identity may be taken at all."""
    alone = not (wanted.uid or wanted.groups or wanted.extra)
    node = _node(wanted.name)
    if node:
        if alone and _account(caller.name) and caller.extra.get(_NODE_OF_CALLER) == (node,):
            yield "associated-node"
        if alone:
            yield "arbitrary-node"
    elif _account(wanted.name):
        if alone:
            yield "serviceaccount"
    else:
        yield "user-info"


def _node(name: str) -> str:
    node = name.removeprefix("system:node:")
    return node if node != name and not names.dns1123_subdomain(node) else ""


def _account(name: str) -> tuple[str, str] | None:
    parts = name.removeprefix("system:serviceaccount:").split(":")
    return (parts[0], parts[1]) if name.startswith("system:serviceaccount:") and len(parts) == 2 else None


def _user(name: str, verb: str, group: str, mode: str) -> Attributes:
    account = _account(name)
    if account is not None:
        return Attributes(verb, group, "v1", "serviceaccounts", namespace=account[0], name=account[1])
    if mode and _node(name):
        return Attributes(verb, group, "v1", "nodes", name="*" if mode == "associated-node" else _node(name))
    return Attributes(verb, group, "v1", "users", name=name)


def _complete(wanted: Identity, *, constrained: bool) -> Identity:
    """The identity with the groups that it has without saying so."""
    groups, account = list(wanted.groups), _account(wanted.name)
    if account is not None and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    elif constrained and _node(wanted.name):
        groups = ["system:nodes"]
    implied = UNAUTHENTICATED if wanted.name == ANONYMOUS.name else AUTHENTICATED
    if implied not in groups and UNAUTHENTICATED not in groups:
        groups.append(implied)
    return Identity(wanted.name, tuple(groups), wanted.uid, wanted.extra)


def _wanted(request: Request) -> Identity | None:
    """The identity that the headers name; 400 when they name one without its name."""
    headers = request.headers
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    # Values of repeated headers come one a line; a comma is part of a value.
    said = headers.get("impersonate-group")
    groups = tuple(said.split("\n")) if said is not None else ()
    extra = {
        unquote(header.removeprefix("impersonate-extra-")): tuple(value.split("\n"))
        for header, value in headers.items()
        if header.startswith("impersonate-extra-")
    }
    if name:
        return Identity(name, groups, uid, extra)
    if groups or extra or uid:
        raise bad_request(f"requested {_in_go(groups, uid, extra)} without impersonating a user name")
    return None


def _in_go(groups: tuple[str, ...], uid: str, extra: dict[str, tuple[str, ...]]) -> str:
    """A user without a name, as Go prints it."""

    def texts(values: tuple[str, ...]) -> str:
        return "[]string{" + ", ".join(f'"{value}"' for value in values) + "}"

    shown = ", ".join(f'"{key}":{texts(values)}' for key, values in extra.items())
    return (
        f'&user.DefaultInfo{{Name:"", UID:"{uid}", Groups:{texts(groups) if groups else "[]string(nil)"},'
        f" Extra:map[string][]string{'{' + shown + '}' if extra else '(nil)'}}}"
    )
