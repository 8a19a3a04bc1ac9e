"""Bearer tokens of real issuers: official SDK clients find the issuer through the gateway alone, and what is not for
the gateway opens nothing."""

import http.client
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import raw
from everything import free_port
from harness import CLIENTS, EVERYTHING, Serve, client, main_tempdir, records, tapped, verify, wait_for, write_policies
from oidc_issuers import SECRET, Authlib, Provider

POLICIES = """
@id("come-in") permit (principal in Mcp::Group::"oidc", action, resource)
unless { [Mcp::Action::"tools/call"].contains(action) || action in Mcp::Action::"tools/call" };
@id("staff") permit (principal in Mcp::Group::"oidc:staff", action in Mcp::Action::"tools/call", resource);
@id("lab") permit (principal, action == Mcp::Action::"everything/get-sum", resource)
when { principal.hasTag("department") && principal.getTag("department").contains("lab") };
"""
STEPS = [{"do": "tools"}, {"do": "call", "name": "echo", "arguments": {"message": "by a bearer"}}]


class Gateway(Serve):
    """A gateway before server-everything that believes one issuer; its own URL is the tokens' audience."""

    def __init__(self, home, issuer, port, more=None):
        home.mkdir()
        self.tap = home / "tap"
        command = tapped(EVERYTHING, self.tap)
        oidc = {"issuer": issuer, "audience": resource(port), "allow_http": True, "allow_private": True,
                "groups": {"claim": "groups"}, **(more or {})}
        config = {
            "listen": {"tcp": f"127.0.0.1:{port}", "address_file": str(home / "address")},
            "admission": {"bootstrap": {"file": str(home / "bootstrap.secret")}, "oidc": [oidc]},
            "refusal_summary": "1s",
        }
        server = {"command": command[0], "args": command[1:]}
        super().__init__(home, write_policies(home, POLICIES), "everything", server, more=config)

    def session(self, token):
        return raw.Http(self.url, {"Authorization": f"Bearer {token}"})

    def knock(self, token):
        """Status and challenge of an `initialize` with this token; nothing of it may reach the server."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=raw.PATIENCE)
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                   **({"Authorization": f"Bearer {token}"} if token else {})}
        connection.request("POST", urlsplit(self.url).path, raw.text(raw.INITIALIZE), headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers.get("WWW-Authenticate") or ""

    def upstream(self):
        return self.tap.stat().st_size if self.tap.exists() else 0


def resource(port):
    return f"http://127.0.0.1:{port}/mcp/everything"


def show(session, token):
    session.headers["Authorization"] = f"Bearer {token}"


def echo(session, number, tool="echo", arguments=None):
    status, body, _ = session.post(raw.call(number, tool, arguments or {"message": "hello"}))
    return status, json.loads(body)


def works(answer):
    return answer[0] == 200 and "result" in answer[1] and not answer[1]["result"].get("isError")


def denied(answer):
    return answer[0] == 200 and "error" in answer[1]


def refused(checks, title, gateway, name, token, status=401, says="invalid_token"):
    before = gateway.upstream()
    got, challenge = gateway.knock(token)
    checks.check(f"{title}: {name} is refused", got == status and says in challenge, f"{got} {challenge}")
    checks.same(f"{title}: and the server got nothing", gateway.upstream(), before)


def by_sdk(checks, home, provider):
    """401, metadata of the resource, metadata of the issuer, token, session: all of it is the SDKs' own doing."""
    title, port = "oidc, oidc-provider", free_port()
    with Gateway(home / "sdk", provider.issuer, port, {"scopes": ["mcp:use"]}) as gateway:
        for kind in CLIENTS:
            spec = {"url": gateway.url, "steps": STEPS,
                    "oauth": {"clientId": "agent", "clientSecret": SECRET, "issuer": provider.issuer, "scope": "mcp:use"}}
            out = client(kind, spec, gateway.home)
            text = json.dumps(out["steps"][1])
            checks.check(f"{title}: {kind} finds its way from a 401 to a call", "Echo: by a bearer" in text, text)
        seen = [record["predicate"] for record in records(gateway.log) if record["kind"] == "session-open"]
        principals = {record["claims"]["sub"] for record in seen}
        checks.same(f"{title}: all as the issuer's client", sorted(principals), [f"oidc:{provider.issuer}#agent"])

        here = resource(port)
        refused(checks, title, gateway, "a token of another resource", provider.token(f"{here}-2", scope="mcp:use"))
        refused(checks, title, gateway, "a token without the scope", provider.token(here, scope="mcp:admin"), 403,
                'error="insufficient_scope"')
        first = provider.token(here, scope="mcp:use")
        session = gateway.session(first)
        checks.check(f"{title}: a token of the token endpoint is taken", works(echo(session, 1)))
        before = gateway.upstream()
        show(session, provider.token(here, client="other", scope="mcp:use"))
        checks.same(f"{title}: another client's token opens no session of ours", echo(session, 2)[0], 404)
        checks.same(f"{title}: and the server got nothing", gateway.upstream(), before)
        provider.command(groups=["guests"])
        show(session, provider.token(here, scope="mcp:use"))
        checks.check(f"{title}: a group taken away is gone at the next request", denied(echo(session, 3)))
        checks.same(f"{title}: and that call reached no server", gateway.upstream(), before)

        provider.command(rotate="second", groups=["staff"])
        rotated = provider.token(here, scope="mcp:use")
        # The gateway asks an issuer once in 30 s, whatever keys tokens name.
        wait_for("the new key", lambda: gateway.knock(rotated)[0] == 200, patience=60, every=1)
        show(session, rotated)
        checks.check(f"{title}: after a rotation the session goes on by the new key", works(echo(session, 4)))
        refused(checks, title, gateway, "a token of the withdrawn key", first)
        told_nothing(checks, title, gateway, [first, rotated])


def by_authlib(checks, home):
    title, port = "oidc, Authlib", free_port()
    with Authlib(resource(port)) as issuer, Authlib(resource(port)) as stranger:
        with Gateway(home / "authlib", issuer.issuer, port, {"claims": ["department"]}) as gateway:
            for alg in issuer.KINDS:
                session = gateway.session(issuer.token(alg))
                checks.check(f"{title}: a token by {alg} opens a session", works(echo(session, 1)))
            for kind in ("ts-v1", "py-v2"):
                headers = {"Authorization": f"Bearer {issuer.token('RS256', sub='bob')}"}
                out = client(kind, {"url": gateway.url, "steps": STEPS, "headers": headers}, gateway.home)
                text = json.dumps(out["steps"][1])
                checks.check(f"{title}: {kind} calls with a token in its header", "Echo: by a bearer" in text, text)
            attacks(checks, title, gateway, issuer, stranger)
            on_live_session(checks, title, gateway, issuer)
            said = wait_for("the counts", lambda: "tcp invalid_token" in gateway.stderr() and gateway.stderr())
            checks.check(f"{title}: what was refused is counted", "invalid_token" in said)
            told_nothing(checks, title, gateway, [issuer.token()])
            gateway.stop()
            done = verify(gateway.home, gateway.log)
            checks.check(f"{title}: the log verifies", done.returncode == 0, done.stdout + done.stderr)
        checks.same(f"{title}: the issuer was asked for each page once", sorted(issuer.asked),
                    ["/.well-known/openid-configuration", "/jwks.json"])
        checks.same(f"{title}: and nobody else", stranger.asked, [])


def attacks(checks, title, gateway, issuer, stranger):
    now = int(time.time())
    forged = issuer.new_key("ES256")
    own_key = {"jwk": forged.as_dict(is_private=False), "jku": f"{stranger.issuer}/jwks.json"}
    for name, token in {
        "an expired token": issuer.token(exp=now - 1),
        "a token of the future": issuer.token(nbf=now + 600),
        "a token for another audience": issuer.token(aud="https://elsewhere.example"),
        "a token of another issuer": stranger.token(),
        "another issuer's token in this one's name": stranger.token(iss=issuer.issuer),
        "a token by another key of that id": issuer.token(key=forged),
        "a token that brings its own key": issuer.token(key=forged, header=own_key),
        "a token without a subject": issuer.token(sub=None),
        "a token without an end": issuer.token(exp=None),
        "an ID token's type": issuer.token(header={"typ": "logout+jwt"}),
        "a sender-constrained token without its proof": issuer.token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
    }.items():
        refused(checks, title, gateway, name, token)
    refused(checks, title, gateway, "no token", None, says="resource_metadata=")


def on_live_session(checks, title, gateway, issuer):
    alice = issuer.token(department=["lab"], groups=["guests"])
    session = gateway.session(alice)
    two = {"a": 1, "b": 2}
    checks.check(f"{title}: a claim that is let through decides", works(echo(session, 1, "get-sum", two)))
    show(session, issuer.token(groups=["guests"]))
    before = gateway.upstream()
    checks.check(f"{title}: without it the next request is denied", denied(echo(session, 2, "get-sum", two)))
    for name, token in {"another client's": issuer.token(azp="thief", department=["lab"]),
                        "another subject's": issuer.token(sub="mallory", department=["lab"])}.items():
        show(session, token)
        checks.same(f"{title}: {name} token opens no session of hers", echo(session, 3, "get-sum", two)[0], 404)
    show(session, issuer.token(exp=int(time.time()) - 1, department=["lab"]))
    checks.same(f"{title}: nor does her own that has expired", echo(session, 4, "get-sum", two)[0], 401)
    checks.same(f"{title}: and the server got nothing of these", gateway.upstream(), before)
    show(session, alice)
    checks.check(f"{title}: hers still does", works(echo(session, 5, "get-sum", two)))


def told_nothing(checks, title, gateway, tokens):
    """No token, nor its signature, is in what the server got, the operator reads or the log holds."""
    files = [path for path in Path(gateway.log).rglob("*") if path.is_file()]
    everything = gateway.tap.read_bytes() + gateway.stderr().encode() + b"".join(f.read_bytes() for f in files)
    found = [t for t in tokens if t.rsplit(".", 1)[1].encode() in everything or t.encode() in everything]
    checks.same(f"{title}: no token is told to anyone", len(found), 0)
    checks.check(f"{title}: nor any bearer to the server", b"eyJ" not in gateway.tap.read_bytes())


def all_of_them(checks):
    with main_tempdir() as directory:
        home = Path(directory)
        with Provider(home) as provider:
            checks.group("oidc, oidc-provider", by_sdk, home, provider)
        checks.group("oidc, Authlib", by_authlib, home)
