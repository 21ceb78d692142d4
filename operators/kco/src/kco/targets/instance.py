"""From a TargetApp's endpoint form and its pods to the instances that are polled.

An instance is one place whose state is followed: the endpoint itself (`name` empty), or one pod of several.
Forms of `graphqlEndpoint`: a path (on the chosen pods, or on `service`), an http(s) URL, or
`host[:port]/path` without a scheme.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kco.net.url import Address, InvalidUrl, parse_url
from kco.spec.targetapp import TargetAppSpec
from kco.targets.pods import Pod


@dataclass(frozen=True, slots=True)
class Instance:
    """One thing to poll. `name` is the key under which rules remember it; `pod` the pod behind it, if known."""

    name: str
    address: Address
    pod: str = ""
    pod_uid: str = ""


@dataclass(frozen=True)
class Resolution:
    """What was found, and why not where nothing was."""

    instances: tuple[Instance, ...]
    message: str
    selected: int = 0
    usable: int = 0


_HOST = re.compile(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?(/|$)|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?(/|$)"
)


def needs_pods(spec: TargetAppSpec) -> bool:
    """Whether the endpoint is a path on pods."""
    return spec.graphql_endpoint.startswith("/") and spec.service is None


def fixed_address(spec: TargetAppSpec, namespace: str) -> Address | None:
    """The address of an endpoint that does not depend on pods; InvalidUrl where the text is none."""
    text = spec.graphql_endpoint
    if needs_pods(spec):
        return None
    if spec.service is not None:
        service = spec.service
        if not text.startswith("/"):
            raise InvalidUrl(
                f"graphqlEndpoint {text[:80]!r} must be a path (as /graphql) where service is given"
            )
        url = f"{service.scheme}://{service.name}.{namespace}.svc:{service.port}{text}"
        return parse_url(url, field="graphqlEndpoint")
    if "://" in text:
        return parse_url(text, field="graphqlEndpoint")
    if not _HOST.match(text):
        raise InvalidUrl(
            f"graphqlEndpoint {text[:80]!r} is none of: a path (/graphql), a URL (https://host/graphql), "
            "a host with a path (host:port/graphql)"
        )
    return parse_url(f"{spec.scheme}://{text}", field="graphqlEndpoint")


def resolve(
    spec: TargetAppSpec, namespace: str, pods: Sequence[Pod], current: Sequence[Instance] = ()
) -> Resolution:
    """The instances to poll now. With `podPolicy: One` a pod that is polled already is kept while usable."""
    address = fixed_address(spec, namespace)
    if address is not None:
        usable = [pod for pod in pods if pod.usable]
        return Resolution((Instance("", address),), address.shown, len(pods), len(usable))
    usable = [pod for pod in pods if pod.usable]
    if not usable:
        what = f"none of {len(pods)} selected pods is ready" if pods else "the selector chooses no pod"
        return Resolution((), f"{what}; waiting", len(pods), 0)
    if spec.pod_policy == "Each":
        return Resolution(
            # The uid keeps a StatefulSet's web-0 apart from the web-0 that was there before it.
            tuple(_instance(spec, pod, f"{pod.name}.{pod.uid[:8]}") for pod in usable),
            f"{len(usable)} of {len(pods)} pods",
            len(pods),
            len(usable),
        )
    kept = {instance.pod_uid for instance in current}
    chosen = next((pod for pod in usable if pod.uid in kept), usable[0])
    instance = _instance(spec, chosen, "")
    return Resolution((instance,), f"{instance.address.shown} (pod {chosen.name})", len(pods), len(usable))


def _instance(spec: TargetAppSpec, pod: Pod, name: str) -> Instance:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    address = parse_url(f"{spec.scheme}://{host}:{spec.port}{spec.graphql_endpoint}", field="graphqlEndpoint")
    return Instance(name, address, pod.name, pod.uid)
