"""What pods and the kinds that make pods are warned of: when they are created, and when their spec changes."""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.warnings.pod_spec import fractions, pod_spec_warnings
from slipway.cluster.schema import names

Object = dict[str, Any]
_LONG_NAME = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is"
    " recommended: [{}]"
)
_HOSTNAME = (
    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is"
    " recommended: [{}]"
)
_ZONE = (
    "cannot use TZ or CRON_TZ in spec.schedule, use timeZone instead, see"
    " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones for more details"
)
_HISTORY = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"


def of_pod(obj: Object, old: Object | None) -> list[str]:
    if old is not None:  # people hardly ever change pods
        return []
    wrong = names.dns1123_label((obj.get("metadata") or {}).get("name", ""))
    return [_HOSTNAME.format(" ".join(wrong))] * bool(wrong) + pod_spec_warnings(obj)


def of_pod_template(obj: Object, old: Object | None) -> list[str]:
    changed = old is None or obj.get("template") != old.get("template")
    return pod_spec_warnings(obj.get("template") or {}, "template.") if changed else []


def of_template(obj: Object, old: Object | None) -> list[str]:
    spec = obj.get("spec") or {}
    if old is not None and spec == old.get("spec"):
        return []
    return pod_spec_warnings(spec.get("template") or {}, "spec.template.")


def of_named_template(obj: Object, old: Object | None) -> list[str]:
    return _of_name(obj, old) + of_template(obj, old)


def of_stateful_set(obj: Object, old: Object | None) -> list[str]:
    found = of_template(obj, old)
    spec = obj.get("spec") or {}
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        resources = (claim.get("spec") or {}).get("resources") or {}
        for kind in ("requests", "limits"):
            path = f"spec.volumeClaimTemplates[{index}].resources.{kind}"
            found += fractions(resources.get(kind), path, ("storage",))
    return found + ([_HISTORY] if (spec.get("revisionHistoryLimit") or 0) < 0 else [])


def of_cron_job(obj: Object, old: Object | None) -> list[str]:
    spec, found = obj.get("spec") or {}, _of_name(obj, old)
    if old is None or spec != old.get("spec"):
        template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
        found += pod_spec_warnings(template, "spec.jobTemplate.spec.template.")
    return found + ([_ZONE] if old is not None and "TZ" in spec.get("schedule", "") else [])


def _of_name(obj: Object, old: Object | None) -> list[str]:
    wrong = names.dns1123_label((obj.get("metadata") or {}).get("name", "")) if old is None else []
    return [_LONG_NAME.format(" ".join(wrong))] if wrong else []
