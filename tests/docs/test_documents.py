"""The documents of the cluster say what is so: options are named, examples run."""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.cli.main import COMMANDS, build_parser
from slipway.cluster import Cluster, ClusterOptions
from slipway.cluster.client.resources import NAMESPACES

DOCS = Path(__file__).parents[2] / "docs"


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Every long option of a parser and of its sub-parsers."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= options_of(sub)
    return found - {"--help", "--version"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_page_names_every_option(command: str) -> None:
    text = (DOCS / "reference/command-line.md").read_text()
    assert f"slipway {command}" in text
    missing = [
        option
        for option in options_of(build_parser(command))
        if not re.search(rf"`[^`]*{option}\b", text)  # in a code span
    ]
    assert not missing


def test_the_tests_that_are_said_to_show_what_holds_are_there() -> None:
    text = (DOCS / "reference/cluster-conformance.md").read_text()
    named = {
        word for span in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\S+\.(?:py|json)\b", span)
    }
    top = DOCS.parent
    homes = (top / "tests", top / "tests/cluster", top / "src/slipway/cluster", top)
    wanted = [path for word in named for path in braces(word)]
    assert len(wanted) > 50, "the pattern finds what the page names"
    assert [path for path in sorted(wanted) if not any(list(home.glob(path)) for home in homes)] == []


def braces(word: str) -> list[str]:
    """As a shell expands them: a{b,c} is ab and ac."""
    found = re.match(r"(.*?)\{(.*?)\}(.*)", word)
    if found is None:
        return [word]
    return [path for part in found[2].split(",") for path in braces(found[1] + part + found[3])]


def test_the_python_page_names_every_option_of_a_cluster() -> None:
    text = (DOCS / "reference/python.md").read_text()
    missing = [field.name for field in dataclasses.fields(ClusterOptions) if f"`{field.name}`" not in text]
    assert not missing


def test_the_example_of_virtual_time_runs_as_it_stands(tmp_path: Path) -> None:
    text = (DOCS / "how-to/let-time-pass.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["how-to/test-an-operator.md", "how-to/break-the-api-server.md"])
def test_the_examples_of_testing_operators_run_as_they_stand(tmp_path: Path, page: str) -> None:
    """On the cluster of SLIPWAY_TEST_KUBECONFIG, if it is set for this run."""
    run_example(page, tmp_path)


def test_the_example_of_testing_an_operator_runs_on_any_cluster_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody removes a namespace here, so that the one of the test is still to be seen.
    with Cluster(nodes=0, controllers=False) as cluster:
        monkeypatch.setenv("SLIPWAY_TEST_KUBECONFIG", str(cluster.write_kubeconfig(tmp_path / "named")))
        run_example("how-to/test-an-operator.md", tmp_path)
        listed = cluster.run(cluster.embedded.client().list(NAMESPACES))
    assert any(obj["metadata"]["name"].startswith("test-") for obj in listed["items"])


def run_example(page: str, folder: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (folder / "test_example.py").write_text(example)
    (folder / "docs").symlink_to(DOCS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_behaviour_file_of_the_documents_is_accepted(tmp_path: Path) -> None:
    from slipway.cluster.nodes.simulated import read_book

    text = (DOCS / "how-to/simulate-pods.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    book = read_book(example, "simulate-pods.md")
    assert [rule.behaviour.start for rule in book.rules] == [3, 0]
    assert book.outcomes["tired"].reason == "OOMKilled"


def test_the_examples_of_the_python_page_run_as_they_stand(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "reference/python.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        command = [sys.executable, "-c", example]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
