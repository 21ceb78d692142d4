"""Kubernetes Events: by name, by level, from an exception, about other objects, and from log messages."""

from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.loggers = True
    settings.posting.level = 20
    settings.posting.reporting_component = "conformance"
    settings.posting.event_name_prefix = "conformance-"


@kopf.on.create("samples")
def created(body: kopf.Body, logger: kopf.Logger, **_: Any) -> None:
    kopf.event(body, type="Normal", reason="Named", message="of a type and reason")
    kopf.info(body, reason="Informed", message="by info")
    kopf.warn(body, reason="Warned", message="by warn")
    try:
        raise ValueError("the cause")
    except ValueError:
        kopf.exception(body, reason="Caught", message="by exception")
    other = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "other", "namespace": body.meta.namespace},
    }
    kopf.info(other, reason="Elsewhere", message="about another object")
    logger.warning("a warning that was logged")
    logger.debug("a detail that is below the level")


@kopf.on.create("zones")
def zone_created(body: kopf.Body, **_: Any) -> None:
    kopf.info(body, reason="Informed", message="about a cluster-scoped object")
