"""Where an operator keeps progress and the last handled state: STORAGE chooses."""

import os
from typing import Any

import kopf
from journal import note

PREFIX = "conformance.example.com"
PROGRESS: dict[str, Any] = {
    "annotations": lambda: kopf.AnnotationsProgressStorage(prefix=PREFIX),
    "status": lambda: kopf.StatusProgressStorage(field="status.own.progress"),
    "smart": lambda: kopf.SmartProgressStorage(prefix=PREFIX),
    "multi": lambda: kopf.MultiProgressStorage(
        [
            kopf.AnnotationsProgressStorage(prefix=PREFIX),
            kopf.StatusProgressStorage(field="status.own.progress"),
        ]
    ),
}
DIFFBASE: dict[str, Any] = {
    "annotations": lambda: kopf.AnnotationsDiffBaseStorage(prefix=PREFIX, key="last"),
    "status": lambda: kopf.StatusDiffBaseStorage(field="status.own.last"),
    "smart": lambda: kopf.AnnotationsDiffBaseStorage(prefix=PREFIX, key="last"),
    "multi": lambda: kopf.MultiDiffBaseStorage(
        [
            kopf.StatusDiffBaseStorage(field="status.own.last"),
            kopf.AnnotationsDiffBaseStorage(prefix=PREFIX, key="last"),
        ]
    ),
}


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    chosen = os.environ["STORAGE"]
    settings.persistence.progress_storage = PROGRESS[chosen]()
    settings.persistence.diffbase_storage = DIFFBASE[chosen]()
    settings.persistence.finalizer = f"{PREFIX}/held"


@kopf.on.create("samples", id="handler")
def handler(retry: int, spec: kopf.Spec, **_: Any) -> None:
    note("created", retry=retry)
    if retry < 1:
        raise kopf.TemporaryError("later", delay=1.0)


@kopf.on.update("samples", field="spec.size")
def updated(old: Any, new: Any, **_: Any) -> None:
    note("updated", old=old, new=new)


@kopf.on.delete("samples")
def deleted(**_: Any) -> None:
    note("deleted")
