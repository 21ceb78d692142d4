"""Create, update, delete, resume and field handlers, sub-handlers of all three forms, results in status."""

import functools
from typing import Any

import kopf
from journal import note


@kopf.on.create("samples")
def created(spec: kopf.Spec, name: str, namespace: str, reason: str, retry: int, **_: Any) -> dict[str, Any]:
    note("created", name=name, namespace=namespace, reason=reason, retry=retry, spec=spec)
    return {"seen": spec.get("size")}


@kopf.on.create("samples", id="second", param="given")
async def created_too(param: Any, started: Any, runtime: Any, **_: Any) -> str:
    note("created too", param=param, started=str(started), runtime=runtime.total_seconds())
    return "a text"


@kopf.on.update("samples", annotations={"case": "update"})
def updated(old: Any, new: Any, diff: kopf.Diff, reason: str, **_: Any) -> None:
    note("updated", old=old["spec"], new=new["spec"], diff=[list(item) for item in diff], reason=reason)


@kopf.on.field("samples", field="spec.size", annotations={"case": "update"})
def size_changed(old: Any, new: Any, diff: kopf.Diff, **_: Any) -> None:
    note("size", old=old, new=new, diff=[list(item) for item in diff])


@kopf.on.update("samples", field="metadata.labels.shade", param="label")
@kopf.on.update("samples", field="spec.shade", param="spec")
def shade_changed(old: Any, new: Any, param: str, **_: Any) -> None:
    note("shade", old=old, new=new, param=param)


@kopf.on.update("samples", field="status.outside")
def outside_status_changed(new: Any, **_: Any) -> None:
    note("status", new=new)


@kopf.on.delete("samples", annotations={"case": "delete"})
def deleted(body: kopf.Body, reason: str, **_: Any) -> None:
    note("deleted", finalizers=body.metadata.get("finalizers"), reason=reason)


@kopf.on.delete("plainsamples", optional=True)
def deleted_if_seen(**_: Any) -> None:
    note("deleted optionally")


@kopf.on.resume("samples")
def resumed(name: str, reason: str, **_: Any) -> None:
    note("resumed", name=name, reason=reason)


@kopf.on.resume("samples", deleted=True, annotations={"case": "delete"})
def resumed_though_deleted(name: str, **_: Any) -> None:
    note("resumed though deleted", name=name)


@kopf.on.create("samples", annotations={"case": "subhandlers"})
async def parent(spec: kopf.Spec, **_: Any) -> None:
    for item in spec["items"]:

        @kopf.subhandler(id=item)
        def decorated(item: str = item, **_: Any) -> dict[str, str]:
            note("sub-handler", form="decorated", item=item)
            return {"made": item}

    kopf.register(functools.partial(handle_item, form="registered", item="r"), id="registered")


@kopf.on.create("samples", annotations={"case": "subhandlers"})
async def executing(spec: kopf.Spec, **_: Any) -> None:
    fns = {item: functools.partial(handle_item, form="executed", item=item) for item in spec["items"]}
    await kopf.execute(fns=fns)


def handle_item(item: str, form: str, retry: int, **_: Any) -> None:
    if item == "b" and retry == 0:
        raise kopf.TemporaryError("not yet", delay=0.1)
    note("sub-handler", form=form, item=item, retry=retry)


@kopf.on.event("samples", annotations={"case": "events"})
def happened(event: kopf.RawEvent, type: str | None, name: str, **_: Any) -> None:
    note("event", type=type, name=name, same=event["type"] == type, kind=event["object"]["kind"])
