"""Indices over several kinds, memos of objects and of the operator, probes that read an index."""

from typing import Any

import kopf
from journal import note


@kopf.on.startup()
def prepare(memo: kopf.Memo, **_: Any) -> None:
    memo.started = "once"


@kopf.index("configmaps", labels={"index": "yes"})
def by_owner(body: kopf.Body, name: str, **_: Any) -> Any:
    return {body["data"]["owner"]: name}


@kopf.index("configmaps", labels={"index": "yes"})
async def names(name: str, **_: Any) -> str:
    return name


@kopf.index("configmaps", labels={"index": "yes"})
def only_big(body: kopf.Body, name: str, **_: Any) -> Any:
    if int(body["data"].get("size", "0")) > 10:
        return {(body["data"]["owner"], "big"): name}
    return None


@kopf.index("configmaps", labels={"index": "yes"}, errors=kopf.ErrorsMode.PERMANENT)
def sizes(body: kopf.Body, **_: Any) -> Any:
    return {"size": int(body["data"]["size"])}


@kopf.on.event("configmaps", labels={"index": "yes"})
def look(by_owner: kopf.Index, names: kopf.Index, only_big: kopf.Index, sizes: kopf.Index, **_: Any) -> None:
    note(
        "index",
        by_owner={key: sorted(store) for key, store in by_owner.items()},
        names=sorted(names.get(None, [])),
        big=[list(key) for key in only_big],
        sizes=sorted(sizes.get("size", [])),
    )


@kopf.on.create("samples")
def remember(memo: kopf.Memo, spec: kopf.Spec, by_owner: kopf.Index, **_: Any) -> dict[str, Any]:
    memo.first = spec.get("size")
    return {"owned": sorted(by_owner.get(spec.get("owner"), []))}


@kopf.on.update("samples", field="spec.size")
def recall(memo: kopf.Memo, **_: Any) -> None:
    if "first" in memo:
        note("memo", first=memo["first"], started=memo.started)


@kopf.on.probe(id="indexed")
def count(by_owner: kopf.Index, **_: Any) -> int:
    return sum(len(store) for store in by_owner.values())


@kopf.on.probe(id="started")
async def started(memo: kopf.Memo, **_: Any) -> str:
    return str(memo.started)
