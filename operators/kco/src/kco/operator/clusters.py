"""The clusters that applications run in: this one, and those whose kubeconfig a TargetApp's Secret holds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from kco.net.guard import Guard
from kco.spec.targetapp import TargetAppSpec
from kco.targets.credentials import Credentials, Redactor
from kco.targets.pods import PodIndex
from operator_kit.clock import Clock
from operator_kit.kube.client import KubeClient
from operator_kit.kube.config import parse_kubeconfig


@dataclass
class Cluster:
    """A way to one cluster, and what is known of its pods."""

    key: str
    client: KubeClient
    pods: PodIndex


class Clusters:
    """Opens each cluster once and keeps it."""

    def __init__(
        self,
        home: KubeClient,
        *,
        clock: Clock,
        guard: Guard,
        redactor: Redactor,
        pods_changed: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._pods_changed = pods_changed
        self.credentials = Credentials(home, clock=clock, redactor=redactor)
        self.home = Cluster("", home, self._index("", home))
        self._remote: dict[str, Cluster] = {}

    async def of(self, spec: TargetAppSpec, namespace: str) -> Cluster:
        """The cluster of a TargetApp; KubeConfigError, MissingValue or Refused where it cannot be had."""
        if spec.cluster is None:
            return self.home
        reference = spec.cluster.secret_key_ref
        text = await self.credentials.secret(namespace, reference)
        key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if key not in self._remote:
            source = f"Secret {reference.name}, key {reference.key}"
            # No folder: a kubeconfig of a tenant's may not make the operator read files or run programs.
            config = parse_kubeconfig(text, source=source)
            server = urlsplit(config.server)
            await self._guard.addresses(server.hostname or "", server.port or 443)
            client = KubeClient(config, user_agent="kco")
            self._remote[key] = Cluster(key, client, self._index(key, client))
        return self._remote[key]

    def _index(self, key: str, client: KubeClient) -> PodIndex:
        return PodIndex(
            client, clock=self._clock, changed=lambda namespace: self._pods_changed(key, namespace)
        )

    async def close(self) -> None:
        await self.home.pods.close()
        for cluster in self._remote.values():
            await cluster.pods.close()
            await cluster.client.close()
