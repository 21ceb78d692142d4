"""`make demo`: start a cluster, play every scene, exit 0 only if none of them went otherwise than it should.

A scene whose programs this machine lacks is skipped, and the last line says so.
"""

from __future__ import annotations

import os
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.demo import cluster_scene, kco_scene, sungather_scene
from tests.demo.stage import ROOT, SceneFailed, SceneSkipped, Stage

SCENES: list[tuple[str, Callable[[Stage], None]]] = [
    ("Three nodes, one application, a drain", cluster_scene.play),
    ("KCO heals an application", kco_scene.play),
    ("SunGather: a solar day, two outages, nothing lost", sungather_scene.play),
]


def main() -> int:
    name = f"demo-{uuid.uuid4().hex[:4]}"
    stage = Stage(name, Path(os.environ.get("SLIPWAY_HOME") or ROOT / ".slipway" / "demo"))
    keep = bool(os.environ.get("KEEP"))
    failed: list[str] = []
    skipped: list[str] = []
    with stage.step("slipway up --nodes 3"):
        try:
            stage.show(stage.slipway("up", "--name", name, "--nodes", "3", "--detach"))
        except SceneFailed as error:
            stage.say(str(error))
            return 1
    try:
        for title, play in SCENES:
            stage.say("")
            stage.say(f"== {title}")
            try:
                play(stage)
            except SceneSkipped as reason:
                skipped.append(title)
                stage.say(f"SKIPPED: {reason}")
            except SceneFailed as error:
                failed.append(title)
                stage.say(f"FAILED: {error}")
            except Exception:
                failed.append(title)
                stage.say("FAILED:")
                traceback.print_exc()
    finally:
        if keep:
            stage.say(f"left running; look at it with: export KUBECONFIG={stage.kubeconfig}")
            stage.say(f"  and end it with: SLIPWAY_HOME={stage.home} .venv/bin/slipway down {name}")
        else:
            stage.slipway("down", name)
    stage.say("")
    if failed:
        stage.say(f"{len(failed)} of {len(SCENES)} scenes failed: {', '.join(failed)}")
        return 1
    played = len(SCENES) - len(skipped)
    stage.say(f"{played} of {len(SCENES)} scenes went as they should{_left_out(skipped)}")
    return 0


def _left_out(skipped: list[str]) -> str:
    return f"; skipped: {', '.join(skipped)}" if skipped else ""


if __name__ == "__main__":
    sys.exit(main())
