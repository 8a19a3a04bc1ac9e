"""server-everything, direct and through chancery: equal results, byte for byte where nothing is filtered."""

import json

import raw
from harness import CLIENTS, EVERYTHING, Process, Serve, client, environment, main_tempdir, run_command, tapped
from harness import verify, write_policies

REASON = "this message is not to be echoed"
DENIED = "a text that only the denied call carries"
POLICIES = f"""
@id("everything")
permit (principal, action, resource);

@id("not-this-message")
@reason("{REASON}")
forbid (principal, action == Mcp::Action::"everything/echo", resource)
when {{ context.input.message == "{DENIED}" }};
"""
LONG = "trigger-long-running-operation"
STEPS = [
    {"do": "tools"},
    {"do": "prompts"},
    {"do": "resources"},
    {"do": "templates"},
    {"do": "ping"},
    {"do": "call", "name": "echo", "arguments": {"message": "emoji \U0001f680, quotes \" and \u0000"}},
    {"do": "call", "name": "get-sum", "arguments": {"a": 2, "b": 40.5}},
    {"do": "call", "name": "get-structured-content", "arguments": {"location": "New York"}},
    {"do": "call", "name": "get-tiny-image", "arguments": {}},
    {"do": "prompt", "name": "args-prompt", "arguments": {"city": "Bern"}},
    {"do": "read", "uri": "demo://resource/static/document/architecture.md"},
    {"do": "call", "name": "no-such-tool", "arguments": {}},
    {"do": "big", "name": "echo", "bytes": 1 << 20},
    {"do": "progress", "name": LONG, "arguments": {"duration": 0.6, "steps": 3}},
    {"do": "cancel", "name": LONG, "arguments": {"duration": 20, "steps": 100}},
    {"do": "call", "name": "echo", "arguments": {"message": "still here after a cancelled call"}},
]
DENIED_STEP = {"do": "call", "name": "echo", "arguments": {"message": DENIED}}


def label(step):
    return " ".join(str(step[k]) for k in ("do", "name", "uri") if k in step)


def compare(checks, title, through, direct):
    checks.same(f"{title}: initialize is equal", through["init"], direct["init"])
    for step, got, wanted in zip(STEPS, through["steps"], direct["steps"], strict=False):
        if step.get("name") == "no-such-tool":
            # Every server words this itself; what counts is that the client sees a failure and goes on.
            bad = "error" in got or got["value"].get("isError")
            checks.check(f"{title}: {label(step)} is refused", bad, got)
        elif step["do"] == "progress":
            # The TypeScript SDK drops a progress notification that it reads in one go with the answer, so the last
            # one may be missing on either side; that all of them are on the wire is checked without an SDK.
            results = [side["value"]["result"] for side in (got, wanted)]
            checks.same(f"{title}: {label(step)} has an equal result", *results)
            events = [{"progress": i, "total": 3} for i in (1, 2, 3)]
            seen = got["value"]["events"]
            checks.check(f"{title}: {label(step)} is reported", seen in (events, events[:2]), seen)
        else:
            checks.same(f"{title}: {label(step)} is equal", got, wanted)


def denied(checks, title, outcome):
    error = outcome.get("error") or {}
    checks.check(f"{title}: a denied call has code 403", error.get("code") == 403, outcome)
    checks.check(f"{title}: a denied call tells the policy's reason", REASON in json.dumps(error), outcome)


def server_side(checks, title, tap):
    seen = tap.read_bytes()
    lines = [json.loads(line) for line in seen.splitlines() if line.strip()]
    checks.check(f"{title}: the denied call never reached the server", DENIED.encode() not in seen)
    checks.check(f"{title}: the cancellation reached the server", b"notifications/cancelled" in seen)
    checks.check(f"{title}: 1 MiB reached the server", any(len(line) > 1 << 20 for line in seen.splitlines()))
    checks.check(f"{title}: no token reached the server", b"eyJ" not in seen and b"Bearer" not in seen)
    checks.check(f"{title}: nothing but messages reached the server", all(m.get("jsonrpc") == "2.0" for m in lines))


def sound(checks, title, home, log):
    done = verify(home, log)
    checks.check(f"{title}: the log verifies", done.returncode == 0, done.stdout + done.stderr)


def over_stdio(checks, kind):
    title = f"{kind} stdio everything"
    with main_tempdir() as home:
        from pathlib import Path

        tap = Path(home) / "tap"
        policies = write_policies(home, POLICIES)
        direct = client(kind, {"command": EVERYTHING[0], "args": EVERYTHING[1:], "steps": STEPS}, home)
        wrapped = run_command(home, policies, tapped(EVERYTHING, tap), name="everything")
        through = client(kind, {**wrapped, "steps": [*STEPS, DENIED_STEP]}, home)
        compare(checks, title, through, direct)
        denied(checks, title, through["steps"][-1])
        server_side(checks, title, tap)
        sound(checks, title, home, Path(home) / "log")


def http_server(home, port):
    """server-everything on streamable HTTP; it prints its port on stderr."""
    env = {**environment(home), "PORT": str(port)}
    return Process([*EVERYTHING, "streamableHttp"], env)


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def over_http(checks, kind):
    from pathlib import Path

    with main_tempdir() as home:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        with http_server(home, port) as upstream:
            upstream.find(r"(listening)")
            direct = client(kind, {"url": url, "steps": STEPS}, home)
            policies = write_policies(home, POLICIES)

            title, tap = f"{kind} http to a child, everything", Path(home) / "tap"
            child = tapped(EVERYTHING, tap)
            with Serve(home, policies, "everything", {"command": child[0], "args": child[1:]}) as gateway:
                through = client(kind, gateway.spec([*STEPS, DENIED_STEP]), home)
                code = gateway.stop()
            compare(checks, title, through, direct)
            denied(checks, title, through["steps"][-1])
            server_side(checks, title, tap)
            checks.same(f"{title}: serve ends with 0", code, 0)
            sound(checks, title, home, gateway.log)

            title = f"{kind} http to http, everything"
            with Serve(home, policies, "everything", {"url": url}) as gateway:
                through = client(kind, gateway.spec([*STEPS, DENIED_STEP]), home)
                gateway.stop()
            compare(checks, title, through, direct)
            denied(checks, title, through["steps"][-1])
            sound(checks, title, home, gateway.log)


REQUESTS = [
    raw.request(1, "tools/list"),
    raw.request("two", "prompts/list"),
    raw.request(3, "resources/list"),
    raw.request(4, "resources/templates/list"),
    raw.call(5, "echo", {"message": "byte for byte, \u00e4 \U0001f680"}),
    raw.call(6, "get-sum", {"a": 1, "b": 2}),
    raw.call(7, "get-tiny-image", {}),
    raw.call(8, "get-annotated-message", {"messageType": "success", "includeImage": True}),
    raw.call(9, "echo", {"message": "y" * (1 << 20)}),
    raw.request(10, "prompts/get", {"name": "simple-prompt"}),
    raw.request(11, "completion/complete", {
        "ref": {"type": "ref/prompt", "name": "completable-prompt"},
        "argument": {"name": "department", "value": "E"},
    }),
    raw.request(12, "resources/read", {"uri": "demo://resource/static/document/features.md"}),
    raw.request(13, "ping"),
    raw.request("slow", "tools/call", {
        "name": LONG, "arguments": {"duration": 0.6, "steps": 3}, "_meta": {"progressToken": "p-1"},
    }),
    b'{"jsonrpc":"2.0" ,"id":14,"params":{"arguments":{"b":1.0,"a":9007199254740991},"name":"get-sum"},"method":"tools/call"}',
]


def without_session(message):
    """An answer to initialize without the entry that chancery adds on stdio."""
    message = json.loads(message)
    meta = message["result"].get("_meta", {})
    meta.pop("chancery/session", None)
    if not meta:
        message["result"].pop("_meta", None)
    return message


def bytes_are_equal(checks, title, through, direct):
    checks.same(f"{title}: initialize is equal but for the session entry",
                without_session(through.first), without_session(direct.first))
    for message in REQUESTS:
        name = json.loads(raw.text(message))
        got, wanted = through.ask(message), direct.ask(message)
        what = f"{name['method']} {name.get('params', {}).get('name', '')}".strip()
        checks.check(f"{title}: {what} is the same bytes", got == wanted, f"{got[:250]} wanted {wanted[:250]}")
    progress = [[m for m in side.all if b'"method":"notifications/progress"' in m] for side in (through, direct)]
    checks.check(f"{title}: the notifications of progress are the same bytes",
                 progress[0] == progress[1] and len(progress[0]) == 3, progress)


def raw_stdio(checks):
    with main_tempdir() as home:
        policies = write_policies(home, POLICIES)
        wrapped = run_command(home, policies, EVERYTHING, name="everything")
        with raw.Stdio([wrapped["command"], *wrapped["args"]], home) as through, raw.Stdio(EVERYTHING, home) as direct:
            bytes_are_equal(checks, "raw stdio", through, direct)
            session = json.loads(through.first)["result"].get("_meta", {}).get("chancery/session", {})
            checks.check("raw stdio: the handshake bears the session token", session.get("token", "").count(".") == 2)
            code = through.close()
            checks.same("raw stdio: run ends with 0 when its client leaves", code, 0)
            only = all(json.loads(line).get("jsonrpc") == "2.0" for line in through.all)
            checks.check("raw stdio: nothing but protocol on stdout", only)


def raw_http(checks):
    with main_tempdir() as home:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        with http_server(home, port) as upstream:
            upstream.find(r"(listening)")
            policies = write_policies(home, POLICIES)
            with Serve(home, policies, "everything", {"url": url}) as gateway:
                bytes_are_equal(checks, "raw http", raw.Http(gateway.url, gateway.headers), raw.Http(url))


def all_of_them(checks):
    for kind in CLIENTS:
        checks.group(f"{kind} stdio everything", over_stdio, kind)
        checks.group(f"{kind} http everything", over_http, kind)
    checks.group("raw stdio", raw_stdio)
    checks.group("raw http", raw_http)
