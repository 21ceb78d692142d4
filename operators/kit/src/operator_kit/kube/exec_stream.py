"""Run a command in a pod's container and learn its true exit code.

`pods/exec` over a WebSocket: every message's first byte is its channel (1 stdout, 2 stderr, 3 error). The
error channel carries a `Status`; its `ExitCode` cause is the command's exit code. Subprotocols:
`v5.channel.k8s.io` where the server has it, else `v4.channel.k8s.io`
(kubernetes/apimachinery pkg/util/remotecommand).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from operator_kit.kube.client import PODS, KubeClient
from operator_kit.kube.failure import ApiFailure

STDOUT, STDERR, ERROR = 1, 2, 3


@dataclass(frozen=True)
class Executed:
    """What came of a command. `exit_code` is None where the server could not say."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    message: str = ""
    truncated: bool = False


class _Capped:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.data = bytearray()
        self.truncated = False

    def add(self, chunk: bytes) -> None:
        room = self.limit - len(self.data)
        self.truncated = self.truncated or len(chunk) > room
        self.data += chunk[: max(room, 0)]


async def execute(
    client: KubeClient,
    namespace: str,
    pod: str,
    command: Sequence[str],
    *,
    container: str | None = None,
    limit: int = 16 * 1024,
) -> Executed:
    """Run `command` and wait for its end. Cancelling closes the stream, which ends the session.

    Output beyond `limit` bytes per stream is read and dropped, so a chatty command cannot block itself.
    """
    query = [("command", word) for word in command] + [("stdout", "true"), ("stderr", "true")]
    if container:
        query.append(("container", container))
    stdout, stderr = _Capped(limit), _Capped(limit)
    status = b""
    try:
        async with client.session.ws_connect(
            client.config.server + PODS.path(namespace, pod, "exec"),
            params=query,
            headers=await client.headers(),
            protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"),
            ssl=client.tls if client.tls is not None else True,
            heartbeat=30,
            max_msg_size=0,
        ) as stream:
            async for message in stream:
                data = message.data if message.type == aiohttp.WSMsgType.BINARY else b""
                if message.type == aiohttp.WSMsgType.TEXT:
                    data = message.data.encode()
                if not data:
                    continue
                if data[0] == STDOUT:
                    stdout.add(data[1:])
                elif data[0] == STDERR:
                    stderr.add(data[1:])
                elif data[0] == ERROR:
                    status += data[1:]
    except aiohttp.WSServerHandshakeError as failure:
        raise ApiFailure(
            failure.status, "ExecRefused", f"exec in pod {namespace}/{pod}: {failure.message}"
        ) from None
    except (TimeoutError, aiohttp.ClientError, OSError) as failure:
        raise ApiFailure(0, "ExecBroken", f"exec in pod {namespace}/{pod}: {failure}") from None
    code, text = _exit_code(status)
    return Executed(code, bytes(stdout.data), bytes(stderr.data), text, stdout.truncated or stderr.truncated)


def _exit_code(status: bytes) -> tuple[int | None, str]:
    if not status:
        return None, "the stream ended without a status"
    try:
        parsed = orjson.loads(status)
    except orjson.JSONDecodeError:
        return None, status.decode(errors="replace")
    if parsed.get("status") == "Success":
        return 0, ""
    for cause in (parsed.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"]), str(parsed.get("message", ""))
    return None, str(parsed.get("message", "unknown failure"))
