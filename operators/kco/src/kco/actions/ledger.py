"""The ledger: one ActionRun object for each execution; creating it is the lock.

The name comes from the TargetApp's uid, the rule, the instance and the transition, so two replicas, or one
before and after a crash, ask for the same name and only one of them gets it.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kco.actions.handler import FINISHED, PENDING, RUNNING, UNKNOWN
from kco.spec.targetapp import API_VERSION, GROUP, VERSION
from operator_kit.clock import Clock, from_rfc3339, to_micro_time
from operator_kit.kube.client import KubeClient, Object, Resource
from operator_kit.kube.failure import ApiFailure

ACTION_RUNS = Resource(GROUP, VERSION, "actionruns")
UID_LABEL = f"{GROUP}/target-uid"
RULE_LABEL = f"{GROUP}/rule"


@dataclass(frozen=True)
class RunKey:
    """What makes an execution the one it is."""

    namespace: str
    target: str
    uid: str
    rule: str
    instance: str
    transition: int

    @property
    def name(self) -> str:
        """The ActionRun's name: readable front, digest of the whole identity, transition."""
        identity = "\0".join((self.uid, self.rule, self.instance))
        mark = hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
        front = re.sub(r"[^a-z0-9-]+", "-", f"{self.target[:60]}-{self.rule[:60]}".lower()).strip("-")
        return f"{front}-{mark}-{self.transition}"


def key_of(body: Mapping[str, Any]) -> RunKey:
    """The identity that an ActionRun was created with."""
    spec = body.get("spec") or {}
    reference = spec.get("targetRef") or {}
    return RunKey(
        namespace=body["metadata"].get("namespace", ""),
        target=str(reference.get("name", "")),
        uid=str(reference.get("uid", "")),
        rule=str(spec.get("rule", "")),
        instance=str(spec.get("instance", "")),
        transition=int(spec.get("transition") or 0),
    )


def phase_of(body: Mapping[str, Any]) -> str:
    return str((body.get("status") or {}).get("phase") or PENDING)


class Ledger:
    """Reads and writes ActionRuns."""

    def __init__(
        self,
        client: KubeClient,
        *,
        clock: Clock,
        identity: str,
        keep: int = 10,
        keep_seconds: float = 7 * 86400,
    ) -> None:
        self._client = client
        self._clock = clock
        self._identity = identity
        self._keep = keep
        self._keep_seconds = keep_seconds

    async def claim(
        self, key: RunKey, *, action: str, idempotent: bool, reason: str, pod: str, nonce: str
    ) -> bool:
        """Create the run; False where it exists already (somebody has had this transition).

        `nonce` is the same over retries of one claim: where an answer got lost although the run was
        created, the run that is found carries it, and the claim was ours.
        """
        body: Object = {
            "apiVersion": API_VERSION,
            "kind": "ActionRun",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "labels": {UID_LABEL: key.uid, RULE_LABEL: key.rule[:63]},
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": "TargetApp",
                        "name": key.target,
                        "uid": key.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "spec": {
                "targetRef": {"name": key.target, "uid": key.uid},
                "rule": key.rule,
                "action": action,
                "transition": key.transition,
                "idempotent": idempotent,
                "reason": reason[:1024],
                "requestedAt": to_micro_time(self._clock.now()),
                "requestedBy": f"{self._identity}/{nonce}",
                **({"instance": key.instance} if key.instance else {}),
                **({"pod": pod} if pod else {}),
            },
        }
        try:
            await self._client.create(ACTION_RUNS, key.namespace, body)
        except ApiFailure as failure:
            if not failure.already_exists:
                raise
            found = await self.read(key)
            return found is not None and (found["spec"].get("requestedBy") == f"{self._identity}/{nonce}")
        return True

    async def started(self, key: RunKey, attempt: int, *, version: str | None = None) -> None:
        """Note, before anything is done, that an attempt begins.

        With `version` (taking over somebody's Pending run) a conflict means that another replica was faster.
        """
        status: Object = {"phase": RUNNING, "holder": self._identity, "attempts": attempt}
        if attempt == 1:
            status["startedAt"] = to_micro_time(self._clock.now())
        await self._note(key, status, version)

    async def finished(self, key: RunKey, phase: str, message: str, output: Mapping[str, Any]) -> None:
        status = {
            "phase": phase,
            "message": message[:1024],
            "finishedAt": to_micro_time(self._clock.now()),
            "output": dict(output),
        }
        await self._note(key, status)

    async def read(self, key: RunKey) -> Object | None:
        try:
            return await self._client.get(ACTION_RUNS, key.namespace, key.name)
        except ApiFailure as failure:
            if failure.not_found:
                return None
            raise

    async def all(self, namespace: str | None) -> list[Object]:
        listing = await self._client.list(ACTION_RUNS, namespace)
        return list(listing.get("items") or [])

    async def of_target(self, namespace: str, uid: str) -> list[Object]:
        listing = await self._client.list(ACTION_RUNS, namespace, labelSelector=f"{UID_LABEL}={uid}")
        return list(listing.get("items") or [])

    async def prune(self, runs: Iterable[Object]) -> int:
        """Delete finished runs of one TargetApp beyond the newest `keep`, and those that are too old.

        Each rule's latest run stays: it is what the lock of the next transition is counted from.
        """
        newest: dict[tuple[str, str], int] = {}
        for run in runs:
            key = key_of(run)
            newest[(key.rule, key.instance)] = max(newest.get((key.rule, key.instance), 0), key.transition)
        done = [run for run in runs if phase_of(run) in FINISHED]
        done.sort(key=lambda run: str(run["metadata"].get("creationTimestamp", "")), reverse=True)
        removed = 0
        for position, run in enumerate(done):
            key = key_of(run)
            if key.transition == newest[(key.rule, key.instance)]:
                continue
            age = self._clock.now() - from_rfc3339(run["metadata"]["creationTimestamp"])
            if position >= self._keep or age > self._keep_seconds:
                with contextlib.suppress(ApiFailure):
                    await self._client.delete(ACTION_RUNS, key.namespace, run["metadata"]["name"])
                    removed += 1
        return removed

    async def settle_lost(self, key: RunKey, why: str) -> None:
        """A run that was Running when its operator vanished: nobody can know how it ended."""
        await self.finished(key, UNKNOWN, why, {})

    async def _note(self, key: RunKey, status: Object, version: str | None = None) -> None:
        body: Object = {"status": status}
        if version is not None:
            body["metadata"] = {"resourceVersion": version}
        await self._client.patch(ACTION_RUNS, key.namespace, key.name, body, subresource="status")
