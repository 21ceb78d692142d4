"""KWOK's `Stage` files read as behaviours of simulated pods: selectors, delays, weights and what a pod turns into.

Where a pod stands in its life is known to the runtime by itself, so conditions on a pod's status are passed over, as
are stages of other kinds than Pod, and stages that only touch finalizers. A stage says one step of a container's life:
that it is created, runs, ends, cannot be pulled, or (for the whole pod) that it is deleted. Of several stages that fit
a pod and say the same step one is drawn by weight, as KWOK does. What cannot be expressed is refused with the stage's
name, rather than being applied to the wrong pods. Whether a container that has ended starts again is for the pod's
`restartPolicy` to say.

Source of the fields and of how delays and weights are meant: kwok.sigs.k8s.io, API `Stage`, v1alpha1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from slipway.cluster.nodes.runtime import ContainerRequest, SandboxRequest
from slipway.cluster.nodes.simulated import Behaviour, BehaviourError, Book, Rule, read_book
from slipway.cluster.nodes.stage_templates import (
    ContainerState,
    StatusTemplate,
    TemplateError,
    read_status_template,
)
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.times import parse_duration

Object = dict[str, Any]
Values = Callable[[SandboxRequest], list[str]]
_LABEL = re.compile(r"""\.metadata\.(labels|annotations)(?:\.(\w+)|\[["'](.+)["']\])""")
# Where a pod stands in its life.
_PROGRESS = re.compile(r"\.(status|metadata\.(deletionTimestamp|finalizers|creationTimestamp))(\W|$)")
_PULLS = ("ErrImagePull", "ImagePullBackOff")
_FIELDS: dict[str, Values] = {
    ".metadata.name": lambda pod: [pod.pod],
    ".metadata.namespace": lambda pod: [pod.namespace],
    ".metadata.uid": lambda pod: [pod.uid],
    ".metadata.ownerReferences.[].kind": lambda pod: [pod.owner] if pod.owner else [],
    ".metadata.ownerReferences[].kind": lambda pod: [pod.owner] if pod.owner else [],
    ".spec.nodeName": lambda pod: [pod.node],
}
_OPERATORS: dict[str, Callable[[list[str], list[str]], bool]] = {
    "In": lambda have, values: any(value in values for value in have),
    "NotIn": lambda have, values: all(value not in values for value in have),
    "Exists": lambda have, _: bool(have),
    "DoesNotExist": lambda have, _: not have,
}


@dataclass(frozen=True, slots=True)
class _Expression:
    have: Values
    operator: str
    values: list[str]

    def fits(self, pod: SandboxRequest) -> bool:
        return _OPERATORS[self.operator](self.have(pod), self.values)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number that the pod may say instead, as a rule by an annotation."""

    value: float | None
    said: Values
    parse: Callable[[str], float]

    def of(self, pod: SandboxRequest) -> float | None:
        try:
            return self.parse("".join(self.said(pod)))
        except (ValueError, EvaluationError):
            return self.value


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    expressions: tuple[_Expression, ...]
    delay: _Number
    jitter: _Number
    weight: _Number
    delete: bool
    template: StatusTemplate

    def fits(self, pod: SandboxRequest) -> bool:
        return (
            all(pod.labels.get(key) == value for key, value in self.labels.items())
            and all(pod.annotations.get(key) == value for key, value in self.annotations.items())
            and all(expression.fits(pod) for expression in self.expressions)
        )

    def step(self, pod: SandboxRequest, container: ContainerRequest) -> str:
        """What of a container's life it is about: create, start, end, pull, stop; empty where it is of others."""
        if self.delete:
            return "stop"
        told = self.told(container)
        if told is None:
            ends = container.kind == "app" and self.template.phase in ("Succeeded", "Failed")
            starts = container.kind == "app" and self.template.phase == "Running"
            return "end" if ends else "start" if starts else ""
        only = told.only.of(pod.annotations)
        if only and only != container.name:
            return ""
        if told.state == "waiting":
            return "pull" if told.reason.of(pod.annotations) in _PULLS else "create"
        return "start" if told.state == "running" else "end"

    def told(self, container: ContainerRequest) -> ContainerState | None:
        return self.template.containers.get(container.kind)

    def seconds(self, pod: SandboxRequest, random: Random) -> float:
        """The delay; with jitter, which is its upper bound, anything between. A jitter below the delay is the delay."""
        delay, jitter = self.delay.of(pod) or 0.0, self.jitter.of(pod)
        if jitter is None:
            return delay
        return jitter if jitter <= delay else random.uniform(delay, jitter)


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a file, as what decides how a container fares."""

    stages: tuple[_Stage, ...]

    def behaviour(self, pod: SandboxRequest, container: ContainerRequest, random: Random) -> Behaviour:
        fitting: dict[str, list[_Stage]] = {}
        for stage in self.stages:
            if stage.fits(pod):
                fitting.setdefault(stage.step(pod, container), []).append(stage)
        drawn = {step: _drawn(stages, pod, random) for step, stages in sorted(fitting.items())}
        seconds = {step: stage.seconds(pod, random) for step, stage in drawn.items()}
        start, stop = seconds.get("create", 0.0) + seconds.get("start", 0.0), seconds.get("stop", 0.0)
        if "pull" in drawn:
            stage = drawn["pull"]
            told = stage.told(container)
            reason = told.reason.of(pod.annotations) if told is not None else ""
            return Behaviour(pull=f"{reason} by stage {stage.name}")
        if "end" not in drawn:
            return Behaviour(start=start, stop=stop, run=0.0 if container.kind == "init" else None)
        code, reason, message = _end(drawn["end"], pod, container)
        return Behaviour(
            start=start, stop=stop, run=seconds["end"], code=code, reason=reason, message=message
        )


def _drawn(stages: list[_Stage], pod: SandboxRequest, random: Random) -> _Stage:
    """One of the stages by weight; where none has any, each as likely."""
    weights = [max(stage.weight.of(pod) or 0.0, 0.0) for stage in stages]
    return random.choices(stages, weights if sum(weights) else None)[0]


def _end(stage: _Stage, pod: SandboxRequest, container: ContainerRequest) -> tuple[int, str, str]:
    """Exit code, reason and message; a reason that every end has is the runtime's to say."""
    failed = 1 if stage.template.phase == "Failed" else 0
    told = stage.told(container)
    if told is None:
        return failed, "", ""
    written = told.code.of(pod.annotations)
    reason = told.reason.of(pod.annotations)
    return (
        int(written) if re.fullmatch(r"\d+", written) else failed,
        "" if reason in ("Error", "Completed") else reason,
        told.message.of(pod.annotations),
    )


def read_behaviours(path: Path) -> Book:
    """A file of either form: of behaviours, or of Stages. BehaviourError says what is wrong with it."""
    text = path.read_text()
    return book_of_stages(text, str(path)) if is_stages(text) else read_book(text, str(path))


def book_of_stages(text: str, where: str) -> Book:
    """The behaviours that a file of Stages describes. BehaviourError names the stage and the field that cannot be."""
    import yaml  # a cluster starts without it

    try:
        documents = [document for document in yaml.safe_load_all(text) if document]
    except yaml.YAMLError as error:
        raise BehaviourError(f"{where}: {error}") from None
    stages = Stages(tuple(_pod_stages(documents, where)))
    return Book((Rule({}, stages.behaviour),), {})


def is_stages(text: str) -> bool:
    """Whether a behaviour file is one of Stages."""
    return re.search(r'^[\s-]*"?kind"?:\s*"?Stage(List)?"?,?\s*$', text, re.MULTILINE) is not None


def _pod_stages(documents: list[Any], where: str) -> Iterable[_Stage]:
    for document in documents:
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind in ("List", "StageList"):
            yield from _pod_stages(document.get("items") or [], where)
        elif kind != "Stage":
            raise BehaviourError(f"{where}: expected documents of kind Stage, not {kind or document!r}")
        elif ((document.get("spec") or {}).get("resourceRef") or {}).get("kind") == "Pod":
            yield _stage(document, where)


def _stage(document: Object, where: str) -> _Stage:
    name = (document.get("metadata") or {}).get("name", "")
    place = f"{where}: stage {name}"
    spec = document["spec"]
    selector, delay = spec.get("selector") or {}, spec.get("delay") or {}
    following = spec.get("next") or {}
    # What is newer is written as steps, which were one `next`.
    steps = [*(spec.get("steps") or []), following]
    patches = [patch for step in steps for patch in (step.get("patches") or [step.get("patch") or {}])]
    texts = [following.get("statusTemplate") or "", *(patch.get("template") or "" for patch in patches)]
    try:
        template = read_status_template("\n".join(text for text in texts if text))
    except TemplateError as error:
        raise BehaviourError(f"{place}: {error}") from None
    return _Stage(
        name,
        dict(selector.get("matchLabels") or {}),
        dict(selector.get("matchAnnotations") or {}),
        tuple(_expressions(selector, place)),
        _delay(delay, "duration", f"{place}.delay"),
        _delay(delay, "jitterDuration", f"{place}.delay"),
        _number(spec, "weight", "weightFrom", float, place),
        any(step.get("delete") not in (None, False) for step in steps),
        template,
    )


def _delay(delay: Object, field: str, place: str) -> _Number:
    number = _number(delay, f"{field}Milliseconds", f"{field}From", _seconds, place)
    return number if number.value is None else replace(number, value=number.value / 1000)


def _seconds(said: str) -> float:
    return parse_duration(said).nanos / 1e9


def _number(words: Object, field: str, source: str, parse: Callable[[str], float], place: str) -> _Number:
    value = words.get(field)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BehaviourError(f"{place}.{field}: {value!r} is not a number")
    expression = words.get(source) or {}
    asked = expression.get("expressionFrom") or (expression.get("jq") or {}).get("expression") or ""
    said = _values(asked)
    # What depends on a pod's progress, such as the moment of its deletion, the runtime keeps by itself.
    if said is None and expression and not _PROGRESS.match(asked):
        raise BehaviourError(
            f"{place}.{source}: {asked or expression} cannot be expressed; name an annotation"
        )
    return _Number(value, said or _nothing, parse)


def _nothing(_: SandboxRequest) -> list[str]:
    return []


def _expressions(selector: Object, place: str) -> Iterable[_Expression]:
    for number, row in enumerate(selector.get("matchExpressions") or ()):
        where = f"{place}.selector.matchExpressions[{number}]"
        if row.get("cel"):
            raise BehaviourError(f"{where}.cel: CEL cannot be expressed here; use jq")
        row = row.get("jq") or row
        key, operator, values = str(row.get("key", "")), row.get("operator"), row.get("values") or []
        if _PROGRESS.match(key):
            continue
        have = _values(key)
        if have is None or operator not in _OPERATORS:
            raise BehaviourError(
                f"{where}: {key} {operator} {values} cannot be expressed here; use labels, annotations,"
                f" {', '.join(name for name in _FIELDS if '[].' not in name)} or the owner's kind,"
                f" with {', '.join(_OPERATORS)}"
            )
        yield _Expression(have, operator, [str(value) for value in values])


def _values(key: str) -> Values | None:
    named = _LABEL.fullmatch(key)
    return _FIELDS.get(key) if named is None else partial(_mapped, named[1], named[2] or named[3])


def _mapped(mapping: str, name: str, pod: SandboxRequest) -> list[str]:
    found = (pod.labels if mapping == "labels" else pod.annotations).get(name)
    return [] if found is None else [found]
