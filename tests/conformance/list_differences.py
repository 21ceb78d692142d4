"""Write differences.json anew: `python tests/conformance/list_differences.py`. Reasons of entries that stay are kept."""

from __future__ import annotations

import json
from pathlib import Path

from replay import Server, differences, run

from slipway.cluster import Cluster

HERE = Path(__file__).parent


def main() -> None:
    path = HERE / "differences.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    tokens = {"admin-token": ("admin", ("system:masters",)), "bob-token": ("bob", ("dev",))}
    found: dict[str, str] = {}
    with Cluster(
        name="recorded",
        nodes=0,
        controllers=False,
        scheduler=False,
        service_account_admission=False,
        tokens=tokens,
    ) as cluster:
        server = Server(cluster.url, {"admin": "admin-token", "bob": "bob-token"}, None)
        for file in sorted((HERE / "recordings" / "1.37").glob("*.json")):
            for scenario in json.loads(file.read_text()):
                for number, wanted, got in run(scenario, server, False, 0):
                    name = f"{scenario['name']} {number}"
                    first = next(iter(differences(wanted, got)), "")
                    found[name] = known.get(name) or f"not yet: {first[:160]}"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(found)} differences")


if __name__ == "__main__":
    main()
