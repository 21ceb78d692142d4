"""KWOK's Stage files as behaviours of simulated pods."""

from __future__ import annotations

import pytest

from slipway.cluster.nodes.simulated import BehaviourError
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


def test_stages_become_behaviours_the_particular_ones_first() -> None:
    text = "---".join([_READY, _COMPLETE, _FAIL, _DELETE])
    assert is_stages(text)
    rules = book_of_stages(text, "stages.yaml").rules
    by_match = {
        str({k: v for k, v in rule.match.items() if k != "kind"}): rule.behaviour for rule in rules[:3]
    }
    plain = by_match["{}"]
    assert (plain.start, plain.run, plain.stop) == (1.5, None, 0.5)
    job = by_match["{'owner': 'Job'}"]
    assert (job.start, job.run, job.code) == (1.5, 3.0, 0)
    oom = by_match["{'labels': {'chaos': 'oom'}}"]
    assert (oom.run, oom.code, oom.reason) == (2.0, 137, "OOMKilled")
    assert rules[2].match == {"kind": "app"}, "the rule for all pods comes after those for some"


def test_stages_of_nodes_are_passed_over() -> None:
    text = "kind: Stage\nmetadata: {name: node}\nspec: {resourceRef: {kind: Node}, next: {}}\n"
    assert len(book_of_stages(text, "x").rules) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("key: .status.phase, operator: In, values: [Running]", "key: .other, operator: Exists"),
            r"\.other Exists",
        ),
        (("durationMilliseconds: 3000", "durationMilliseconds: soon"), "'soon' is not a number"),
        (("kind: Stage", "kind: Pod"), "of kind Stage"),
    ],
)
def test_what_cannot_be_expressed_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(BehaviourError, match=message):
        book_of_stages(_COMPLETE.replace(*change), "stages.yaml")
