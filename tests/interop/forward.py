"""Tool servers that are told who calls: a real one verifies the gateway's token, by the gateway's own JWKS."""

import json
import time
from contextlib import contextmanager
from pathlib import Path

import proofs
import raw
from harness import (
    CACHE, CLIENTS, HERE, Process, Serve, client, environment, main_tempdir, records, wait_for, write_policies,
)

PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'
AUDIENCE = "https://tools.example.org"
PYTHON = str(CACHE / "py-v1" / "bin" / "python")
WHOAMI = [{"do": "tools"}, {"do": "call", "name": "whoami", "arguments": {}}]


@contextmanager
def told(home, audience, expected):
    """A gateway that names `audience` before a tool server that wants `expected`: (gateway, tool server, issuer)."""
    home = Path(home)
    home.mkdir(exist_ok=True)
    told_file, port_file = home / "issuer.json", home / "port"
    command = [PYTHON, str(HERE / "identity_server.py"), str(told_file), expected, str(port_file)]
    with Process(command, environment(home)) as server:
        port = wait_for("port of the tool server", lambda: port_file.exists() and port_file.read_text())
        upstream = {
            "url": f"http://127.0.0.1:{port}/mcp",
            "forward_identity": {"audience": audience, "lifetime": "10s"},
        }
        with Serve(home, write_policies(home, PERMIT_ALL), "identity", upstream) as gateway:
            keys, _ = proofs.jwks(gateway)
            issuer = next(iter(keys)).rsplit("#", 1)[0]
            told_file.write_text(json.dumps([proofs.jwks_url(gateway), issuer]))
            yield gateway, server, issuer


def a_server_verifies_who_calls(checks):
    with main_tempdir() as home, told(Path(home) / "fits", AUDIENCE, AUDIENCE) as (gateway, server, issuer):
        secret_uid = gateway.home.stat().st_uid
        for kind in CLIENTS:
            name = f"forward: {kind}"
            done = client(kind, gateway.spec(WHOAMI), gateway.home)
            names = [tool["name"] for tool in done["steps"][0]["value"]["tools"]]
            checks.same(f"{name}: sees the server's tool", names, ["whoami"])
            claims = json.loads(done["steps"][1]["value"]["content"][0]["text"])
            checks.same(f"{name}: the server knows the principal", claims["sub"], f"bootstrap:{secret_uid}")
            checks.same(f"{name}: and who acts for it", claims["act"], {"sub": issuer})
            checks.same(f"{name}: and that it is meant", claims["aud"], AUDIENCE)
            issued = [r["predicate"] for r in records(gateway.log) if r["kind"] == "identity-token"]
            jtis = [r["token"]["jti"] for r in issued]
            checks.check(f"{name}: the log has the token, and its session", claims["jti"] in jtis and any(
                r["kind"] == "session-open" and r["predicate"]["claims"]["sid"] == claims["sid"]
                for r in records(gateway.log)), jtis)
        checks.check("forward: the server refused only what came before it knew the issuer",
                     all("FileNotFoundError" in line for line in server.lines if line.startswith("refused:")),
                     server.stderr())


def a_token_is_renewed_in_time(checks):
    with main_tempdir() as home, told(Path(home) / "renewed", AUDIENCE, AUDIENCE) as (gateway, server, _):
        session, number, end = raw.Http(gateway.url, gateway.headers), 0, time.monotonic() + 22
        failed = []
        session.ask({"jsonrpc": "2.0", "id": "list", "method": "tools/list"})
        while time.monotonic() < end:
            number += 1
            answer = json.loads(session.ask(raw.call(number, "whoami", {})))
            if "result" not in answer or answer["result"].get("isError"):
                failed.append(answer)
            time.sleep(0.1)
        taken = [line.removeprefix("taken: ") for line in server.lines if line.startswith("taken: ")]
        jtis = set(taken)
        checks.check("forward: no call fails while tokens of ten seconds follow each other", not failed, failed[:2])
        issued = [r["predicate"]["token"]["jti"] for r in records(gateway.log) if r["kind"] == "identity-token"]
        checks.check("forward: calls of one period share one token", 3 <= len(jtis) <= 4 and len(taken) > 50, (len(jtis), len(taken), number))
        checks.check("forward: every token that was seen is in the log, once", jtis <= set(issued)
                     and len(issued) == len(set(issued)), (issued, sorted(jtis)))


def another_audience_is_refused(checks):
    with main_tempdir() as home, told(Path(home) / "other", "https://other.example.org", AUDIENCE) as (gateway, server, _):
        refused = None
        try:
            raw.Http(gateway.url, gateway.headers)
        except RuntimeError as error:
            refused = str(error)
        def heard():
            return [line for line in server.lines if "InvalidAudienceError" in line]

        checks.check("forward: a server refuses a token for another audience",
                     wait_for("refusal", heard, patience=10), server.stderr())
        checks.check("forward: and takes none", not any(line.startswith("taken:") for line in server.lines))
        checks.check("forward: its client is told, and hears nothing of the token", refused is not None
                     and "refused the gateway's credentials" in refused and "eyJ" not in refused, refused)


def all_of_them(checks):
    checks.group("forward: a server verifies who calls", a_server_verifies_who_calls)
    checks.group("forward: renewal", a_token_is_renewed_in_time)
    checks.group("forward: another audience", another_audience_is_refused)
