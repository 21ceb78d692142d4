"""exec_command: run a command in the application's pods and believe its exit code."""

import shlex
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from kco.actions.handler import FAILED, SUCCEEDED, ActionHandler, Context, Parameters, Permission, Result
from kco.spec.targetapp import Selector, TargetAppSpec
from kco.targets.pods import Pod, read_pod
from kco.targets.selector import spell
from operator_kit.kube.client import PODS
from operator_kit.kube.exec_stream import execute
from operator_kit.kube.failure import ApiFailure

OUTPUT_LIMIT = 16 * 1024
SHOWN = 2048
# The folder and the words are arguments of the script, never part of its text.
IN_FOLDER = 'cd -- "$0" && exec "$@"'


class ExecCommandParameters(Parameters):
    """`command` is a list of words; a text is split into words, or given to a shell with `shell: true`."""

    command: str | list[str]
    args: list[str] = Field(default_factory=list)
    shell: bool = False
    container: str | None = None
    pod_selector: Selector | None = None
    pods: Literal["auto", "first", "any", "all"] = "auto"
    working_dir: str | None = Field(default=None, min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _words(self) -> "ExecCommandParameters":
        if not self.command or (isinstance(self.command, str) and not self.command.strip()):
            raise ValueError("command is empty")
        if self.shell and not isinstance(self.command, str):
            raise ValueError("shell: true needs command as one text")
        if isinstance(self.command, str) and not self.shell:
            try:
                shlex.split(self.command)
            except ValueError as failure:
                raise ValueError(f"command cannot be split into words ({failure}); give a list") from None
        return self

    def words(self) -> list[str]:
        """The whole argument vector, newly made each time."""
        if isinstance(self.command, str):
            argv = ["/bin/sh", "-c", self.command, "kco"] if self.shell else shlex.split(self.command)
        else:
            argv = list(self.command)
        argv += self.args
        return ["/bin/sh", "-c", IN_FOLDER, self.working_dir, *argv] if self.working_dir else argv


class ExecCommand(ActionHandler):
    name: ClassVar[str] = "exec_command"
    parameters: ClassVar[type[Parameters]] = ExecCommandParameters

    def permissions(self, parameters: ExecCommandParameters, spec: TargetAppSpec) -> list[Permission]:
        # WebSocket exec is a GET; newer API servers check `create` as well.
        return [
            Permission("list", "pods"),
            Permission("get", "pods", subresource="exec"),
            Permission("create", "pods", subresource="exec"),
        ]

    async def can_handle(self, context: Context) -> str | None:
        return None if await _chosen(context) else "no running and ready pod is selected"

    async def execute(self, context: Context) -> Result:
        parameters: ExecCommandParameters = context.parameters
        pods = await _chosen(context)
        outcomes: list[dict[str, Any]] = []
        for pod in pods:
            outcomes.append(await _in_pod(context, parameters, pod))
            if parameters.pods == "any" and outcomes[-1]["exitCode"] == 0:
                break
        good = [entry for entry in outcomes if entry["exitCode"] == 0]
        enough = bool(good) if parameters.pods == "any" else len(good) == len(outcomes)
        told = "; ".join(_sentence(entry) for entry in outcomes)
        output = {"pods": outcomes}
        return Result(SUCCEEDED if enough else FAILED, told, output)


async def _chosen(context: Context) -> list[Pod]:
    parameters: ExecCommandParameters = context.parameters
    selector = parameters.pod_selector or context.spec.selector
    if selector.empty:
        return []
    listing = await context.client.list(PODS, context.namespace, labelSelector=spell(selector))
    pods = sorted((read_pod(body) for body in listing.get("items") or []), key=lambda pod: pod.name)
    pods = [pod for pod in pods if pod.running and pod.ready and not pod.terminating]
    if parameters.pods == "auto":
        own = [pod for pod in pods if pod.name == context.pod]
        return own or pods[:1]
    return pods[:1] if parameters.pods == "first" else pods


async def _in_pod(context: Context, parameters: ExecCommandParameters, pod: Pod) -> dict[str, Any]:
    container = parameters.container or (pod.containers[0] if pod.containers else None)
    try:
        done = await execute(
            context.client,
            context.namespace,
            pod.name,
            parameters.words(),
            container=container,
            limit=OUTPUT_LIMIT,
        )
    except ApiFailure as failure:
        return {"pod": pod.name, "exitCode": None, "message": context.redact(str(failure))[:SHOWN]}
    return {
        "pod": pod.name,
        "exitCode": done.exit_code,
        "stdout": context.redact(done.stdout.decode("utf-8", "replace"))[:SHOWN],
        "stderr": context.redact(done.stderr.decode("utf-8", "replace"))[:SHOWN],
        "truncated": done.truncated or len(done.stdout) > SHOWN or len(done.stderr) > SHOWN,
        **({"message": done.message[:SHOWN]} if done.message else {}),
    }


def _sentence(entry: dict[str, Any]) -> str:
    if entry["exitCode"] is None:
        return f"pod {entry['pod']}: no exit code ({entry.get('message', '')[:160]})"
    text = (entry.get("stderr") or entry.get("stdout") or "").strip().splitlines()
    tail = f": {text[-1][:120]}" if text and entry["exitCode"] else ""
    return f"pod {entry['pod']}: exit code {entry['exitCode']}{tail}"
