"""Admission webhooks, served by kopf itself and registered by it: validation, mutation, filters, failures.

WEBHOOK says how its server is set up; the certificates lie in CERTIFICATES.
"""

import os
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import kopf
from journal import note

FOLDER = pathlib.Path(os.environ["CERTIFICATES"])


def server() -> kopf.WebhookServer:
    return kopf.WebhookServer(
        addr="127.0.0.1",
        host="localhost",
        path="/hooks",
        cafile=FOLDER / "ca.pem",
        certfile=FOLDER / "server.pem",
        pkeyfile=FOLDER / "server.key",
        cadump=FOLDER / "dump.pem",
    )


async def tunnel(fn: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
    """A server of one's own, as kopf's documentation describes it."""
    note("tunnel")
    async for config in server()(fn):
        yield config


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.admission.managed = os.environ["MANAGED"]
    settings.admission.server = tunnel if os.environ["WEBHOOK"] == "tunnel" else server()


@kopf.on.validate("samples")
def judge(spec: kopf.Spec, warnings: list[str], operation: str, dryrun: bool, **kwargs: Any) -> None:
    headers, user = kwargs["headers"], kwargs["userinfo"]
    note("judge", operation=operation, dryrun=dryrun, user=user["username"], host=headers.get("Host"))
    if "size" in spec and not isinstance(spec["size"], int):
        raise kopf.AdmissionError("size must be a whole number", code=418)
    if spec.get("size", 0) > 100:
        warnings.append("that is rather large")


@kopf.on.validate("samples", operation="DELETE", labels={"kept": "yes"})
def keep(name: str, old: Any, **_: Any) -> None:
    note("keep", old=old is not None)
    raise kopf.PermanentError("this one is kept")


@kopf.on.validate("samples", operations=["CREATE", "UPDATE"], labels={"broken": kopf.PRESENT})
def broken(**_: Any) -> None:
    raise ValueError("a bug")


@kopf.on.validate("samples", labels={"forgiven": "yes"}, ignore_failures=True)
def forgiven(**_: Any) -> None:
    note("forgiven")
    raise kopf.AdmissionError("refused, whatever the failure policy says")


@kopf.on.validate("strictsamples", subresource="scale", operation="UPDATE")
def scaling(body: kopf.Body, subresource: str | None, **_: Any) -> None:
    note("scaling", subresource=subresource, kind=body["kind"], replicas=body["spec"].get("replicas"))
    if body["spec"].get("replicas", 0) > 5:
        raise kopf.AdmissionError("five are enough", code=400)


@kopf.on.mutate("samples", operation="CREATE", side_effects=True)
def complete(spec: kopf.Spec, patch: kopf.Patch, dryrun: bool, **_: Any) -> None:
    note("complete", dryrun=dryrun)
    if "numbers" not in spec:
        patch.spec["numbers"] = [1, 2, 3]
    patch.metadata.labels["completed"] = "yes"
    patch.spec["secret"] = None


@kopf.on.mutate("samples", when=lambda spec, **_: spec.get("double"), persistent=True)
def double(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    patch.spec["size"] = spec["size"] * 2
    patch.spec["double"] = False


@kopf.on.create("samples")
def created(spec: kopf.Spec, **_: Any) -> None:
    note("created", spec=spec)
