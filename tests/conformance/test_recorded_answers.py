"""Every recorded request is answered as a real kube-apiserver 1.37 answered it.

Steps that do not agree yet are listed in `differences.json`, each with a reason; a step that is listed and agrees
is an error too, so that the list only shrinks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from replay import Server, differences, run

from slipway.cluster import Cluster

Object = dict[str, Any]
HERE = Path(__file__).parent
FILES = sorted((HERE / "recordings" / "1.37").glob("*.json"))
# What was recorded on a server that still had the definitions of another file, which its discovery shows.
AFTER = {"cr_validation": "cr_subresources"}
KNOWN: dict[str, str] = json.loads((HERE / "differences.json").read_text())


@pytest.fixture
def server() -> Iterator[Server]:
    tokens = {"admin-token": ("admin", ("system:masters",)), "bob-token": ("bob", ("dev",))}
    with Cluster(
        name=f"recorded-{uuid.uuid4().hex[:8]}",
        nodes=0,
        controllers=False,
        scheduler=False,
        service_account_admission=False,
        tokens=tokens,
    ) as cluster:
        yield Server(cluster.url, {"admin": "admin-token", "bob": "bob-token"}, None)


def _scenarios(name: str) -> list[Object]:
    path = HERE / "recordings" / "1.37" / f"{name}.json"
    before = _scenarios(AFTER[name]) if name in AFTER else []
    return before + json.loads(path.read_text())


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem not in AFTER.values()])
def test_answers_agree_with_the_recorded_ones(server: Server, name: str) -> None:
    """Each on a server of its own: in whatever order they run, and on how many workers, nothing is there before."""
    wrong: list[str] = []
    agreeing: list[str] = []
    for scenario in _scenarios(name):
        found = {number: (wanted, got) for number, wanted, got in run(scenario, server, False, 0)}
        for number, step in enumerate(scenario["steps"]):
            title = f"{scenario['name']} {number}"
            if number in found and title not in KNOWN:
                lines = list(differences(*found[number]))[:5]
                wrong.append(f"{title}: {step['method']} {step['path']}\n  " + "\n  ".join(lines))
            elif number not in found and title in KNOWN:
                agreeing.append(title)
    assert not wrong, "\n".join(wrong)
    assert not agreeing, f"these agree now: take them off differences.json: {agreeing}"
