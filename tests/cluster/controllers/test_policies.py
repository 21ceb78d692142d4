"""Disruption budgets, certificate requests, role aggregation, and controllers that are told how to behave."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import condition_of, name_of
from slipway.cluster.client.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
)
from slipway.cluster.controllers.disruption import status_of
from slipway.cluster.controllers.registrations import Settings
from slipway.cluster.controllers.runner import ControllerRunner

Play = Callable[..., None]


def deployment(replicas: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }


def test_a_budget_counts_what_may_leave(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment(4))
        selector = {"matchLabels": {"app": "web"}}
        await world.create(
            POD_DISRUPTION_BUDGETS,
            {"metadata": {"name": "b"}, "spec": {"selector": selector, "minAvailable": "60%"}},
        )
        await asyncio.sleep(10)
        status = (await world.get(POD_DISRUPTION_BUDGETS, "b"))["status"]
        assert (status["expectedPods"], status["currentHealthy"], status["desiredHealthy"]) == (4, 4, 3)
        assert status["disruptionsAllowed"] == 1
        allowed = condition_of({"status": status}, "DisruptionAllowed") or {}
        assert (allowed["status"], allowed["reason"]) == ("True", "SufficientPods")
        assert await world.quiet(600) == []
        world.kubelet.ready = lambda pod: False
        victim = (await world.list(PODS))[0]
        await world.api.delete(PODS, name_of(victim), "default")
        await asyncio.sleep(10)
        status = (await world.get(POD_DISRUPTION_BUDGETS, "b"))["status"]
        assert (status["currentHealthy"], status["disruptionsAllowed"]) == (3, 0)

    play(story)


def ready_pod(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.mark.parametrize(
    ("spec", "scale", "allowed"),
    [
        ({"minAvailable": 2}, None, 1),
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": 1}, 4, 0),
        ({"maxUnavailable": "50%"}, 3, 2),
        ({"minAvailable": "100%"}, 3, 0),
    ],
)
def test_budgets_are_reckoned_from_what_controllers_want(spec: Any, scale: int | None, allowed: int) -> None:
    pods = [ready_pod(name) for name in "abc"]
    status, _ = status_of({"metadata": {}, "spec": spec}, pods, scale, 0.0, "now")
    assert status["disruptionsAllowed"] == allowed


def test_an_evicted_pod_does_not_count_until_it_is_clear_that_it_stays() -> None:
    budget = {
        "metadata": {},
        "spec": {"minAvailable": 2},
        "status": {"disruptedPods": {"a": "1970-01-01T00:00:00Z"}},
    }
    pods = [ready_pod(name) for name in "abc"]
    status, again = status_of(budget, pods, None, 20.0, "now")
    assert (status["currentHealthy"], status["disruptionsAllowed"], again) == (2, 0, 100.0)
    status, again = status_of(budget, pods, None, 130.0, "now")
    assert (status["currentHealthy"], status["disruptionsAllowed"], again) == (3, 1, None)


def test_an_approved_request_gets_its_certificate_and_goes_after_an_hour(play: Play) -> None:
    def sign(request: bytes, usages: list[str], seconds: int | None) -> bytes:
        if not request.startswith(b"good"):
            raise ValueError("not a certificate request")
        return b"certificate for " + ",".join(usages).encode()

    async def story(world: Any) -> None:
        for name in ("good", "bad", "open"):
            spec = {
                "request": base64.b64encode(name.encode()).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            }
            made = await world.api.create(
                CERTIFICATE_SIGNING_REQUESTS, {"metadata": {"name": name}, "spec": spec}
            )
            if name != "open":
                approved = {"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}
                made["status"] = {"conditions": [approved]}
                await world.api.update(CERTIFICATE_SIGNING_REQUESTS, made, subresource="approval")
        await asyncio.sleep(5)
        good = await world.get(CERTIFICATE_SIGNING_REQUESTS, "good")
        assert base64.b64decode(good["status"]["certificate"]) == b"certificate for client auth"
        bad = condition_of(await world.get(CERTIFICATE_SIGNING_REQUESTS, "bad"), "Failed") or {}
        assert (bad["reason"], bad["message"]) == ("SignerValidationFailure", "not a certificate request")
        assert (
            not (await world.get(CERTIFICATE_SIGNING_REQUESTS, "open")).get("status", {}).get("certificate")
        )
        await world.gone(CERTIFICATE_SIGNING_REQUESTS, "good", seconds=4000)
        assert name_of(await world.get(CERTIFICATE_SIGNING_REQUESTS, "open"))

    play(story, Settings(ca_bundle="CA", sign_certificate=sign))


def test_an_aggregated_role_follows_the_roles_it_selects(play: Play) -> None:
    def role(name: str, verb: str, **labels: str) -> dict[str, Any]:
        rule = {"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}
        return {"metadata": {"name": name, "labels": labels}, "rules": [rule]}

    async def story(world: Any) -> None:
        await world.api.create(
            CLUSTER_ROLES,
            {
                "metadata": {"name": "all"},
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]},
                "rules": [],
            },
        )
        await world.api.create(CLUSTER_ROLES, role("one", "get", to="all"))
        await world.api.create(CLUSTER_ROLES, role("two", "list", to="all"))
        await world.api.create(CLUSTER_ROLES, role("three", "delete", to="none"))
        await asyncio.sleep(5)
        rules = (await world.get(CLUSTER_ROLES, "all"))["rules"]
        assert [rule["verbs"] for rule in rules] == [["get"], ["list"]]
        await world.api.delete(CLUSTER_ROLES, "one")
        await asyncio.sleep(5)
        rules = (await world.get(CLUSTER_ROLES, "all"))["rules"]
        assert [rule["verbs"] for rule in rules] == [["list"]]
        assert await world.quiet(600) == []

    play(story)


def test_admin_holds_what_edit_holds_and_edit_what_view_holds(play: Play) -> None:
    async def story(world: Any) -> None:
        await asyncio.sleep(5)
        rules = {name: (await world.get(CLUSTER_ROLES, name))["rules"] for name in ("view", "edit", "admin")}
        assert rules["view"]
        assert len(rules["view"]) < len(rules["edit"]) < len(rules["admin"])
        for less, more in (("view", "edit"), ("edit", "admin")):
            assert all(rule in rules[more] for rule in rules[less])
        assert not any("secrets" in rule["resources"] for rule in rules["view"])

    play(story)


def test_a_controller_can_be_off_paused_slow_or_replaced(play: Play) -> None:
    async def story(world: Any) -> None:
        runner: ControllerRunner = world.controllers
        runner.pause("deployment-controller")
        await world.create(DEPLOYMENTS, deployment(1))
        await asyncio.sleep(30)
        assert await world.list(REPLICA_SETS) == []
        runner.resume("deployment-controller")
        await asyncio.sleep(5)
        assert len(await world.list(REPLICA_SETS)) == 1

        await runner.switch_off("replicaset-controller")
        await world.merge(DEPLOYMENTS, "web", {"spec": {"replicas": 3}})
        await asyncio.sleep(30)
        assert len(await world.list(PODS)) == 1
        await runner.switch_on("replicaset-controller")
        await asyncio.sleep(30)
        assert len(await world.list(PODS)) == 3

        runner.pace("deployment-controller", 60.0)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}}
        await world.api.patch(DEPLOYMENTS, "web", "default", change, PatchType.STRATEGIC)
        await asyncio.sleep(30)
        assert len(await world.list(REPLICA_SETS)) == 1
        await asyncio.sleep(60)
        assert len(await world.list(REPLICA_SETS)) == 2

        async def mine(context: Any) -> None:
            note = {"metadata": {"name": "mine", "namespace": "default"}}
            await world.api.create(CONFIG_MAPS, note)
            await asyncio.Event().wait()

        await runner.replace("deployment-controller", mine)
        await asyncio.sleep(5)
        assert name_of(await world.get(CONFIG_MAPS, "mine"))
        await world.merge(DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
        await asyncio.sleep(120)
        assert len(await world.list(PODS)) < 5
        runner.pace("deployment-controller", 0.0)
        await runner.restore("deployment-controller")
        await asyncio.sleep(120)
        assert len(await world.list(PODS)) == 5
        with pytest.raises(ValueError, match="no controller 'nonsense'"):
            runner.pause("nonsense")

    play(story)


def test_writes_are_made_by_each_controller_in_its_own_name(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment(1))
        await asyncio.sleep(10)
        writers = {user for user, _, path in world.writes if "/deployments/" in path}
        assert writers == {"system:serviceaccount:kube-system:deployment-controller"}
        creators = {
            user for user, method, path in world.writes if method == "POST" and path.endswith("/pods")
        }
        assert creators == {"system:serviceaccount:kube-system:replicaset-controller"}

    play(story)
