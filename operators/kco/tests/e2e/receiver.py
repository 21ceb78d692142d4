"""A receiver of webhooks that refuses the first request; `GET /seen` says what came. Runs in a pod."""

import argparse
import http.server
import json
from typing import Any

seen: list[dict[str, Any]] = []


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen.append({"key": self.headers["Idempotency-Key"], "body": json.loads(body)})
        self._answer(503 if len(seen) == 1 else 200, b"")

    def do_GET(self) -> None:
        self._answer(200, json.dumps(seen).encode() if self.path == "/seen" else b"ok")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, required=True)
options = parser.parse_args()
http.server.ThreadingHTTPServer((options.host, options.port), Hook).serve_forever()
