"""From endpoint forms and pods to what is polled."""

from typing import Any

import pytest

from kco.net.url import InvalidUrl
from kco.spec.reading import read
from kco.spec.targetapp import Selector
from kco.targets.instance import resolve
from kco.targets.pods import Pod
from kco.targets.selector import matches, spell


def pod(name: str, ip: str = "10.0.0.1", *, ready: bool = True, terminating: bool = False) -> Pod:
    return Pod(name, f"uid-{name}", ip, ready, terminating, True, (("app", "x"),), ("main",))


def address(endpoint: str, pods: list[Pod] | None = None, **more: Any) -> str:
    spec = read(
        {
            "stateQuery": "{ a }",
            "graphqlEndpoint": endpoint,
            "selector": {"matchLabels": {"app": "x"}},
            **more,
        }
    )
    return str(resolve(spec, "ns", [pod("a")] if pods is None else pods).instances[0].address)


@pytest.mark.parametrize(
    ("endpoint", "more", "expected"),
    [
        ("/graphql", {}, "http://10.0.0.1:8080/graphql"),
        ("/q?x=1", {"port": 3085, "scheme": "https"}, "https://10.0.0.1:3085/q?x=1"),
        ("http://example.org/graphql", {}, "http://example.org/graphql"),
        ("https://example.org:8443/graphql", {}, "https://example.org:8443/graphql"),
        (
            "tagpp-pod.svc.namespace.cluster.local/graphql",
            {},
            "http://tagpp-pod.svc.namespace.cluster.local/graphql",
        ),
        ("app.ns.svc:4000/graphql", {"scheme": "https"}, "https://app.ns.svc:4000/graphql"),
        ("localhost", {}, "http://localhost/"),
        ("/graphql", {"service": {"name": "web", "port": 4000}}, "http://web.ns.svc:4000/graphql"),
    ],
)
def test_15_every_form_of_endpoint(endpoint: str, more: dict[str, Any], expected: str) -> None:
    assert address(endpoint, **more) == expected


@pytest.mark.parametrize("endpoint", ["ftp://a/b", "a b", "?", "http://", "-x/graphql"])
def test_15_other_texts_are_refused(endpoint: str) -> None:
    with pytest.raises(InvalidUrl):
        address(endpoint)


def test_16_only_ready_pods_that_stay_are_polled() -> None:
    spec = read({"stateQuery": "{ a }", "selector": {"matchLabels": {"app": "x"}}})
    pods = [pod("a", ready=False), pod("b", terminating=True), pod("c", ""), pod("d", "10.0.0.4")]
    found = resolve(spec, "ns", pods)
    assert [instance.pod for instance in found.instances] == ["d"]
    assert (found.selected, found.usable) == (4, 1)
    nothing = resolve(spec, "ns", pods[:3])
    assert not nothing.instances
    assert "none of 3" in nothing.message


def test_16_a_polled_pod_is_kept_while_it_is_usable_and_replaced_when_not() -> None:
    spec = read({"stateQuery": "{ a }", "selector": {"matchLabels": {"app": "x"}}})
    current = resolve(spec, "ns", [pod("b", "10.0.0.2")]).instances
    kept = resolve(spec, "ns", [pod("a"), pod("b", "10.0.0.2")], current)
    assert kept.instances[0].pod == "b"
    moved = resolve(spec, "ns", [pod("a"), pod("b", "10.0.0.2", ready=False)], current)
    assert moved.instances[0].pod == "a"


def test_16_each_ready_pod_may_be_followed_on_its_own() -> None:
    spec = read({"stateQuery": "{ a }", "selector": {"matchLabels": {"app": "x"}}, "podPolicy": "Each"})
    found = resolve(spec, "ns", [pod("a"), pod("b", "10.0.0.2")])
    assert [instance.pod for instance in found.instances] == ["a", "b"]
    assert len({instance.name for instance in found.instances}) == 2


def test_17_match_expressions_are_honoured() -> None:
    selector = Selector.model_validate(
        {
            "matchLabels": {"app": "x"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "NotIn", "values": ["z"]},
                {"key": "app", "operator": "Exists"},
            ],
        }
    )
    assert matches(selector, {"app": "x", "tier": "a"})
    assert not matches(selector, {"app": "x", "tier": "c"})
    assert not matches(selector, {"app": "x", "tier": "a", "old": ""})
    assert not matches(selector, {"app": "x", "tier": "a", "zone": "z"})
    assert not matches(Selector(), {"app": "x"})
    assert spell(selector) == "app=x,tier in (a,b),!old,zone notin (z),app"
