"""KWOK's Stage files as behaviours of simulated pods."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import yaml

from slipway.cluster.nodes.images import Image
from slipway.cluster.nodes.runtime import ContainerRequest, SandboxRequest
from slipway.cluster.nodes.simulated import Behaviour, BehaviourError, choose
from slipway.cluster.nodes.stages import book_of_stages, is_stages

_READY = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  delay: {durationMilliseconds: 1500}
  next:
    statusTemplate: |
      {{ $now := Now }}
      containerStatuses:
      {{ range .spec.containers }}
      - name: {{ .name }}
        state: {running: {startedAt: {{ $now }}}}
      {{ end }}
      phase: Running
"""
_COMPLETE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-complete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .status.phase, operator: In, values: [Running]}
    - {key: '.metadata.ownerReferences.[].kind', operator: In, values: [Job]}
  delay: {durationMilliseconds: 3000}
  next:
    statusTemplate: |
      phase: Succeeded
"""
_FAIL = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-oom}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {chaos: oom}
    matchExpressions: [{key: .metadata.deletionTimestamp, operator: DoesNotExist}]
  delay: {durationMilliseconds: 2000}
  next:
    statusTemplate: |
      containerStatuses:
      - state:
          terminated:
            exitCode: 137
            reason: OOMKilled
      phase: Failed
"""
_DELETE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector: {matchExpressions: [{key: .metadata.deletionTimestamp, operator: Exists}]}
  delay: {durationMilliseconds: 500}
  next: {delete: true}
"""


_CHAOS = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: init-failed}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.labels["example.com/chaos"]', operator: In, values: ["true", "yes"]}
    - {key: .status.phase, operator: In, values: [Pending]}
  delay:
    durationMilliseconds: 1000
    durationFrom: {expressionFrom: '.metadata.annotations["example.com/delay"]'}
    jitterDurationMilliseconds: 4000
  weight: 10000
  next:
    statusTemplate: |
      {{ $annotations := or .metadata.annotations dict }}
      {{ $default := 7 }}
      {{ $only := or ( index $annotations "example.com/container" ) "" }}
      {{ $code := or ( index $annotations "example.com/code" ) $default }}
      conditions:
      - {type: Initialized, status: "False", reason: ContainersNotInitialized}
      initContainerStatuses:
      {{ range $index, $item := .spec.initContainers }}
      {{ if or ( not $only ) ( eq $item.name $only ) }}
      - name: {{ $item.name | Quote }}
        state:
          terminated:
            exitCode: {{ $code }}
            reason: {{ or ( index $annotations "example.com/reason" ) "Broken" }}
      {{ else }}
      - state: {running: {}}
      {{ end }}
      {{ end }}
      containerStatuses:
      {{ range .spec.containers }}
      - state:
          waiting:
            reason: PodInitializing
      {{ end }}
      phase: Failed
"""


def _pod(owner: str = "", **said: dict[str, str]) -> SandboxRequest:
    return SandboxRequest("default", "web", "1", "node-1", "web", (), Path(), owner=owner, **said)  # type: ignore[arg-type]


def _fares(text: str, pod: SandboxRequest, name: str = "main", kind: str = "app", seed: int = 1) -> Behaviour:
    container = ContainerRequest(name, 0, Image("app:1", "1"), (), {}, "/", Path(), kind=kind)
    return choose(book_of_stages(text, "stages.yaml"), pod, container, Random(seed))


def test_each_stage_is_a_step_of_the_pods_that_it_selects() -> None:
    text = "---".join([_READY, _COMPLETE, _FAIL, _DELETE])
    assert is_stages(text)
    plain = _fares(text, _pod())
    assert (plain.start, plain.run, plain.stop) == (1.5, None, 0.5)
    job = _fares(text, _pod("Job"))
    assert (job.start, job.run, job.code) == (1.5, 3.0, 0)
    oom = _fares(text, _pod(labels={"chaos": "oom"}))
    assert (oom.start, oom.run, oom.code, oom.reason) == (1.5, 2.0, 137, "OOMKilled")


def test_what_a_stage_says_of_init_containers_is_not_said_of_the_others() -> None:
    pod = _pod(labels={"example.com/chaos": "yes"})
    init = _fares(_CHAOS, pod, kind="init")
    assert (init.code, init.reason) == (7, "Broken")
    assert _fares(_CHAOS, pod).run is None
    assert _fares(_CHAOS, _pod(labels={"example.com/chaos": "no"}), kind="init").code == 0


def test_annotations_say_delays_codes_reasons_and_the_container() -> None:
    said = {
        "example.com/delay": "1m30s",
        "example.com/code": "3",
        "example.com/reason": "Tired",
        "example.com/container": "first",
    }
    pod = _pod(labels={"example.com/chaos": "true"}, annotations=said)
    first = _fares(_CHAOS, pod, "first", "init")
    # A jitter below the delay takes its place.
    assert (first.run, first.code, first.reason) == (4.0, 3, "Tired")
    assert _fares(_CHAOS, pod, "second", "init").code == 0
    unreadable = _pod(labels={"example.com/chaos": "true"}, annotations={"example.com/delay": "soon"})
    assert 1.0 <= (_fares(_CHAOS, unreadable, kind="init").run or 0) <= 4.0


def test_a_jitter_is_the_bound_of_a_delay_that_chance_draws() -> None:
    pod = _pod(labels={"example.com/chaos": "true"})
    drawn = [_fares(_CHAOS, pod, kind="init", seed=seed).run or 0.0 for seed in range(20)]
    assert all(1.0 <= seconds <= 4.0 for seconds in drawn)
    assert len(set(drawn)) == 20
    assert drawn[3] == _fares(_CHAOS, pod, kind="init", seed=3).run, "the same seed draws the same"


def test_of_stages_that_say_the_same_step_one_is_drawn_by_weight() -> None:
    rare = _FAIL.replace("name: pod-oom", "name: rare").replace("137", "9")
    often = _FAIL.replace("  next:", "  weight: 3\n  next:")
    pod = _pod(labels={"chaos": "oom"})
    for_both = [_fares("---".join([rare, often]), pod, seed=seed).code for seed in range(40)]
    assert set(for_both) == {137}, "one without a weight is not drawn beside one with"
    even = [_fares("---".join([rare, _FAIL]), pod, seed=seed).code for seed in range(40)]
    assert set(even) == {9, 137}


def test_steps_and_lists_are_read_like_the_older_form() -> None:
    template = {"containerStatuses": [{"state": {"terminated": {"exitCode": 4, "reason": "Bad"}}}]}
    stage = {
        "kind": "Stage",
        "metadata": {"name": "newer"},
        "spec": {
            "resourceRef": {"kind": "Pod"},
            "selector": {"matchExpressions": [{"jq": {"key": ".metadata.name", "operator": "In", "values": ["web"]}}]},
            "steps": [{"patch": {"subresource": "status", "root": "status", "template": yaml.safe_dump(template)}}],
        },
    }  # fmt: skip
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [stage]})
    assert is_stages(text)
    assert (_fares(text, _pod()).code, _fares(text, _pod()).reason) == (4, "Bad")


def test_an_image_that_a_stage_does_not_pull_is_refused_with_the_stages_name() -> None:
    text = _FAIL.replace("terminated", "waiting").replace("OOMKilled", "ImagePullBackOff")
    assert _fares(text, _pod(labels={"chaos": "oom"})).pull == "ImagePullBackOff by stage pod-oom"


def test_stages_of_nodes_are_passed_over() -> None:
    text = "kind: Stage\nmetadata: {name: node}\nspec: {resourceRef: {kind: Node}, next: {}}\n"
    assert _fares(text, _pod()) == Behaviour()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("key: .status.phase, operator: In, values: [Running]", "key: .other, operator: Exists"),
            r"\.other Exists",
        ),
        (("durationMilliseconds: 3000", "durationMilliseconds: soon"), "'soon' is not a number"),
        (("kind: Stage", "kind: Pod"), "of kind Stage"),
        (("key: .status.phase,", "key: .spec.priority,"), r"\.spec\.priority In"),
        (("key: .status.phase, operator: In, values: [Running]", "cel: {expression: 'true'}"), "use jq"),
        (("delay: {", "weightFrom: {expressionFrom: .spec.x}\n  delay: {"), r"weightFrom: \.spec\.x cannot"),
        (
            ("phase: Succeeded", "containerStatuses:\n      - terminated:\n          exitCode: {{ Now }}"),
            "pod-complete: exitCode: {{ Now }} is neither",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(BehaviourError, match=message):
        book_of_stages(_COMPLETE.replace(*change), "stages.yaml")
