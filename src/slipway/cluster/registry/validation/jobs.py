"""Jobs and CronJobs.

Facts: `pkg/apis/batch/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.pods import template_errors
from slipway.cluster.registry.validation.selectors import is_valid, label_selector_errors, matches
from slipway.cluster.schema import names

Object = dict[str, Any]
_NOT_NEGATIVE = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_RESTARTS = ("OnFailure", "Never")


def job_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    job_spec_errors(found, spec, "spec")
    if old is None:
        _pod_name(found, obj, spec)
    selector = spec.get("selector")
    if selector is None:
        found.required("spec.selector")
    else:
        label_selector_errors(found, "spec.selector", selector)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if (selector is None or is_valid(selector)) and not matches(selector, labels or {}):
        found.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None:
        failing = spec.get("podFailurePolicy") is not None
        allowed = ("Failed",) if failing else ("Failed", "TerminatingOrFailed")
        found.one_of("spec.podReplacementPolicy", replacement, allowed)
    if old is not None:
        _update(found, spec, old)


def _pod_name(found: Findings, obj: Object, spec: Object) -> None:
    """The names of an indexed job's pods are made of its own."""
    if spec.get("completionMode") != "Indexed" or not spec.get("completions"):
        return
    name = (obj.get("metadata") or {}).get("name", "")
    pod = f"{name}-{spec['completions'] - 1}"
    if names.dns1123_label(pod):
        found.invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {pod}")


def job_spec_errors(found: Findings, spec: Object, path: str) -> None:
    for name in _NOT_NEGATIVE:
        found.not_negative(f"{path}.{name}", spec.get(name))
    mode = spec.get("completionMode")
    if mode is not None:
        if mode not in ("NonIndexed", "Indexed"):
            found.unsupported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
        elif mode == "Indexed":
            if spec.get("completions") is None:
                found.required(f"{path}.completions", "when completion mode is Indexed")
            if (spec.get("parallelism") or 0) > 100000:
                found.invalid(
                    f"{path}.parallelism",
                    spec["parallelism"],
                    "must be less than or equal to 100000 when completion mode is Indexed",
                )
    template = spec.get("template") or {}
    if spec.get("podFailurePolicy") is not None:
        _failure_policy(
            found, spec["podFailurePolicy"], template.get("spec") or {}, f"{path}.podFailurePolicy"
        )
    template_errors(found, template, f"{path}.template")
    restart = (template.get("spec") or {}).get("restartPolicy", "")
    place = f"{path}.template.spec.restartPolicy"
    if restart in ("", "Always"):
        found.required(place, 'valid values: "OnFailure", "Never"')
    elif restart not in _RESTARTS:
        found.unsupported(place, restart, _RESTARTS)
    elif spec.get("podFailurePolicy") is not None and restart != "Never":
        found.invalid(place, restart, 'only "Never" is supported when podFailurePolicy is specified')


def _failure_policy(found: Findings, policy: Object, pod: Object, path: str) -> None:
    rules = policy.get("rules") or []
    if len(rules) > 20:
        found.too_many(f"{path}.rules", len(rules), 20)
    containers = {c.get("name") for group in ("containers", "initContainers") for c in pod.get(group) or ()}
    for place, rule in each(policy, path, "rules"):
        actions = ("Count", "FailIndex", "FailJob", "Ignore")
        if not rule.get("action"):
            found.required(f"{place}.action", 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]')
        else:
            found.one_of(f"{place}.action", rule["action"], actions)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None:
            _exit_codes(found, codes, containers, f"{place}.onExitCodes")
        for where, condition in each(rule, place, "onPodConditions"):
            for text in names.label_key(condition.get("type", "")):
                found.invalid(f"{where}.type", condition.get("type", ""), text)
            found.one_of(f"{where}.status", condition.get("status"), ("False", "True", "Unknown"))
        if codes is not None and conditions:
            found.invalid(place, "", "specifying both OnExitCodes and OnPodConditions is not supported")
        if codes is None and not conditions:
            found.invalid(place, "", "", "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(found: Findings, codes: Object, containers: set[Any], path: str) -> None:
    operator, values = codes.get("operator", ""), codes.get("values")
    if not operator:
        found.required(f"{path}.operator", 'valid values: ["In" "NotIn"]')
    else:
        found.one_of(f"{path}.operator", operator, ("In", "NotIn"))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        found.invalid(
            f"{path}.containerName",
            name,
            "must be one of the container or initContainer names in the pod template",
        )
    if not values:
        found.invalid(f"{path}.values", values, "at least one value is required")
        return
    if len(values) > 255:
        found.too_many(f"{path}.values", len(values), 255)
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            found.invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
        elif value in values[:index]:
            found.duplicate(f"{path}.values[{index}]", value)
    if any(a > b for a, b in itertools.pairwise(values)):
        found.invalid(f"{path}.values", values, "must be ordered")


def _update(found: Findings, spec: Object, old_job: Object) -> None:
    old = old_job.get("spec") or {}
    status = old_job.get("status") or {}
    mutable_template = old.get("suspend") and not status.get("startTime")
    indexed = spec.get("completionMode") == "Indexed"
    if spec.get("completions") != old.get("completions") and not (
        indexed and spec.get("completions") is not None and spec.get("completions") == spec.get("parallelism")
    ):
        if indexed and spec.get("completions") is not None:
            detail = "can only be modified in tandem with spec.parallelism"
            found.invalid("spec.completions", spec["completions"], detail)
        elif not indexed:
            found.same("spec.completions", spec.get("completions"), old.get("completions"))
    for name in (
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        found.same(f"spec.{name}", spec.get(name), old.get(name))
    if not mutable_template:
        found.same("spec.template", spec.get("template"), old.get("template"))


# Cron jobs


def cron_job_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    name = (obj.get("metadata") or {}).get("name", "")
    if old is None and len(name) > 52:
        found.invalid("metadata.name", name, "must be no more than 52 characters")
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    schedule = spec.get("schedule", "")
    if found.needs("spec.schedule", schedule):
        _schedule(found, schedule, spec, (old or {}).get("spec") or {})
    if spec.get("timeZone") is not None:
        _time_zone(found, spec["timeZone"])
    for number in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found.not_negative(f"spec.{number}", spec.get(number))
    found.chosen("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    if template.get("manualSelector"):
        found.unsupported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    if template.get("selector") is not None:
        found.invalid(
            "spec.jobTemplate.spec.selector", template["selector"], "`selector` will be auto-generated"
        )
    job_spec_errors(found, template, "spec.jobTemplate.spec")


_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_WORDS: tuple[dict[str, int], ...] = (
    {},
    {},
    {},
    {
        m: i + 1
        for i, m in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        )
    },
    {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
)


def _schedule(found: Findings, schedule: str, spec: Object, old: Object) -> None:
    if "TZ" in schedule and "TZ" not in old.get("schedule", ""):
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.invalid("spec.schedule", schedule, why)
        return
    if "TZ" in schedule and spec.get("timeZone") is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        found.invalid("spec.schedule", schedule, why)
        return
    text = re.sub(r"^(CRON_)?TZ=\S+\s+", "", schedule)
    if text.startswith("@"):
        if text not in _MACROS and not text.startswith("@every "):
            found.invalid("spec.schedule", schedule, f"unrecognized descriptor: {text}")
        return
    fields = text.split()
    if len(fields) != 5:
        found.invalid(
            "spec.schedule",
            schedule,
            f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]",
        )
        return
    for field, limits, words in zip(fields, _RANGES, _WORDS, strict=True):
        for part in field.split(","):
            wrong = _schedule_part(part, limits, words)
            if wrong:
                found.invalid("spec.schedule", schedule, wrong)
                return


def _schedule_part(part: str, limits: tuple[int, int], words: dict[str, int]) -> str:
    """What is wrong with one item of a cron field, in the words of the library that upstream uses."""
    span, slash, step = part.partition("/")
    if slash and "/" in step:
        return f"too many slashes: {part}"
    low, dash, high = span.partition("-")
    if dash and "-" in high:
        return f"too many hyphens: {part}"
    numbers = []
    if low not in ("*", "?"):
        for text in (low, high) if dash else (low,):
            number = words.get(text.lower())
            if number is None:
                if not re.fullmatch("[0-9]+", text):
                    return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
                number = int(text)
            numbers.append(number)
        if numbers[0] < limits[0]:
            return f"beginning of range ({numbers[0]}) below minimum ({limits[0]}): {part}"
        end = numbers[-1]
        if end > limits[1]:
            return f"end of range ({end}) above maximum ({limits[1]}): {part}"
        if numbers[0] > end:
            return f"beginning of range ({numbers[0]}) beyond end of range ({end}): {part}"
    if slash:
        if not re.fullmatch("[0-9]+", step):
            return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
        if int(step) == 0:
            return f"step of range should be a positive number: {part}"
    return ""


def _time_zone(found: Findings, zone: str) -> None:
    if not zone:
        found.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        found.invalid(
            "spec.timeZone",
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        )
    elif zone != "UTC":
        import zoneinfo  # hardly any has one

        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            found.invalid("spec.timeZone", zone, f"unknown time zone {zone}")
