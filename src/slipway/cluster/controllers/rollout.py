"""The arithmetic of a Deployment's rollout: how far each ReplicaSet may grow or shrink now. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from slipway.cluster.client.objects import Object, annotations_of, metadata, name_of
from slipway.cluster.controllers.pods import created

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"


def replicas(obj: Object) -> int:
    """spec.replicas, defaulted."""
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def observed(obj: Object, field: str) -> int:
    """A count in the status."""
    return int((obj.get("status") or {}).get(field) or 0)


def total(sets: Iterable[Object]) -> int:
    return sum(replicas(item) for item in sets)


def scaled(value: int | str, of: int, *, round_up: bool) -> int:
    """An int-or-percent of `of`."""
    if isinstance(value, int):
        return value
    share = of * int(str(value).rstrip("%")) / 100
    return math.ceil(share) if round_up else math.floor(share)


def is_rolling(deployment: Object) -> bool:
    return ((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def _fenceposts(deployment: Object) -> tuple[int, int]:
    """maxSurge and maxUnavailable as numbers; both zero would never move, so one may be unavailable."""
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), wanted, round_up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), wanted, round_up=False)
    return (surge, 1) if not surge and not unavailable else (surge, unavailable)


def max_surge(deployment: Object) -> int:
    return _fenceposts(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    if not is_rolling(deployment) or not replicas(deployment):
        return 0
    return min(_fenceposts(deployment)[1], replicas(deployment))


def revision(obj: Mapping[str, Any]) -> int:
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def by_age(sets: Iterable[Object]) -> list[Object]:
    return sorted(sets, key=lambda item: (created(item), name_of(item)))


def plain_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """A pod template without what the controller itself put in, for comparing."""
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    meta.pop("creationTimestamp", None)
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    if labels:
        meta["labels"] = labels
    else:
        meta.pop("labels", None)
    return {"metadata": meta, "spec": template.get("spec") or {}}


def new_set_of(deployment: Object, sets: Iterable[Object]) -> Object | None:
    """The oldest ReplicaSet whose template is the Deployment's."""
    wanted = plain_template(deployment["spec"]["template"])
    return next((rs for rs in by_age(sets) if plain_template(rs["spec"]["template"]) == wanted), None)


def new_set_replicas(deployment: Object, everything: list[Object], new: Object) -> int:
    """How many pods the newest set may have now without exceeding replicas + maxSurge."""
    wanted = replicas(deployment)
    if not is_rolling(deployment):
        return wanted
    room = wanted + max_surge(deployment) - total(everything)
    if room <= 0:
        return replicas(new)
    return replicas(new) + min(room, wanted - replicas(new))


def shrunk_old_sets(
    deployment: Object, everything: list[Object], new: Object, old: list[Object]
) -> dict[str, int]:
    """New sizes, by name, of old sets that can give pods away; unhealthy pods go first."""
    if not total(old):
        return {}
    least = replicas(deployment) - max_unavailable(deployment)
    unavailable_new = replicas(new) - observed(new, "availableReplicas")
    budget = total(everything) - least - unavailable_new
    if budget <= 0:
        return {}
    sizes = {name_of(rs): replicas(rs) for rs in old}
    before = dict(sizes)
    for rs in by_age(old):
        unhealthy = sizes[name_of(rs)] - observed(rs, "availableReplicas")
        give = min(budget, max(unhealthy, 0))
        sizes[name_of(rs)] -= give
        budget -= give
    spare = sum(observed(rs, "availableReplicas") for rs in [*old, new]) - least
    for rs in by_age(old):
        give = min(sizes[name_of(rs)], max(spare, 0))
        sizes[name_of(rs)] -= give
        spare -= give
    return {name: size for name, size in sizes.items() if size != before[name]}


def proportional_sizes(deployment: Object, active: list[Object]) -> dict[str, int]:
    """Sizes when replicas changed in the middle of a rollout: each set keeps its share."""
    allowed = replicas(deployment) + max_surge(deployment) if replicas(deployment) else 0
    to_add = allowed - total(active)
    # Larger sets first; among equals the newer grows first and the older shrinks first.
    newest_first = sorted(active, key=lambda rs: (created(rs), name_of(rs)), reverse=to_add > 0)
    ordered = sorted(newest_first, key=replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = _share(deployment, rs, to_add, added)
        sizes[name_of(rs)] = replicas(rs) + share
        added += share
    if ordered and to_add != added:
        first = name_of(ordered[0])
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _share(deployment: Object, rs: Object, to_add: int, added: int) -> int:
    if not replicas(rs) or not to_add or to_add == added:
        return 0
    if not replicas(deployment):
        fraction = -replicas(rs)
    else:
        text = annotations_of(rs).get(MAX_REPLICAS, "")
        before = int(text) if text.isdigit() and int(text) else observed(deployment, "replicas")
        if not before:
            return 0
        grown = replicas(rs) * (replicas(deployment) + max_surge(deployment)) / before
        fraction = math.floor(grown + 0.5) - replicas(rs)
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the newest set holds everything the Deployment wants, and all of it is available."""
    return (
        new is not None
        and replicas(new) == replicas(deployment)
        and annotations_of(new).get(DESIRED_REPLICAS) == str(replicas(deployment))
        and observed(new, "availableReplicas") == replicas(deployment)
    )


def is_complete(deployment: Object, status: Mapping[str, Any]) -> bool:
    wanted = replicas(deployment)
    return all(
        int(status.get(field) or 0) == wanted
        for field in ("updatedReplicas", "replicas", "availableReplicas")
    ) and status.get("observedGeneration", 0) >= metadata(deployment).get("generation", 0)
