"""KWOK's `Stage` files read as behaviours of simulated pods: selectors, delays and what a pod turns into.

A Stage's `statusTemplate` is a Go template; only what it plainly says is taken from it: the phase, a container's exit
code and reason, a waiting reason. Stages of other kinds than Pod, and stages that only touch finalizers, say nothing
that matters here and are passed over. Selectors may use labels, annotations and the owner's kind; a stage that asks for
anything else that this cannot express is refused, rather than being applied to the wrong pods.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slipway.cluster.nodes.simulated import Behaviour, BehaviourError, Book, Rule, read_book

Object = dict[str, Any]
_LABEL = re.compile(r"\.metadata\.(labels|annotations)\[[\"'](.+)[\"']\]")
_OWNER = re.compile(r"\.metadata\.ownerReferences(?:\.\[\]|\[\])\.kind")
# Where a pod stands in its life, which here the runtime knows by itself.
_PROGRESS = re.compile(r"\.(status|metadata\.(deletionTimestamp|finalizers|creationTimestamp)|spec)(\W|$)")
_PHASE = re.compile(r"^\s*phase:\s*['\"]?(\w+)", re.MULTILINE)
_EXIT = re.compile(r"exitCode:\s*(\d+)")
_REASON = re.compile(r"^\s*(?:-\s*)?reason:\s*['\"]?([A-Za-z]\w*)", re.MULTILINE)
_PULLS = ("ErrImagePull", "ImagePullBackOff")


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    match: Object
    delay: float
    delete: bool
    phase: str
    exit_code: int | None
    reason: str


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
    stages = []
    for document in documents:
        if not isinstance(document, dict) or document.get("kind") != "Stage":
            raise BehaviourError(f"{where}: expected documents of kind Stage")
        if ((document.get("spec") or {}).get("resourceRef") or {}).get("kind") == "Pod":
            stages.append(_stage(document, where))
    return Book(tuple(_rules(stages)), {})


def is_stages(text: str) -> bool:
    """Whether a behaviour file is one of Stages."""
    return re.search(r"^kind:\s*Stage\s*$", text, re.MULTILINE) is not None


def _stage(document: Object, where: str) -> _Stage:
    name = (document.get("metadata") or {}).get("name", "")
    place = f"{where}: stage {name}"
    spec = document["spec"]
    following = spec.get("next") or {}
    template = following.get("statusTemplate") or ""
    phase, code, reason = _PHASE.search(template), _EXIT.search(template), _reason(template)
    milliseconds = (spec.get("delay") or {}).get("durationMilliseconds") or 0
    if not isinstance(milliseconds, int):
        raise BehaviourError(f"{place}.delay.durationMilliseconds: {milliseconds!r} is not a number")
    return _Stage(
        name,
        _match(spec.get("selector") or {}, place),
        milliseconds / 1000,
        bool(following.get("delete")),
        phase[1] if phase else "",
        int(code[1]) if code else None,
        reason,
    )


def _reason(template: str) -> str:
    """The reason of a state, not of a condition: the first that is none of a condition's."""
    for found in _REASON.findall(template):
        if found not in ("ContainersNotReady", "ContainersNotInitialized", "PodCompleted"):
            return str(found)
    return ""


def _match(selector: Object, place: str) -> Object:
    match: Object = {}
    if selector.get("matchLabels"):
        match["labels"] = dict(selector["matchLabels"])
    if selector.get("matchAnnotations"):
        match["annotations"] = dict(selector["matchAnnotations"])
    for number, row in enumerate(selector.get("matchExpressions") or ()):
        key, operator, values = row.get("key", ""), row.get("operator"), row.get("values") or []
        named = _LABEL.fullmatch(key)
        if named and operator == "In" and len(values) == 1:
            match.setdefault(named[1], {})[named[2]] = values[0]
        elif _OWNER.fullmatch(key) and operator == "In" and len(values) == 1:
            match["owner"] = values[0]
        elif not _PROGRESS.match(key):
            raise BehaviourError(
                f"{place}.selector.matchExpressions[{number}]: {key} {operator} {values} cannot be expressed here;"
                " use labels, annotations or the owner's kind, each In one value"
            )
    return match


def _rules(stages: list[_Stage]) -> list[Rule]:
    """One rule for each set of pods that stages are about, the most particular first."""
    selectors: list[Object] = []
    for stage in stages:
        if stage.match not in selectors:
            selectors.append(stage.match)
    selectors.sort(key=lambda match: -len(str(match)) if match else 0)
    if {} not in selectors:
        selectors.append({})
    rules = []
    for match in selectors:
        behaviour = Behaviour()
        for stage in stages:
            if stage.match == {} or stage.match == match:
                behaviour = _with(behaviour, stage)
        rules.append(Rule({**match, "kind": "app"}, behaviour))
    rules.append(Rule({"kind": "init"}, Behaviour(run=0.0)))
    return rules


def _with(behaviour: Behaviour, stage: _Stage) -> Behaviour:
    if stage.delete:
        return replace(behaviour, stop=stage.delay)
    if stage.reason in _PULLS:
        return replace(behaviour, pull=f"{stage.reason} by stage {stage.name}")
    if stage.phase == "Succeeded":
        return replace(behaviour, run=stage.delay, code=0)
    if stage.phase == "Failed" or stage.exit_code:
        code = stage.exit_code if stage.exit_code is not None else 1
        reason = stage.reason if stage.reason not in ("Error", "Completed") else ""
        return replace(behaviour, run=stage.delay, code=code, reason=reason)
    if stage.phase == "Running":
        return replace(behaviour, start=stage.delay)
    return behaviour
