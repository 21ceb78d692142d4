"""The command line: lint, test, explain, rbac, run; every example of the repository goes through it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kco.cli.main import main

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

WRONG = """
apiVersion: operator.kco.local/v1alpha1
kind: TargetApp
metadata: {name: wrong}
spec:
  selector: {matchLabels: {app: x}}
  stateQuery: "{ syncStatus }"
  actions:
    - trigger: {field: syncStatus, condition: equals, value: CATCHPU}
      action: restart_pod
      parameters: {gracePerod: 30}
    - trigger: {field: syncstatus, condition: exists}
      action: webhok
"""


def test_62_all_examples_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(EXAMPLES)]) == 0
    assert "8 TargetApps checked, 0 problems" in capsys.readouterr().out


def test_62_every_example_is_run_by_a_test() -> None:
    tests = "\n".join(path.read_text() for path in (EXAMPLES.parent / "tests" / "examples").glob("test_*.py"))
    for path in EXAMPLES.rglob("*.yaml"):
        if "kind: TargetApp" in path.read_text():
            place = path.relative_to(EXAMPLES)
            words = 'examples / "' + '" / "'.join(place.parts) + '"'
            assert words in tests, f"no test runs {place}"


def test_62_the_mina_example_is_right_by_its_schema_and_its_scenario(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = EXAMPLES / "mina"
    assert main(["lint", str(folder / "targetapp.yaml"), "--schema", str(folder / "daemon.graphql")]) == 0
    assert main(["test", "-v", str(folder / "scenario.yaml")]) == 0
    assert "30m  restart-stuck  fired" in capsys.readouterr().out


def test_62_the_prediction_example_acts_before_the_threshold() -> None:
    assert main(["test", str(EXAMPLES / "prediction" / "scenario.yaml")]) == 0


def test_33_lint_names_enum_values_parameters_actions_and_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    schema = str(EXAMPLES / "mina" / "daemon.graphql")
    assert main(["lint", str(path), "--schema", schema]) == 1
    said = capsys.readouterr().out
    for words in (
        "did you mean 'CATCHUP'",
        "did you mean 'syncStatus'",
        "action restart_pod has no such parameter",
        "unknown action 'webhok'; did you mean 'webhook'",
        "1 TargetApp checked, 4 problems",
    ):
        assert words in said


def test_25_lint_finds_a_mutation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(WRONG.replace("{ syncStatus }", "mutation { stop }"))
    assert main(["lint", str(path)]) == 1
    assert "only a query is sent" in capsys.readouterr().out


def test_30_a_failing_scenario_says_what_happened_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (EXAMPLES / "mina" / "scenario.yaml").read_text()
    for name in ("targetapp.yaml", "daemon.graphql"):
        (tmp_path / name).write_text((EXAMPLES / "mina" / name).read_text())
    path = tmp_path / "scenario.yaml"
    path.write_text(text.replace("at: {restart-stuck: [30m]}", "at: {restart-stuck: [25m]}"))
    assert main(["test", str(path)]) == 1
    assert "fired at 30m, expected 25m" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lint", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (["test", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (["replay", "/nowhere.yaml"], "No such file"),
        (["history", "x"], "no history database"),
        (["history", "x", "--url", "sqlite:////nowhere/x.db"], "history database sqlite"),
        (["explain"], "name a TargetApp"),
        (["run", "--kubeconfig", "/nowhere"], "kubeconfig /nowhere: No such file"),
    ],
)
def test_57_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KCO_HISTORY_URL", raising=False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def run_kco(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {name: text for name, text in os.environ.items() if not name.startswith("KUBE")}
    return subprocess.run(
        [sys.executable, "-m", "kco", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**variables, "HOME": "/nowhere", **environment},
    )


def test_60_without_a_cluster_the_start_ends_with_a_message() -> None:
    done = run_kco("run")
    assert done.returncode == 2
    assert "KUBECONFIG is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_57_a_bad_setting_ends_the_start_with_its_name_and_bounds() -> None:
    done = run_kco("run", KCO_METRICS_PORT="70000")
    assert done.returncode == 2
    assert "KCO_METRICS_PORT='70000' cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_63_a_local_run_with_a_kubeconfig_creates_events_and_stops_cleanly(
    control_plane, install_crds, tmp_path: Path
) -> None:
    """Runs in a process of its own, as a person would run it."""
    import asyncio
    import signal
    import time

    import yaml

    from kco.operator.controller import TARGET_APPS
    from operator_kit.kube.client import EVENTS, KubeClient, Resource
    from operator_kit.kube.config import parse_kubeconfig

    kubeconfig = control_plane.write_kubeconfig(tmp_path / "kubeconfig")
    config = parse_kubeconfig(yaml.safe_dump(control_plane.kubeconfig()), source="embedded")

    async def prepare() -> str:
        async with KubeClient(config) as client:
            await install_crds(client)
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "local-"}}
            made = await client.create(Resource("", "v1", "namespaces", namespaced=False), None, body)
            name = str(made["metadata"]["name"])
            spec = {
                "graphqlEndpoint": "http://127.0.0.1:9/graphql",
                "stateQuery": "{ a }",
                "pollingInterval": 1,
            }
            spec["failureThreshold"], spec["maxRetries"] = 1, 0
            app = {
                "apiVersion": "operator.kco.local/v1alpha1",
                "kind": "TargetApp",
                "metadata": {"name": "app"},
                "spec": spec,
            }
            await client.create(TARGET_APPS, name, app)
            return name

    async def reasons(namespace: str) -> list[str]:
        async with KubeClient(config) as client:
            return [event["reason"] for event in (await client.list(EVENTS, namespace))["items"]]

    namespace = asyncio.run(prepare())
    settings = {"KCO_METRICS_PORT": "0", "KCO_HEALTH_PORT": "0", "KCO_ALLOWED_NETWORKS": "127.0.0.0/8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "kco", "run", "--kubeconfig", str(kubeconfig), "--namespace", namespace],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 90
        while "EndpointDown" not in asyncio.run(reasons(namespace)):
            assert time.monotonic() < end, "no Event within 90 s"
            time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert output.splitlines()[-1].count('"stopped"') >= 1


def test_52_rbac_prints_the_smallest_role(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    assert main(["rbac", str(EXAMPLES / "actions.yaml")]) == 0
    (role,) = yaml.safe_load_all(capsys.readouterr().out)
    granted = {
        (verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]
    }
    assert ("create", "pods/eviction") in granted
    assert ("patch", "deployments/scale") in granted
    assert ("create", "pods/exec") in granted
    assert ("delete", "pods") not in granted
    patched = next(rule for rule in role["rules"] if rule["resources"] == ["configmaps"])
    assert patched["resourceNames"] == ["shop-flags"]


def test_33_explain_says_why_a_rule_does_not_fire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"data": {"syncStatus": "CATCHUP", "daemonStatus": {"peers": []}}}')
    assert main(["explain", "-f", str(EXAMPLES / "mina" / "targetapp.yaml"), "--state", str(state)]) == 0
    said = capsys.readouterr().out
    assert "restart-stuck: held: holds for 0 of 600 s [syncStatus equals CATCHUP: yes (is CATCHUP)]" in said
    assert "lonely: idle" in said
