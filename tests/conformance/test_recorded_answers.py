"""Every recorded request is answered as a real kube-apiserver 1.37 answered it.

Steps that do not agree yet are listed in `differences.json`, each with a reason; a step that is listed and agrees
is an error too, so that the list only shrinks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from replay import Server, differences, run

from slipway.cluster import Cluster

HERE = Path(__file__).parent
FILES = sorted((HERE / "recordings" / "1.37").glob("*.json"))
KNOWN: dict[str, str] = json.loads((HERE / "differences.json").read_text())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    tokens = {"admin-token": ("admin", ("system:masters",)), "bob-token": ("bob", ("dev",))}
    with Cluster(
        name="recorded",
        nodes=0,
        controllers=False,
        scheduler=False,
        service_account_admission=False,
        tokens=tokens,
    ) as cluster:
        yield Server(cluster.url, {"admin": "admin-token", "bob": "bob-token"}, None)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_answers_agree_with_the_recorded_ones(server: Server, path: Path) -> None:
    wrong: list[str] = []
    agreeing: list[str] = []
    for scenario in json.loads(path.read_text()):
        found = {number: (wanted, got) for number, wanted, got in run(scenario, server, False, 0)}
        for number, step in enumerate(scenario["steps"]):
            name = f"{scenario['name']} {number}"
            if number in found and name not in KNOWN:
                lines = list(differences(*found[number]))[:5]
                wrong.append(f"{name}: {step['method']} {step['path']}\n  " + "\n  ".join(lines))
            elif number not in found and name in KNOWN:
                agreeing.append(name)
    assert not wrong, "\n".join(wrong)
    assert not agreeing, f"these agree now: take them off differences.json: {agreeing}"
