"""The limit of open files is raised as far as it may be, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from slipway.cluster.environment.open_files import raise_limit
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "raised"), [(64, 900, 900), (900, 900, 900)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, raised: int) -> None:
    program = PROGRAM.format(soft=soft, hard=hard)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [int(word) for word in said.split()] == [raised, raised, hard]


def test_a_cluster_with_few_files_says_so_and_runs(tmp_path: object) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200));"
        "from slipway.cli import foreground; foreground.asyncio.run = lambda work: work.close();"
        "from slipway.cluster.environment.options import ClusterOptions;"
        "foreground.run_here(ClusterOptions(), str)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert said.startswith("warning: this process may open 200 files"), said
