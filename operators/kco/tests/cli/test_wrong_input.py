"""What a stranger may give the subcommands by mistake: one line that names the file and the fault, no traceback."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kco.cli.main import main
from kco.simulation import scenario

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
HEAD = "apiVersion: operator.kco.local/v1alpha1\nkind: TargetApp\nmetadata: {name: x}\n"
SPEC = 'spec: {graphqlEndpoint: "http://x/graphql", stateQuery: "{ a }"}\n'

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "binary": (b"\x7fELF\x02\x01\x01\xd0\x00", "not a text file (byte 7 is not UTF-8)"),
    "nul": (b"a: \x00\n", "special characters are not allowed"),
    "open bracket": (b"a: [1\n  b: }", "not YAML: line 2, column 4: expected ',' or ']'"),
    "tab": (HEAD.encode() + b"spec:\n\ta: 1\n", "line 5, column 1: found character '\\t'"),
    "twice": (
        HEAD.encode() + b"spec:\n  a: 1\n  a: 2\n",
        "line 6, column 3: the key 'a' stands here a second",
    ),
    "object tag": (b"a: !!python/object:os.system {}\n", "could not determine a constructor"),
    "key of keys": (b"? [a]\n: b\n", "a key must be a text"),
    "bottomless": (b"a: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    "long number": (b"a: " + b"9" * 5000, "not YAML"),
}
NOT_OURS: dict[str, bytes] = {
    "empty": b"",
    "text": b"just words\n",
    "list": b"- 1\n",
    "other kind": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: [1]\n",
}


def commands(path: Path, folder: Path) -> dict[str, list[str]]:
    state = folder / "state.json"
    state.write_text('{"a": 1}')
    return {
        "lint": ["lint", str(path)],
        "test": ["test", str(path)],
        "replay": ["replay", str(path), "--url", f"sqlite:///{folder}/none.db"],
        "explain": ["explain", "-f", str(path), "--state", str(state)],
        "rbac": ["rbac", str(path)],
    }


@pytest.mark.parametrize("command", ["lint", "test", "replay", "explain", "rbac"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_57_a_file_that_is_no_yaml_is_said_in_one_line_with_its_place(
    case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = UNREADABLE[case]
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    code = main(commands(path, tmp_path)[command])
    printed = capsys.readouterr()
    if command == "lint":
        # It is what lint is for: a finding, beside those of the other files.
        assert code == 1
        line, summary = printed.out.splitlines()
        assert summary == "0 TargetApps checked, 1 problem"
    else:
        assert code == 2
        (line,) = printed.err.splitlines()
    assert f"{path}: " in line
    assert words in line


@pytest.mark.parametrize("command", ["lint", "replay", "explain", "rbac"])
@pytest.mark.parametrize("case", NOT_OURS)
def test_57_a_file_without_a_targetapp_is_misuse(
    case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes(NOT_OURS[case])
    assert main(commands(path, tmp_path)[command]) == 2
    assert capsys.readouterr().err == f"kco {command}: no TargetApp in {path}\n"


@pytest.mark.parametrize("command", ["lint", "test", "replay", "explain", "rbac"])
def test_57_a_file_that_does_not_exist_is_misuse(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(commands(tmp_path / "none.yaml", tmp_path)[command]) == 2
    assert capsys.readouterr().err == f"kco {command}: {tmp_path}/none.yaml: No such file or directory\n"


def test_57_lint_goes_on_after_a_file_that_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    (tmp_path / "b.yaml").write_text(HEAD.replace("v1alpha1", "v9") + SPEC)
    (tmp_path / "c.yaml").write_text(HEAD + "spec: 3\n")
    (tmp_path / "d.yaml").write_text(HEAD + SPEC)
    assert main(["lint", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{tmp_path}/") for line in lines] == [
        "a.yaml: not a text file (byte 0 is not UTF-8)",
        "b.yaml: x: apiVersion 'operator.kco.local/v9', expected operator.kco.local/v1alpha1",
        "c.yaml: x: spec: must be an object, not number",
        "2 TargetApps checked, 3 problems",
    ]


def test_57_lint_reads_what_kubectl_get_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = yaml.safe_load(HEAD + SPEC)
    item["spec"]["pollingInterval"] = "often"
    path = tmp_path / "list.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [item, item]}))
    assert main(["lint", str(path)]) == 1
    assert "2 TargetApps checked, 2 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"type Query {", "Syntax Error"),
        (b"{}", "the GraphQL schema cannot be read"),
        (b"{", "the GraphQL schema cannot be read"),
        (b"", "the GraphQL schema cannot be read"),
        (b"\xff", "not a text file"),
    ],
)
def test_57_a_schema_that_cannot_be_read_is_misuse(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "schema.graphql"
    schema.write_bytes(content)
    assert main(["lint", str(EXAMPLES / "basic.yaml"), "--schema", str(schema)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{schema}: " in line
    assert words in line


@pytest.mark.parametrize(
    ("arguments", "state", "words"),
    [
        (["--state", "-"], "{", "-: not JSON"),
        (["--state", "-"], "[1]", "the state must be an object"),
        (["--state", "-", "--rule", "restart-stuk"], "{}", "no rule 'restart-stuk'; did you mean 'restart-stuck'?"),
        (["--state", "-", "mina"], "{}", "no TargetApp 'mina'; there are: mina-daemon"),
        ([], "", "--file needs --state"),
    ],
)  # fmt: skip
def test_57_explain_says_what_it_cannot_use(
    arguments: list[str],
    state: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(state))
    assert main(["explain", "-f", str(EXAMPLES / "mina" / "targetapp.yaml"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_57_explain_of_a_cluster_that_is_away_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {"token": "t"}}]
    kubeconfig.write_text(
        json.dumps({"current-context": "c", "clusters": [cluster], "contexts": [context], "users": users})
    )
    assert main(["explain", "shop", "--kubeconfig", str(kubeconfig)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "127.0.0.1:9" in line
    assert main(["explain", "shop", "--state", "x.json", "--kubeconfig", str(kubeconfig)]) == 2
    assert "--state needs --file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["replay", "history"])
def test_57_reading_history_makes_no_database(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = "app" if command == "history" else str(EXAMPLES / "basic.yaml")
    url = f"sqlite:///{tmp_path}/none.db"
    assert main([command, subject, "--url", url]) == 2
    assert capsys.readouterr().err == f"kco {command}: history database {url}: No such file or directory\n"
    assert os.listdir(tmp_path) == []
    (tmp_path / "none.db").touch()
    assert main([command, subject, "--url", url]) == 2
    assert "has the operator written to it?" in capsys.readouterr().err
    (tmp_path / "none.db").write_text("this is a letter, and no database" * 100)
    assert main([command, subject, "--url", url]) == 2
    assert "file is not a database" in capsys.readouterr().err


def test_57_replay_asks_which_of_several_targetapps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(HEAD + SPEC + "---\n" + HEAD.replace("name: x", "name: y") + SPEC)
    assert main(["replay", str(path), "--url", "sqlite:///x"]) == 2
    assert "2 TargetApps; choose one with --name" in capsys.readouterr().err


SCENARIO = yaml.safe_load((EXAMPLES / "mina" / "scenario.yaml").read_text())
SCENARIO["targetApp"] = yaml.safe_load((EXAMPLES / "mina" / "targetapp.yaml").read_text())
del SCENARIO["schema"]
SCENARIO["steps"] = SCENARIO["steps"][:2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": []}, "unknown key 'step'; did you mean 'steps'?"),
        ({"steps": []}, "give a list with at least one step"),
        ({"steps": [{"at": "soon"}]}, "steps[0]: 'soon' is not a length of time"),
        ({"steps": [{"at": "5m"}, {"at": "1m"}]}, "steps[1]: at 1m lies before the step above"),
        ({"steps": [{"at": 0, "states": {}}]}, "steps[0]: unknown key 'states'; did you mean 'state'?"),
        ({"steps": [{"at": 0, "set": 3}]}, "steps[0]: set: must be an object"),
        ({"steps": [{"at": 0, "results": {"lonley": "Failed"}}]}, "no rule 'lonley'; did you mean 'lonely'?"),
        ({"steps": [{"at": 0, "results": {"lonely": "failed"}}]}, "'failed' is none of Succeeded, Failed"),
        ({"expect": {"fired": {"lonely": "once"}}}, "'once' is not a whole number"),
        ({"expect": {"at": {"lonely": "5m"}}}, "give a list of times"),
        ({"expect": {"fire": {}}}, "unknown key 'fire'; did you mean 'fired'?"),
        ({"expect": 3}, "expect: must be an object"),
        ({"targetApp": "none.yaml"}, "none.yaml: No such file"),
        ({"targetApp": {"spec": {"stateQuery": "mutation { a }"}}}, "targetApp: "),
        ({"schema": "none.graphql"}, "none.graphql: No such file"),
    ],
)
def test_57_a_scenario_that_cannot_be_run_is_one_line_with_its_place(
    change: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **change}))
    assert main(["test", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kco test: {path}: ")
    assert words in line


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
places = st.sampled_from(
    [("steps",), ("expect",), ("name",), ("schema",), ("targetApp",)]
    + [("steps", 0, key) for key in sorted(scenario.STEP_KEYS)]
    + [(*at, "expect", key) for at in ((), ("steps", 1)) for key in sorted(scenario.EXPECT_KEYS)]
    + [("expect", key, "lonely") for key in sorted(scenario.EXPECT_KEYS)]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places, values)
@example(("expect", "outcome", "lonely"), {})
@example(("expect", "outcome", "lonely"), [])
def test_58_no_scenario_makes_the_runner_fall(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    document: Any = json.loads(json.dumps(SCENARIO))
    part = document
    for step in place[:-1]:
        part = part[step] if isinstance(step, int) else part.setdefault(step, {})
    part[place[-1]] = value
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(document))
    with contextlib.suppress(scenario.InvalidScenario):
        scenario.run(path)
