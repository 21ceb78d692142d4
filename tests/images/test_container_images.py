"""The Containerfiles, built and run for real.

That takes minutes and a network, so it is asked for: SLIPWAY_TEST_BUILD=1, and then BASE, CERTIFICATES and ENGINE as
scripts/image/build.sh reads them. As root BASE=debian needs no registry.
"""

import json
import os
import resource
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "operators" / "kco" / "examples"
BUILD = TOP / "scripts" / "image" / "build.sh"
IMAGES = {
    "operators/kco": "kco",
    "workloads/sungather": "sungather",
    "workloads/sungrow-simulator": "simulator",
}
ENGINE = os.environ.get("ENGINE") or next(filter(shutil.which, ("podman", "docker")), "")
pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("SLIPWAY_TEST_BUILD"), reason="asked for with SLIPWAY_TEST_BUILD=1"
    ),
    pytest.mark.skipif(not ENGINE, reason="neither podman nor docker is installed"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("images"),
]


def limits() -> list[str]:
    """podman gives containers more open files and processes than one that runs in a container may have."""
    if ENGINE != "podman":
        return []
    asked = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    return [
        f"--ulimit={name}={min(1000, max(1, resource.getrlimit(kind)[1]))}" for name, kind in asked.items()
    ]


def contained(image: str, *words: str, options: tuple[str, ...] = (), text: str = "") -> tuple[int, str, str]:
    """What a program says as user 4242, without a network, on a root that it cannot write."""
    done = subprocess.run(
        [ENGINE, "run", "--rm", "-i", "--read-only", "--user=4242:4242", "--network=none", "--cap-drop=all",
         *limits(), *options, image, *words],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module", params=IMAGES, ids=IMAGES.values())
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    folder, tag = request.param, f"test-{uuid.uuid4().hex[:6]}"
    variables = dict(os.environ)
    if ENGINE == "podman":
        variables.setdefault("OPTIONS", "--isolation=chroot")
    done = subprocess.run([BUILD, folder, tag], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    name = f"localhost/{Path(folder).name}:{tag}"
    yield name
    subprocess.run([ENGINE, "rmi", "--force", name], capture_output=True, check=False)


def test_53_it_runs_as_anybody_on_a_root_that_cannot_be_written_and_holds_no_compiler(image: str) -> None:
    code, said, wrong = contained(image, "--help")
    assert (code, said.startswith("usage: ")) == (0, True), wrong
    survey = (TOP / "scripts" / "image" / "survey.py").read_text()
    code, said, wrong = contained(image, "-", options=("--entrypoint=python3",), text=survey)
    assert code == 0, wrong
    found = json.loads(said)
    assert (found["user"], found["capabilities"], found["strangers"]) == (4242, 0, [])
    assert set(found["writable"]) <= {"/tmp"}
    kept = subprocess.run(
        [ENGINE, "image", "inspect", "--format", "{{.Config.User}}", image],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(kept.stdout.partition(":")[0]) >= 1000


def test_53_kco_checks_its_examples_in_it_and_says_what_is_missing_to_run(image: str) -> None:
    if "/kco:" not in image:
        pytest.skip("KCO's alone")
    inside = [f"/examples/{path.relative_to(EXAMPLES)}" for path in sorted(EXAMPLES.glob("*.yaml"))]
    code, said, wrong = contained(image, "lint", *inside, options=(f"--volume={EXAMPLES}:/examples:ro",))
    assert (code, " 0 problems" in said) == (0, True), said + wrong
    code, said, wrong = contained(image, "run")
    assert (code, said, wrong.count("\n")) == (2, "", 1)
    assert wrong.startswith("kco run: no cluster to talk to")
