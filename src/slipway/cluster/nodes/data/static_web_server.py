"""A static file server that stands in for nginx: port 80, /usr/share/nginx/html, nginx's log lines and pages."""

from __future__ import annotations

import http.server
import os
import socketserver
import sys
import time

ROOT = "/usr/share/nginx/html"
WELCOME = (
    "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n"
    "<h1>Welcome to nginx!</h1>\n<p>This page is served by Slipway's stand-in for nginx.</p>\n</body>\n</html>\n"
)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without HTTPServer's look-up of our own name
        self.server_name, self.server_port = "localhost", self.server_address[1]


class Pages(http.server.SimpleHTTPRequestHandler):
    server_version = "nginx/1.29.0"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path in ("/", "/index.html") and not os.path.exists(os.path.join(ROOT, "index.html")):
            page = WELCOME.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            super().do_GET()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        status = getattr(code, "value", code)
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        agent = self.headers.get("User-Agent", "-")
        line = (
            f'{self.client_address[0]} - - [{stamp}] "{self.requestline}" {status} {size} "-" "{agent}" "-"'
        )
        print(line, flush=True)


def main() -> None:
    port = int(os.environ.get("NGINX_PORT") or 80)
    folder = ROOT if os.path.isdir(ROOT) else "/var/empty"
    with Server(("0.0.0.0", port), lambda *given: Pages(*given, directory=folder)) as server:
        print("nginx stand-in: start worker process", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
