"""Who acts: a `coordination.k8s.io` Lease that one process holds, and Leases that show who is alive.

`Leadership` holds or waits for one named Lease, with client-go's rules: a holder that has not renewed for
`leaseDurationSeconds` *as observed by this process's own clock* may be replaced, and a leader that cannot
renew within `renew_deadline` steps down by itself, before anybody else may take over.
`Membership` renews this replica's own Lease and lists the live ones, for sharing work.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable

from operator_kit.clock import Clock, to_micro_time
from operator_kit.kube.client import LEASES, KubeClient, Object
from operator_kit.kube.failure import ApiFailure


class Leadership:
    """Compete for one Lease; `held` says whether this process may act now."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        changed: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._clock = clock
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._changed = changed
        self._observed: tuple[str, str] = ("", "")
        self._observed_at = 0.0
        self._renewed_at = 0.0
        self.held = False
        self.holder = ""

    async def run(self) -> None:
        """Acquire and renew until cancelled; cancelling releases nothing (call `release`)."""
        while True:
            await self.attempt()
            await self._clock.sleep(self._retry_period)

    async def attempt(self) -> None:
        """One try to acquire or renew; steps down when the renew deadline has passed."""
        started = self._clock.monotonic()
        try:
            # Not `wait_for`: Python 3.11's drops a cancellation that arrives together with the answer.
            async with asyncio.timeout(self._renew_deadline):
                acquired = await self._try()
        except (ApiFailure, TimeoutError):
            acquired = self.held and self._clock.monotonic() - self._renewed_at < self._renew_deadline
        else:
            if acquired:
                self._renewed_at = started
        self._set(acquired)

    async def release(self) -> None:
        """Give the Lease up at once, so that a waiting replica need not sit out its duration."""
        if not self.held:
            return
        self._set(False)
        with contextlib.suppress(ApiFailure):
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.replace(LEASES, self._namespace, self._name, lease)

    async def _try(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except ApiFailure as failure:
            if not failure.not_found:
                raise
            return await self._create()
        spec = lease.get("spec") or {}
        self.holder = str(spec.get("holderIdentity") or "")
        seen = (self.holder, str(spec.get("renewTime") or ""))
        if seen != self._observed:
            self._observed, self._observed_at = seen, self._clock.monotonic()
        lasts = float(spec.get("leaseDurationSeconds") or self._duration)
        expired = self._clock.monotonic() - self._observed_at >= lasts
        if self.holder and self.holder != self.identity and not expired:
            return False
        moved = self.holder != self.identity
        lease["spec"] = self._spec(
            acquired=None if not moved else self._clock.now(),
            transitions=int(spec.get("leaseTransitions") or 0) + (1 if moved else 0),
            before=spec,
        )
        try:
            await self._client.replace(LEASES, self._namespace, self._name, lease)
        except ApiFailure as failure:
            if failure.conflict or failure.not_found:
                return False
            raise
        self.holder = self.identity
        return True

    async def _create(self) -> bool:
        body: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec(acquired=self._clock.now(), transitions=0, before={}),
        }
        try:
            await self._client.create(LEASES, self._namespace, body)
        except ApiFailure as failure:
            if failure.already_exists:
                return False
            raise
        self.holder = self.identity
        return True

    def _spec(self, *, acquired: float | None, transitions: int, before: Object) -> Object:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": before.get("acquireTime") if acquired is None else to_micro_time(acquired),
            "renewTime": to_micro_time(self._clock.now()),
            "leaseTransitions": transitions,
        }

    def _set(self, held: bool) -> None:
        if held != self.held:
            self.held = held
            self._changed(held)


class Membership:
    """This replica's own Lease, and the identities of all replicas whose Leases are fresh."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        group: str,
        identity: str,
        clock: Clock,
        duration: float = 15.0,
        period: float = 4.0,
        changed: Callable[[tuple[str, ...]], None] = lambda live: None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._group = group
        self.identity = identity
        self._clock = clock
        self._duration = duration
        self._period = period
        self._changed = changed
        self._seen: dict[str, tuple[str, float]] = {}
        self.live: tuple[str, ...] = ()

    @property
    def _label(self) -> str:
        return "operator.kco.local/replicas"

    async def run(self) -> None:
        while True:
            with contextlib.suppress(ApiFailure):
                await self.beat()
            await self._clock.sleep(self._period)

    async def beat(self) -> None:
        """Renew the own Lease and look who else is alive."""
        name = f"{self._group}-{self.identity}"
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._duration),
            "renewTime": to_micro_time(self._clock.now()),
        }
        try:
            await self._client.patch(LEASES, self._namespace, name, {"spec": spec})
        except ApiFailure as failure:
            if not failure.not_found:
                raise
            metadata = {"name": name, "namespace": self._namespace, "labels": {self._label: self._group}}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec,
            }
            await self._client.create(LEASES, self._namespace, body)
        leases = await self._client.list(
            LEASES, self._namespace, labelSelector=f"{self._label}={self._group}"
        )
        self._observe(leases.get("items") or [])

    async def leave(self) -> None:
        with contextlib.suppress(ApiFailure):
            await self._client.delete(LEASES, self._namespace, f"{self._group}-{self.identity}")

    def _observe(self, leases: list[Object]) -> None:
        moment = self._clock.monotonic()
        live = set()
        for lease in leases:
            spec = lease.get("spec") or {}
            holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
            known = self._seen.get(holder)
            if known is None or known[0] != renewed:
                self._seen[holder] = known = (renewed, moment)
            # Freshness is judged by when *we* saw it change: replicas' clocks need not agree.
            if holder and moment - known[1] < self._duration:
                live.add(holder)
        now_live = tuple(sorted(live))
        if now_live != self.live:
            self.live = now_live
            self._changed(now_live)


def owner_of(key: str, live: tuple[str, ...]) -> str | None:
    """Which live replica a key belongs to: rendezvous hashing, so a departure moves only its own keys."""

    def weight(replica: str) -> bytes:
        return hashlib.blake2b(f"{replica}\0{key}".encode(), digest_size=8).digest()

    return max(live, key=weight, default=None)
