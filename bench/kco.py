"""KCO: polls per CPU-second against the bare client's ceiling, memory per 1000 targets, change-to-Event latency.

Method (spec kco.md, section 4): a GraphQL server in a process of its own on one core, the operator's poll path in
another process on another core, closed loop (interval near zero), 1000 targets, nothing changes in the answers;
schedule, limits, comparison, decoding, rules and status are on. The bare client is the same HTTP client sending the
same bytes over as many connections in the same run, doing nothing with the answers but comparing them. CPU seconds
are the polling process's own, so that a busy machine changes little; each repetition measures both, one after the
other, and the ratio is the median of the repetitions' ratios.

`kco_baseline.json` holds the goals of the specification and the figures of an earlier run. What is worse than the
baseline by more than its tolerance ends the benchmark with code 1.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.kco_process import TARGETS

REPETITIONS = 5
HERE = Path(__file__).resolve().parent
Figures = dict[str, float]


def main() -> int:
    """Run server and clients, print the figures, the ratio last."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "bench.kco_process"]
    server = subprocess.Popen(
        [*command, "server", str(cores[0]), "0"], stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    )
    assert server.stdout is not None
    port = server.stdout.readline().strip()

    def measure(mode: str) -> Figures:
        words = [*command, mode, str(cores[-1]), port]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, cwd=HERE.parent)
        return dict(json.loads(done.stdout))

    try:
        pairs = [(measure("bare"), measure("ours")) for _ in range(REPETITIONS)]
        memory, told = measure("memory"), measure("latency")
    finally:
        server.terminate()
        server.wait()
    print(
        f"{TARGETS} targets, {len(cores)} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
    )
    print_rates("bare", [bare for bare, _ in pairs])
    median = print_rates("ours", [ours for _, ours in pairs])
    figures = {
        "polls_per_cpu_second": median,
        "requests_per_poll": pairs[0][1]["requests"],
        "megabytes_per_1000_targets": memory["megabytes"],
        "change_to_event_p99_seconds": told["p99"],
        "changes_told": told["flips"] / told["asked"],
        "asked_polls_made": told["achieved"],
        "ratio_to_bare_client": statistics.median(_rate(ours) / _rate(bare) for bare, ours in pairs),
    }
    worse = compare(figures, json.loads((HERE / "kco_baseline.json").read_text()))
    print(f"ratio ours / bare client: {figures['ratio_to_bare_client']:.2f}")
    return 1 if worse else 0


def _rate(run: Figures) -> float:
    return run["polls"] / run["cpu"]


def print_rates(mode: str, runs: list[Figures]) -> float:
    """Median and range of the polls per CPU-second."""
    rates = sorted(map(_rate, runs))
    median = statistics.median(rates)
    print(f"{mode} polls per CPU-second: median {median:.0f}, range {rates[0]:.0f} to {rates[-1]:.0f}")
    return median


def compare(figures: Figures, baseline: dict[str, dict[str, Any]]) -> list[str]:
    """Print each figure beside its goal and its baseline; the names of those that have become worse."""
    worse = []
    for name, row in baseline.items():
        value, rising = figures[name], row["better"] == "more"
        met = value >= row["goal"] if rising else value <= row["goal"]
        limit = row["baseline"] * (1 - row["tolerance"] if rising else 1 + row["tolerance"])
        kept = value >= limit if rising else value <= limit
        if not kept:
            worse.append(name)
        words = [
            f"goal {row['goal']:g} {'met' if met else 'MISSED'}",
            f"baseline {row['baseline']:g}" + ("" if kept else " WORSE"),
        ]
        print(f"ours  {name.replace('_', ' ')}: {value:.4g} ({', '.join(words)})")
    return worse


if __name__ == "__main__":
    sys.exit(main())
