"""SVIDs of each kind, what stops a start, `chancery run` in an environment with SPIRE, and a forged log."""

import http.client
import json
from pathlib import Path

import forge
import proofs
import raw
from gateways import PERMIT_ALL, echo, gateway, report, session, verify
from harness import (CHANCERY, EVERYTHING, chancery, environment, records, run_command, tapped, wait_for,
                     write_policies)
from spire import AGENT, Server, spiffe_id

GATEWAY = spiffe_id("/gateway-of-a-kind")
FORGER = spiffe_id("/mallory")


def start_fails(checks, what, home, agent, spire, *wanted):
    """A start with this identity ends with code 2, and the message holds all that is `wanted`."""
    try:
        with gateway(home / what.replace(" ", "-"), agent, {"initial_sync_timeout": "3s", **spire}):
            checks.check(f"spire, start: {what} is refused", False, "it serves")
    except RuntimeError as error:
        text = " ".join(str(error).split())
        checks.check(f"spire, start: {what} is refused, naming {', '.join(wanted)}",
                     "exited with 2" in text and all(part in text for part in wanted), text)


def start(checks, server, home):
    """What can be wrong at the start with a real agent."""
    home = home / "start"
    home.mkdir()
    with server.join(home) as agent, server.join(home, key_type="rsa-2048") as rsa:
        start_fails(checks, "a process without an entry", home, agent, {}, "spire-server entry create", "unix:uid")
        server.entry(rsa, "/gateway-of-a-kind")
        rsa.fetch(GATEWAY)
        start_fails(checks, "an RSA SVID", home, rsa, {}, "workload_x509_svid_key_type", "RSA")
        server.entry(agent, "/gateway-of-a-kind", hint="internal")
        agent.fetch(GATEWAY)
        start_fails(checks, "a SPIFFE ID that is not offered", home, agent, {"spiffe_id": spiffe_id("/nobody")},
                    spiffe_id("/nobody"), GATEWAY)
        start_fails(checks, "a hint that is not offered", home, agent, {"hint": "external"}, "external", "internal")
        start_fails(checks, "another trust domain", home, agent, {"spiffe_id": "spiffe://elsewhere.test/gateway"},
                    "elsewhere.test", "chancery.test")
        start_fails(checks, "a socket that is not there", home, agent, {"socket": f"unix://{home}/nothing.sock"},
                    "nothing.sock")


def p384(checks, home):
    """P-384, from a SPIRE whose own CA is below a root elsewhere, so that the chain has an intermediate CA."""
    title, home = "spire, P-384", home / "p384"
    home.mkdir()
    with Server(home, upstream=True) as server, server.join(home, key_type="ec-p384") as agent:
        server.entry(agent, "/gateway-of-a-kind")
        agent.fetch(GATEWAY)
        bundle = server.bundle(home / "bundle.pem")
        with gateway(home / "gateway", agent) as serving:
            one = session(serving)
            checks.check(f"{title}: a call works", "result" in echo(one))
            token = one.session
            kid = proofs.header(token)["kid"]
            keys, _ = proofs.jwks(serving)
            checks.same(f"{title}: alg of the token and of its key", [proofs.header(token)["alg"], keys[kid]["alg"]],
                        ["ES384", "ES384"])
            checks.same(f"{title}: PyJWT verifies the token", proofs.by_pyjwt(serving, token, GATEWAY)["iss"], GATEWAY)
            believed = proofs.by_jose(serving, [token], GATEWAY, serving.home)
            checks.same(f"{title}: jose verifies the token", [one.get("kid") for one in believed], [kid])
            x5c = keys[kid]["x5c"]
            checks.same(f"{title}: x5c holds leaf and intermediate CA, not the root", len(x5c), 2)
            good, said = proofs.openssl_chain(x5c, bundle, home)
            checks.check(f"{title}: openssl leads x5c to the bundle that spire-server shows", good, said)
            good, said = proofs.openssl_chain(x5c[:1], bundle, home)
            checks.check(f"{title}: the leaf alone it does not", not good, said)
            serving.stop()
        restarted(checks, title, home, agent, token, kid)
        known, wrong = proofs.signatures(serving.log, GATEWAY)
        checks.check(f"{title}: cryptography verifies every record", known == [kid] and not wrong, [known, wrong[:3]])
        done = verify(home, serving.log, GATEWAY, bundle)
        checks.check(f"{title}: the log of both runs verifies", done.returncode == 0, report(done))


def restarted(checks, title, home, agent, token, kid):
    """Another run in the same directories."""
    with gateway(home / "gateway", agent) as serving:
        checks.same(f"{title}: after a restart the token still verifies by the JWKS",
                    proofs.by_pyjwt(serving, token, GATEWAY)["iss"], GATEWAY)
        live, _ = proofs.jwks(serving)
        shown = json.loads(chancery(serving.home, "keys", "jwks", "-c", serving.home / "chancery.yaml").stdout)
        checks.same(f"{title}: `chancery keys jwks` shows what the endpoint serves",
                    {key["kid"]: key for key in shown["keys"]}, live)
        checks.check(f"{title}: with the key of the run before", kid in live, list(live))
        serving.stop()


def jwt_svid(checks, server, home):
    """A JWT-SVID of SPIRE's, for the gateway's own name as audience, where a session's token or a bearer belongs."""
    title, home = "spire, JWT-SVID", home / "jwt"
    home.mkdir()
    tap = home / "tap"
    with server.join(home) as agent:
        server.entry(agent, "/gateway-of-a-kind")
        agent.fetch(GATEWAY)
        command = tapped(EVERYTHING, tap)
        servers = {"everything": {"command": command[0], "args": command[1:]}}
        with gateway(home / "gateway", agent, servers=servers, refusal_summary="1s") as serving:
            one = raw.Http(serving.url, serving.headers)
            checks.check(f"{title}: a call works", "result" in echo(one))
            svid = agent.fetch_jwt(GATEWAY)
            checks.same(f"{title}: it is the workload's", proofs.claims(svid)["sub"], GATEWAY)
            before = tap.read_bytes()
            for method in ("POST", "GET", "DELETE"):
                said = status(one, method, {"Mcp-Session-Id": svid})
                checks.same(f"{title}: as a session's token it opens nothing by {method}", said, 404)
                said = status(one, method, {"Authorization": f"Bearer {svid}"})
                checks.same(f"{title}: as a bearer it admits nobody by {method}", said, 401)
            checks.check(f"{title}: the tool server got no byte", tap.read_bytes() == before)
            checks.check(f"{title}: the session goes on", "result" in echo(one, 2))
            counted = wait_for("counts", lambda: "invalid_session_token 3" in serving.stderr() and serving.stderr())
            checks.check(f"{title}: both are counted", "wrong_secret 3" in counted, counted[-600:])
            serving.stop()


def status(client, method, headers):
    """The status of a request with other headers than the client's."""
    connection = http.client.HTTPConnection(client.netloc, timeout=raw.PATIENCE)
    body = json.dumps(raw.call(9, "echo", {"message": "stolen"})) if method == "POST" else None
    connection.request(method, client.path, body, {**client.headers, **headers})
    return connection.getresponse().status


def run_and_forgery(checks, server, home):
    """`chancery run`, with nothing configured but SPIRE's variable; then another workload forges its log."""
    title, home = "spire, run", home / "run"
    home.mkdir()
    with server.join(home) as agent:
        # The forger is this same user, in another program: SPIRE's client. Its SVID is there before the gateway's.
        server.entry(agent, "/mallory", f"unix:path:{AGENT}")
        agent.fetch(FORGER)
        server.entry(agent, "/gateway-of-a-kind", f"unix:path:{Path(CHANCERY).resolve()}")
        wrapped = run_command(home, write_policies(home, PERMIT_ALL), EVERYTHING, name="everything")
        env = {**environment(home), "SPIFFE_ENDPOINT_SOCKET": agent.endpoint}
        command = [wrapped["command"], *wrapped["args"]]
        with raw.Stdio(command, home, env=env) as client:
            checks.check(f"{title}: a call works", "result" in echo(client))
            given = json.loads(client.first)["result"]["_meta"]["chancery/session"]["token"]
            checks.same(f"{title}: the token is SPIRE's gateway's", proofs.claims(given)["iss"], GATEWAY)
            checks.same(f"{title}: it ends with 0", client.close(), 0)
            only = all(json.loads(line).get("jsonrpc") == "2.0" for line in client.all)
            checks.check(f"{title}: nothing but protocol on stdout", only)
        log, bundle = home / "log", server.bundle(home / "bundle.pem")
        kids = {record["keyid"] for record in records(log)}
        checks.same(f"{title}: the records' key id is the token's kid", list(kids), [proofs.header(given)["kid"]])
        done = verify(home, log, GATEWAY, bundle)
        checks.check(f"{title}: the log verifies with the bundle that spire-server shows", done.returncode == 0,
                     report(done))
        _, chain, key, _ = agent.fetch(FORGER)
        forged(checks, home, log, bundle, chain, key)


def forged(checks, home, log, bundle, chain, key):
    title = "spire, forgery"

    def denied(text):
        return text.replace('"effect":"allow"', '"effect":"deny"')

    for how in (forge.ITS_OWN_NAME, forge.OWN_KEY_ID, forge.LYING_KEY_ID):
        out = home / f"forged-{how.split()[0]}-{len(how)}"
        forge.forge(log, out, chain, key, how, edit=denied if how == forge.ITS_OWN_NAME else str)
        done = verify(home, out, GATEWAY, bundle)
        said = " ".join(done.stdout.split())
        checks.check(f"{title}: where {how}, verify fails and names the forger",
                     done.returncode == 1 and FORGER in said, report(done))
        if how == forge.ITS_OWN_NAME:
            # So it is the name that gave it away, and not a clumsy forger: whoever asks for mallory's log gets one.
            done = verify(home, out, FORGER, bundle)
            checks.check(f"{title}: as the forger's own log it would verify", done.returncode == 0,
                         report(done))
