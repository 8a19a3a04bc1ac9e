"""A client without an SDK: sends bytes, keeps bytes. What is compared here is what stood on the wire."""

import http.client
import json
import socket
import subprocess
from urllib.parse import urlsplit

from harness import PATIENCE, environment

PROTOCOL = "2025-11-25"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "interop-raw", "version": "1.0.0"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def text(message):
    return message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode()


class Stdio:
    """A server on a pipe."""

    def __init__(self, command, home, initialize=True, env=None):
        self.child = subprocess.Popen(
            command, env=env or environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.all = []
        if initialize:
            self.first = self.ask(INITIALIZE)
            self.tell(INITIALIZED)

    def tell(self, message):
        self.child.stdin.write(text(message) + b"\n")
        self.child.stdin.flush()

    def ask(self, message):
        """Sends a request; returns the line that answers it."""
        self.tell(message)
        wanted = json.loads(text(message))["id"]
        while line := self.child.stdout.readline():
            self.all.append(line.rstrip(b"\n"))
            answer = json.loads(line)
            if answer.get("id") == wanted and "method" not in answer:
                return line.rstrip(b"\n")
        raise RuntimeError(f"the server closed its stdout (exit {self.child.wait(5)})")

    def close(self):
        self.child.stdin.close()
        rest = self.child.stdout.read()
        self.all += rest.splitlines()
        return self.child.wait(timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


class Http:
    """A streamable HTTP server."""

    def __init__(self, url, headers=None):
        parts = urlsplit(url)
        self.netloc, self.path = parts.netloc, parts.path
        self.all = []
        self.headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **(headers or {}),
        }
        status, answer, head = self.post(INITIALIZE)
        if status != 200 or "result" not in json.loads(answer):
            raise RuntimeError(f"initialize: {status} {answer[:500].decode('utf-8', 'replace')}")
        self.first = answer
        self.session = head.get("mcp-session-id")
        if self.session:
            self.headers["Mcp-Session-Id"] = self.session
        self.headers["MCP-Protocol-Version"] = PROTOCOL
        self.tell(INITIALIZED)

    def connection(self):
        return http.client.HTTPConnection(self.netloc, timeout=PATIENCE)

    def post(self, message):
        """Status, the message that answers (the last of a stream), headers."""
        connection = self.connection()
        connection.request("POST", self.path, text(message), self.headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.headers.get_content_type() == "text/event-stream":
            # Both kinds of server write an event's data in one line.
            data = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
            self.all += [d for d in data if d]
            body = next((d for d in reversed(data) if d), b"")
        return response.status, body, response.headers

    def ask(self, message):
        status, body, _ = self.post(message)
        if status != 200:
            raise RuntimeError(f"HTTP {status}: {body[:500]}")
        return body

    def tell(self, message):
        status, body, _ = self.post(message)
        if status != 202:
            raise RuntimeError(f"HTTP {status}: {body[:500]}")


class Unix(Http):
    """The same through a Unix socket, where one process may hold several sessions."""

    def __init__(self, path, url):
        self.socket = path
        super().__init__(url)

    def connection(self):
        connection = super().connection()
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(self.socket))
        return connection


def request(id, method, params=None):
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None:
        message["params"] = params
    return message


def call(id, name, arguments):
    return request(id, "tools/call", {"name": name, "arguments": arguments})
