"""`scripts/tools.sh` fills no folder but the checkout's own, unless somebody names one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Stands for Go: notes where it would keep things, keeps something there, and makes what it was to make.
GO = """#!/bin/sh
echo "$GOPATH $GOCACHE $GOFLAGS" >> "$NOTES"
mkdir -p "$GOPATH/pkg/mod" "$GOCACHE"
case $1 in
    install) out=$GOBIN/helm ;;
    build) out=$3 ;;
esac
echo > "$out" && chmod +x "$out"
"""


@pytest.mark.parametrize("named", [False, True])
def test_go_keeps_its_files_in_the_checkout_unless_told_otherwise(tmp_path: Path, named: bool) -> None:
    checkout, programs, home = tmp_path / "checkout", tmp_path / "bin", tmp_path / "home"
    for folder in (checkout / "scripts" / "kubectl", programs, home):
        folder.mkdir(parents=True)
    shutil.copy(SCRIPTS / "tools.sh", checkout / "scripts")
    for name in ("bash", "dirname", "mkdir", "rm", "cat", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    (programs / "go").write_text(GO)
    (programs / "go").chmod(0o755)
    notes, own = tmp_path / "notes", tmp_path / "own"
    environment = {"PATH": str(programs), "HOME": str(home), "NOTES": str(notes)}
    if named:
        environment |= {"GOPATH": f"{own}/path", "GOCACHE": f"{own}/cache", "GOFLAGS": "-p=1"}
    subprocess.run([str(checkout / "scripts" / "tools.sh")], env=environment, check=True)
    folder = checkout / ".slipway" / "go"
    places = f"{own}/path {own}/cache" if named else f"{folder} {folder}/build"
    assert {line.strip() for line in notes.read_text().splitlines()} == {
        f"{places} -modcacherw {'-p=1' if named else ''}".strip()
    }
    assert sorted(path.name for path in (checkout / ".slipway/tools/bin").iterdir()) == ["helm", "kubectl"]
    assert list(home.iterdir()) == []
    assert not folder.exists(), "what it took to build them is not kept"
    assert own.exists() is named
    assert os.access(checkout / ".slipway/tools/bin/helm", os.X_OK)
