"""Claiming dependents: adopt what matches and nobody controls, release what no longer matches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Object,
    controller_uid,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Patch
from slipway.cluster.status import StatusError


@dataclass(slots=True)
class Claim:
    """Which of the candidates are ours, which should become ours, and which no longer should be."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def sort_out(
    owner: Object,
    selector: Mapping[str, Any] | None,
    candidates: Iterable[Object],
    acceptable: Callable[[Object], bool] = lambda _: True,
) -> Claim:
    """`candidates`: what the owner controls, and what nobody in its namespace controls."""
    claim = Claim()
    leaving = is_deleting(owner)
    for candidate in candidates:
        matching = selectors.matches(selector, labels_of(candidate)) and acceptable(candidate)
        uid = controller_uid(candidate)
        if uid == uid_of(owner):
            if matching:
                claim.owned.append(candidate)
            elif not leaving:
                claim.release.append(candidate)
        elif not uid and matching and not leaving and not is_deleting(candidate):
            claim.adopt.append(candidate)
    return claim


def adoption(resource: ApiResource, owner: Object, candidate: Object) -> Patch:
    body = {"metadata": {"ownerReferences": [owner_reference(owner)], "uid": uid_of(candidate)}}
    return Patch(resource, namespace_of(candidate), name_of(candidate), body)


def release(resource: ApiResource, owner: Object, candidate: Object) -> Patch:
    body = {
        "metadata": {
            "ownerReferences": [{"$patch": "delete", "uid": uid_of(owner)}],
            "uid": uid_of(candidate),
        }
    }
    return Patch(resource, namespace_of(candidate), name_of(candidate), body)


async def claim(
    effects: Effects,
    owners: ApiResource,
    owner: Object,
    resource: ApiResource,
    selector: Mapping[str, Any] | None,
    candidates: Iterable[Object],
    acceptable: Callable[[Object], bool] = lambda _: True,
) -> list[Object]:
    """Sort out, and carry it out; what is the owner's now."""
    found = sort_out(owner, selector, candidates, acceptable)
    for candidate in found.release:
        try:
            await effects.do(release(resource, owner, candidate))
        except StatusError as error:
            if error.code not in (404, 422):  # gone, or another object of that name by now
                raise
    if not found.adopt:
        return found.owned
    # Never adopt for an owner that a stale cache only believes to be there.
    live = await effects.client.get(owners, name_of(owner), namespace_of(owner))
    if uid_of(live) != uid_of(owner) or is_deleting(live):
        return found.owned
    adopted = []
    for candidate in found.adopt:
        try:
            adopted.append(await effects.do(adoption(resource, owner, candidate)) or candidate)
        except StatusError as error:
            if error.code not in (404, 422):
                raise
    return [*found.owned, *adopted]
