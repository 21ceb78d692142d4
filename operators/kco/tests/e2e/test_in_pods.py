"""End to end: KCO as a pod from its Helm chart, application pods, every action's real effect, kubectl describe.

conftest.py says on which cluster, with which image.
"""

import json
from pathlib import Path
from typing import Any

import pytest


def rule(name: str, field: str, condition: str, value: Any, action: str, **parameters: Any) -> dict[str, Any]:
    trigger = {"field": f"application.{field}", "condition": condition, "value": value}
    if condition == "exists":
        del trigger["value"]
    return {
        "name": name,
        "trigger": trigger,
        "action": action,
        "parameters": parameters,
        "retry": {"attempts": 1},
    }


@pytest.mark.timeout(180)
def test_51_every_action_has_its_effect_under_the_charts_own_roles(site: Any) -> None:
    cluster = site.cluster
    site.install_application(replicas=2)
    site.install_operator()
    hook = site.install_receiver()
    cluster.kubectl("create", "configmap", "flags", "--from-literal=mode=normal")
    actions = [
        rule("restart", "health", "equals", "unhealthy", "restart_pod", gracePeriod=1),
        rule("scale", "pendingTasks", "greater_than", 10, "scale_deployment", deploymentName="shop", replicas=3),
        rule(
            "flag", "status", "equals", "draining", "patch_resource",
            resourceType="configmap", resourceName="flags", patchData={"data": {"mode": "drain"}},
        ),
        rule("tell", "load", "greater_than", 0.9, "webhook", url=hook, payload={"load": "{{ application.load }}"}),
        rule(
            "ask", "lastError", "exists", None, "exec_command",
            command=[site.python, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"],
        ),
    ]  # fmt: skip
    cluster.apply(
        {
            "apiVersion": "operator.kco.local/v1alpha1",
            "kind": "TargetApp",
            "metadata": {"name": "shop", "namespace": cluster.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "port": site.port,
                "podPolicy": "Each",
                "pollingInterval": 1,
                "stateQuery": "{ application { status health pendingTasks load lastError } }",
                "actions": actions,
            },
        }
    )
    state = "{.status.state}"
    site.until(lambda: cluster.kubectl("get", "targetapp", "shop", "-o", f"jsonpath={state}") == "Monitoring")
    first, second = site.ready_pods()

    # The sick pod is replaced, and only that one.
    site.turn(first, health="unhealthy")
    assert site.until(lambda: site.run("restart"))["phase"] == "Succeeded"
    names = {
        pod["metadata"]["name"]
        for pod in site.until(lambda: len(site.ready_pods()) == 2 and site.ready_pods())
    }
    assert first["metadata"]["name"] not in names
    assert second["metadata"]["name"] in names

    site.turn(second, pendingTasks=11)
    assert site.until(lambda: site.run("scale"))["output"] == {"from": 2, "to": 3}
    site.until(lambda: len(site.ready_pods()) == 3)

    site.turn(second, status="draining")
    assert site.until(lambda: site.run("flag"))["phase"] == "Succeeded"
    assert cluster.get("configmap", "flags")["data"] == {"mode": "drain"}

    site.turn(second, load=0.95)
    run = site.until(lambda: site.run("tell"))
    assert run["phase"] == "Succeeded", run
    received = site.received()
    assert [entry["body"]["load"] for entry in received] == [0.95, 0.95]
    assert len({entry["key"] for entry in received}) == 1

    site.turn(second, lastError="boom")
    ended = site.until(lambda: site.run("ask"))
    assert ended["phase"] == "Failed"
    (outcome,) = ended["output"]["pods"]
    assert (outcome["pod"], outcome["exitCode"]) == (second["metadata"]["name"], 7)
    assert (outcome["stdout"], outcome["stderr"]) == ("out\n", "err\n")

    described = site.until(lambda: _described(site, "ActionFailed"))
    for words in ("StateChanged", "ActionSucceeded", "healthy → unhealthy", "exit code 7"):
        assert words in described
    columns = cluster.kubectl("get", "tapp").splitlines()
    assert columns[0].split() == ["NAME", "STATE", "LAST", "POLL", "ENDPOINT", "ACTIONS", "AGE"]
    assert "Monitoring" in columns[1]
    site.helm("uninstall", "kco")
    assert cluster.get("targetapps", "shop") is not None, "the CRDs and their objects survive an uninstall"


SURVEY = Path(__file__).resolve().parents[4] / "scripts" / "image" / "survey.py"


@pytest.mark.timeout(180)
def test_53_it_heals_an_application_as_nobody_on_a_root_that_it_cannot_write(site: Any) -> None:
    if not site.image:
        pytest.skip("pods have no root of their own here: that needs root, and namespaces, on Linux")
    cluster = site.cluster
    site.install_application(replicas=1)
    site.install_operator()
    cluster.apply(
        {
            "apiVersion": "operator.kco.local/v1alpha1",
            "kind": "TargetApp",
            "metadata": {"name": "shop", "namespace": cluster.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "port": site.port,
                "pollingInterval": 1,
                "stateQuery": "{ application { health } }",
                "actions": [rule("heal", "health", "equals", "unhealthy", "restart_pod", gracePeriod=1)],
            },
        }
    )
    (sick,) = site.ready_pods()
    site.turn(sick, health="unhealthy")
    assert site.until(lambda: site.run("heal"))["phase"] == "Succeeded"
    (healed,) = site.until(
        lambda: [pod for pod in site.ready_pods() if pod["metadata"]["name"] != sick["metadata"]["name"]]
    )
    assert site.state(healed)["health"] == "healthy"

    words = ("exec", "deploy/kco", "--", "python3", "-c", SURVEY.read_text())
    inside = json.loads(cluster.kubectl(*words))
    assert inside == {"user": 1000, "capabilities": 0, "writable": ["/tmp"], "strangers": []}


def _described(site: Any, words: str) -> str | None:
    text = str(site.cluster.kubectl("describe", "targetapp", "shop"))
    return text if words in text else None
