"""What a gateway does when SPIRE fails it: an agent that is killed, an entry that is deleted, a CA that is gone."""

import shutil
import time

import proofs
from gateways import SHORT, Steady, echo, gateway, key_changes, not_after, report, session, verify
from harness import records, wait_for
from spire import Server, spiffe_id

GATEWAY = spiffe_id("/gateway-in-trouble")
LONG = 600


def refused_session(serving):
    """What a new session is told; None when it is opened."""
    try:
        session(serving)
        return None
    except RuntimeError as error:
        return str(error)


def alive(checks, title, serving, client, pid):
    checks.same(f"{title}: it is the same process", [serving.child.poll(), serving.child.pid], [None, pid])
    checks.check(f"{title}: the client's session goes on", client.next_that("call", True), client.failed()[-2:])
    checks.check(f"{title}: new sessions are opened", "result" in echo(session(serving)))


def outage(checks, server, home):
    """The agent is killed: signing goes on until the SVID ends, then nothing; the agent comes back: so does service."""
    title, home = "spire, outage", home / "outage"
    home.mkdir()
    with server.join(home) as agent:
        server.entry(agent, "/gateway-in-trouble", ttl=SHORT, hint="internal")
        agent.fetch(GATEWAY)
        with gateway(home / "gateway", agent, {"hint": "internal"}) as serving, Steady(serving, "v1") as client:
            pid = serving.child.pid
            agent.kill()
            killed = time.time()
            # What the agent had sent before it died is seen at once.
            wait_for("newest key in the JWKS", lambda: time.time() - killed > 0.2)
            end = not_after(serving)
            checks.check(f"{title}: the SVID is valid for a while yet", end - killed > 5, end - killed)
            refused = client.next_that("refused call", False, patience=end - time.time() + 15)
            last = max(call["at"] for call in client.calls if call["ok"])
            checks.check(f"{title}: calls go on until the SVID ends, not a second longer",
                         end - 2 < last < end + 1.5, f"last at {last - end:+.1f} s from its end")
            checks.check(f"{title}: none was refused before", refused["at"] > end - 1.5, f"{refused['at'] - end:+.1f} s")
            text = refused["message"]
            checks.check(f"{title}: the refusal has code 503 and says that the signing certificate has ended",
                         refused["code"] == 503 and "expired" in text and GATEWAY in text, refused)
            told = refused_session(serving)
            checks.check(f"{title}: a new session is refused, with the reason", told and "expired" in told, told)
            warning = next((line for line in serving.lines if "WARN" in line and "signing goes on for" in line), None)
            checks.check(f"{title}: the operator was warned, with the time left", warning, serving.stderr()[-1500:])
            since = len(client.calls)
            agent.run()
            client.next_that("call after the agent came back", True, patience=30)
            back = time.time()
            between = [call for call in client.calls[since:] if call["ok"]][0]
            checks.check(f"{title}: service came back {back - end:.0f} s after the SVID's end", between["ok"])
            alive(checks, title, serving, client, pid)
            client.finish()
            checks.same(f"{title}: the client kept its session", client.sessions[0], client.sessions[-1])
            recovered = max(call["n"] for call in client.failed())
            later = [call for call in client.calls if call["n"] > recovered + 5]
            checks.check(f"{title}: nothing failed afterwards", later and not client.failed(later), client.failed(later)[:2])
            serving.stop()
        done = verify(home, serving.log, GATEWAY, server.bundle(home / "bundle.pem"))
        checks.check(f"{title}: the log verifies", done.returncode == 0, report(done))
        gaps = [r["predicate"] for r in records(serving.log) if r["kind"] == "gap"]
        checks.check(f"{title}: the log tells of the gap", gaps and all(gap["refused"] > 0 for gap in gaps), gaps)


def withdrawal(checks, server, home, agent):
    """The entry is deleted: refused at once; it is created again: service comes back. Returns the running gateway."""
    title = "spire, withdrawal"
    entry = server.entry(agent, "/gateway-in-trouble", ttl=LONG)
    agent.fetch(GATEWAY)
    serving = gateway(home / "gateway", agent)
    try:
        client = Steady(serving)
    except Exception:
        serving.__exit__()
        raise
    try:
        pid, end = serving.child.pid, not_after(serving)
        deleted = time.time()
        server.forget(entry)
        refused = client.next_that("refused call", False, patience=20)
        took = refused["at"] - deleted
        checks.check(f"{title}: refused {took:.1f} s after the entry was deleted, {end - refused['at']:.0f} s before the SVID ends",
                     took < 8 and end - refused["at"] > LONG / 2)
        checks.check(f"{title}: the refusal has code 503 and says that the identity was withdrawn",
                     refused["code"] == 503 and "withdrawn" in refused["message"], refused)
        told = refused_session(serving)
        checks.check(f"{title}: a new session is refused, with the reason", told and "withdrawn" in told, told)
        server.entry(agent, "/gateway-in-trouble", ttl=LONG)
        client.next_that("call after the entry came back", True, patience=30)
        alive(checks, title, serving, client, pid)
        return serving, client
    except Exception:
        client.__exit__()
        serving.__exit__()
        raise


def ca_rotation(checks, server, home, serving, client):
    """SPIRE's CA is replaced and revoked: yesterday's log verifies with yesterday's bundle, and only with that."""
    title = "spire, CA rotation"
    old = server.bundle(home / "old.pem")
    archive = home / "archived-log"
    shutil.copytree(serving.log, archive)
    begin, changes = len(client.calls), len(key_changes(serving.log))
    before = server.authorities()["active"]
    server.authority("prepare")
    server.authority("activate", server.authorities()["prepared"])
    server.authority("taint", before)
    wait_for("SVID of the new CA", lambda: len(key_changes(serving.log)) > changes, 40)
    server.authority("revoke", before)
    new = server.bundle(home / "new.pem")
    checks.check(f"{title}: the bundle holds the new CA alone", new.read_text().count("BEGIN CERTIFICATE") == 1
                 and new.read_text() not in old.read_text())

    def under_new_alone():
        newest = [r["predicate"]["key"]["bundle"] for r in records(serving.log) if r["kind"] == "key-change"][-1]
        pem = (serving.log / "trust" / "bundles" / f"{newest}.pem").read_text()
        return pem.count("BEGIN CERTIFICATE") == 1

    wait_for("new bundle in the log", under_new_alone, 40)
    client.next_that("call after the revocation", True)
    seen = client.calls[begin:]
    checks.check(f"{title}: no call failed meanwhile ({len(seen)} calls)", len(seen) > 5 and not client.failed(seen),
                 client.failed(seen)[:3])
    token = session(serving).session
    keys, _ = proofs.jwks(serving)
    good, said = proofs.openssl_chain(keys[proofs.header(token)["kid"]]["x5c"], new, home)
    checks.check(f"{title}: a new token's chain leads to the new bundle (openssl)", good, said)
    client.finish()
    checks.same(f"{title}: serve ends with 0", serving.stop(), 0)

    done = verify(home, archive, GATEWAY, old)
    checks.check(f"{title}: the archived log verifies with the old bundle", done.returncode == 0, report(done))
    done = verify(home, archive, GATEWAY, new)
    checks.check(f"{title}: with the new bundle alone it does not", done.returncode == 1, report(done))
    said = " ".join(done.stdout.split())
    checks.check(f"{title}: and verify says why", "key:" in said and "bundle" in said and "NOT VERIFIED" in said, said[:900])
    for name, bundles, wanted in (("both bundles", (old, new), 0), ("both, the other way round", (new, old), 0),
                                  ("the old one alone", (old,), 1), ("the new one alone", (new,), 1)):
        done = verify(home, serving.log, GATEWAY, *bundles)
        checks.same(f"{title}: the log of both CAs, with {name}", done.returncode, wanted)


def entry_and_ca(checks, home):
    """Withdrawal, then the CA's rotation, on a SPIRE of its own: the CA is everyone's."""
    home = home / "authority"
    home.mkdir()
    with Server(home) as server, server.join(home) as agent:
        serving, client = withdrawal(checks, server, home, agent)
        with serving, client:
            ca_rotation(checks, server, home, serving, client)
