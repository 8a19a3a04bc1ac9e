"""The filesystem scenario: reading below DIR/public is permitted, writing is not, and the disk and the log agree."""

import base64
import json
from pathlib import Path

import raw
from harness import FILESYSTEM, Serve, client, main_tempdir, records, run_command, tapped, verify, write_policies

REASON = "this directory is read-only for agents"


def policies_for(directory):
    return f"""
@id("open")
permit (principal, action in [Mcp::Action::"session/open", Mcp::Action::"tools/list"], resource);

@id("read-public")
permit (principal, action == Mcp::Action::"filesystem/read_text_file", resource)
when {{ context.input.path like "{directory}/public/*" && !(context.input.path like "*..*") }};

@id("no-writes")
@reason("{REASON}")
forbid (principal, action == Mcp::Action::"filesystem/write_file", resource);
"""


def steps(directory):
    return [
        {"do": "tools"},
        {"do": "call", "name": "read_text_file", "arguments": {"path": f"{directory}/public/hello.txt"}},
        {"do": "call", "name": "read_text_file", "arguments": {"path": f"{directory}/secret.txt"}},
        {"do": "call", "name": "write_file", "arguments": {"path": f"{directory}/public/new.txt", "content": "x"}},
    ]


def prepare(home):
    directory = Path(home) / "data"
    (directory / "public").mkdir(parents=True)
    (directory / "public" / "hello.txt").write_text("hello\n")
    (directory / "secret.txt").write_text("secret\n")
    return directory


def snapshot(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def judge(checks, title, home, directory, before, tap, log, through, direct):
    names = [tool["name"] for tool in through["steps"][0]["value"]["tools"]]
    all_names = [tool["name"] for tool in direct["steps"][0]["value"]["tools"]]
    checks.check(f"{title}: the server itself lists write_file", "write_file" in all_names, all_names)
    checks.same(f"{title}: tools/list shows the permitted tool alone", names, ["read_text_file"])
    kept = next(t for t in direct["steps"][0]["value"]["tools"] if t["name"] == "read_text_file")
    checks.same(f"{title}: its entry is unchanged", through["steps"][0]["value"]["tools"][0], kept)
    checks.same(f"{title}: the permitted read is equal", through["steps"][1], direct["steps"][1])
    outside = through["steps"][2].get("error") or {}
    checks.same(f"{title}: a read outside is denied with 403", outside.get("code"), 403)
    written = through["steps"][3].get("error") or {}
    checks.same(f"{title}: write_file is denied with 403", written.get("code"), 403)
    checks.check(f"{title}: the denial tells the policy's reason", REASON in json.dumps(written), written)
    checks.check(f"{title}: the file system shows no write", snapshot(directory) == before)
    calls = [json.loads(line) for line in tap.read_bytes().splitlines() if b'"tools/call"' in line]
    checks.same(f"{title}: one call reached the server", len(calls), 1)
    done = verify(home, log)
    checks.check(f"{title}: the log verifies", done.returncode == 0, done.stdout + done.stderr)
    decisions = [r["predicate"] for r in records(log) if r["kind"] == "decision"]
    text = json.dumps(decisions)
    allowed = [d for d in decisions if d.get("effect") == "allow" and "read_text_file" in json.dumps(d)]
    refused = [d for d in decisions if d.get("effect") == "deny" and "write_file" in json.dumps(d)]
    checks.check(f"{title}: the log holds the allowed and the denied call", allowed and refused, text)
    checks.check(f"{title}: the log names the policy that denied", "no-writes" in json.dumps(refused), refused)
    bytes_of_log = b"".join(p.read_bytes() for p in Path(log).rglob("*") if p.is_file())
    payloads = json.dumps(records(log))
    checks.check(f"{title}: no argument's value is in the log",
                 b"hello.txt" not in bytes_of_log and "hello.txt" not in payloads)


def over_stdio(checks, kind):
    title = f"{kind} stdio filesystem"
    with main_tempdir() as home:
        directory = prepare(home)
        server = [*FILESYSTEM, str(directory)]
        direct = client(kind, {"command": server[0], "args": server[1:], "steps": steps(directory)[:3]}, home)
        before, tap = snapshot(directory), Path(home) / "tap"
        policies = write_policies(home, policies_for(directory))
        wrapped = run_command(home, policies, tapped(server, tap), name="filesystem")
        through = client(kind, {**wrapped, "steps": steps(directory)}, home)
        judge(checks, title, home, directory, before, tap, Path(home) / "log", through, direct)


def over_http(checks, kind):
    title = f"{kind} http filesystem"
    with main_tempdir() as home:
        directory = prepare(home)
        server = [*FILESYSTEM, str(directory)]
        direct = client(kind, {"command": server[0], "args": server[1:], "steps": steps(directory)[:3]}, home)
        before, tap = snapshot(directory), Path(home) / "tap"
        policies = write_policies(home, policies_for(directory))
        child = tapped(server, tap)
        with Serve(home, policies, "filesystem", {"command": child[0], "args": child[1:]}) as gateway:
            through = client(kind, gateway.spec(steps(directory)), home)
            gateway.stop()
        judge(checks, title, home, directory, before, tap, gateway.log, through, direct)


def token(checks):
    """PyJWT, which knows nothing of chancery, verifies the session token with the published keys."""
    import jwt

    with main_tempdir() as home:
        directory = prepare(home)
        policies = write_policies(home, policies_for(directory))
        server = [*FILESYSTEM, str(directory)]
        with Serve(home, policies, "filesystem", {"command": server[0], "args": server[1:]}) as gateway:
            session = raw.Http(gateway.url, gateway.headers)
            handle = session.session
            keys = jwt.PyJWKClient(f"{gateway.base}/.well-known/jwks.json")
            key = keys.get_signing_key_from_jwt(handle)
            head = jwt.get_unverified_header(handle)
            claims = jwt.decode(handle, key.key, algorithms=["ES256"], options={"verify_aud": False})
            checks.check("token: PyJWT verifies it with the published keys", claims["sid"], claims)
            checks.same("token: its type", head["typ"], "mcp-session+jwt")
            wrong = handle[:-6] + ("AAAAAA" if not handle.endswith("AAAAAA") else "BBBBBB")
            try:
                jwt.decode(wrong, key.key, algorithms=["ES256"], options={"verify_aud": False})
                refused = False
            except jwt.InvalidSignatureError:
                refused = True
            checks.check("token: PyJWT refuses it with another signature", refused)
            checks.check("token: it carries no secret", gateway.secret not in json.dumps(claims))
            stolen = raw.Http.__new__(raw.Http)
            stolen.netloc, stolen.path, stolen.all = session.netloc, session.path, []
            stolen.headers = {k: v for k, v in session.headers.items() if k != "Authorization"}
            status, _, _ = stolen.post(raw.request(1, "tools/list"))
            checks.same("token: without the evidence it opens nothing", status, 401)
            gateway.stop()
            stderr = gateway.stderr()
        keyids = {r["keyid"] for r in records(gateway.log)}
        checks.same("token: its kid is the attestations' keyid", sorted(keyids), [head["kid"]])
        checks.same("token: its issuer is the kid's identity", head["kid"].split("#")[0], claims["iss"])
        text = b"".join(p.read_bytes() for p in gateway.log.rglob("*") if p.is_file())
        payloads = json.dumps(records(gateway.log))
        found = [s for s in (handle, gateway.secret) if s.encode() in text or s in payloads or s in stderr]
        checks.check("token: neither it nor the secret is in the log or on stderr", not found)
        signature = base64.urlsafe_b64decode(handle.split(".")[2] + "==")
        checks.same("token: its signature is 64 raw bytes", len(signature), 64)


def all_of_them(checks):
    for kind in ("ts-v1", "ts-v2", "py-v1", "py-v2"):
        checks.group(f"{kind} stdio filesystem", over_stdio, kind)
        checks.group(f"{kind} http filesystem", over_http, kind)
    checks.group("token", token)
