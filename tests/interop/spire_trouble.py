"""What a gateway does when SPIRE fails it: an agent that is killed, an entry that is deleted, a CA that is gone."""

import shutil
import time

import proofs
from gateways import (
    SHORT, Steady, echo, gateway, key_changes, not_after, refused_session, report, session, verify,
)
from harness import records, wait_for
from spire import Server, spiffe_id

GATEWAY = spiffe_id("/gateway-in-trouble")
LONG = 600


def told(serving, *words):
    """Whether a line of the operator's log holds all these words."""
    return any(all(word in line for word in words) for line in list(serving.lines))


def said_so(checks, title, serving, refused):
    """A call without a signing identity, and a session: refused, with a reason for people and one for machines."""
    checks.check(f"{title}: the call is refused with code 503, and says that there is no signing identity",
                 refused["code"] == 503 and "no signing identity" in refused["message"], refused)
    checks.same(f"{title}: its reason for machines", refused.get("reason"), "signer_unavailable")
    answer = refused_session(serving)
    checks.check(f"{title}: a new session is refused likewise",
                 answer and '"code":503' in answer and "no signing identity" in answer, answer)


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
            wait_for("newest key in the JWKS", lambda: time.time() > killed + 1)
            end = not_after(serving)
            checks.check(f"{title}: the SVID is valid for a while yet", end - killed > 5, end - killed)
            client.next_that("refused call", False, patience=end - time.time() + 15)
            refused = client.failed()[0]
            last = max(call["at"] for call in client.calls if call["ok"] and call["n"] < refused["n"])
            checks.check(f"{title}: calls go on until the SVID ends, not a second longer",
                         end - 2 < last < end + 1.5, f"last at {last - end:+.1f} s from its end")
            checks.check(f"{title}: none was refused before", refused["at"] > end - 1.5,
                         f"{refused['at'] - end:+.1f} s")
            # In its last second the key still signs the record of a refusal; the gap tells of those after it.
            wait_for("second after the SVID's last", lambda: time.time() > end + 2)
            client.several_more(5)
            said_so(checks, title, serving, refused)
            checks.check(f"{title}: the operator was told how long signing goes on",
                         told(serving, "WARN", "Signing goes on for"), serving.stderr()[-1500:])
            checks.check(f"{title}: and that it ended with the certificate", told(serving, "ERROR", "Nothing can be signed"),
                         serving.stderr()[-1500:])
            started = time.time()
            agent.run()
            back = client.next_that("call after the agent came back", True, patience=30)
            checks.check(f"{title}: service is back {back['at'] - started:.1f} s after the agent's start", back["ok"])
            alive(checks, title, serving, client, pid)
            later = client.several_more()
            checks.check(f"{title}: nothing fails any more", not client.failed(later), client.failed(later)[:2])
            client.finish()
            checks.same(f"{title}: the client kept its session", client.sessions[0], client.sessions[-1])
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
        left = end - refused["at"]
        checks.check(f"{title}: refused {took:.1f} s after the entry was deleted, {left:.0f} s before the SVID ends",
                     took < 8 and left > LONG / 2)
        said_so(checks, title, serving, refused)
        checks.check(f"{title}: the operator was told that the identity was withdrawn",
                     told(serving, "ERROR", "withdrawn"), serving.stderr()[-1500:])
        server.entry(agent, "/gateway-in-trouble", ttl=LONG)
        client.next_that("call after the entry came back", True, patience=30)
        alive(checks, title, serving, client, pid)
        return serving, client
    except Exception:
        client.__exit__()
        serving.__exit__()
        raise


def ca_rotation(checks, server, agent, home, serving, client):
    """SPIRE's CA is replaced and revoked: yesterday's log verifies with yesterday's bundle, and only with that."""
    title = "spire, CA rotation"
    old = server.bundle(home / "old.pem")
    archive = home / "archived-log"
    shutil.copytree(serving.log, archive)
    begin, changes = len(client.calls), len(key_changes(serving.log))
    before, said = server.authorities()["active"], len(agent.said())
    server.authority("prepare")
    server.authority("activate", server.authorities()["prepared"])
    server.authority("taint", before)
    wait_for("SVID of the new CA", lambda: len(key_changes(serving.log)) > changes, 40, every=0.25)
    client.several_more(5)
    seen = client.calls[begin:]
    failed = client.failed(seen)
    # While it replaces what the tainted CA signed, SPIRE's agent may take the SVID away for a moment; its log says so.
    # That is a withdrawal like any other, and refused as one.
    if "No identity issued" in agent.said()[said:]:
        failed = [call for call in failed if call.get("reason") != "signer_unavailable"] if len(failed) < 15 else failed
    checks.check(f"{title}: no call failed until the old CA was revoked ({len(seen)} calls)", not failed, failed[:3])
    with Steady(serving, "v1") as second:
        server.authority("revoke", before)
        new = server.bundle(home / "new.pem")
        checks.check(f"{title}: the bundle holds the new CA alone",
                     new.read_text().count("BEGIN CERTIFICATE") == 1 and new.read_text() not in old.read_text())
        wait_for("new bundle in the log", lambda: under_one_root(serving.log), 40, every=0.25)
        # Its token was signed under the CA that was revoked, and has not ended: nothing vouches for it any more.
        over = client.next_that("end of the first session", False)
        checks.check(f"{title}: a session under the revoked CA is over", "no such session" in over["message"], over)
        second.several_more()
        checks.check(f"{title}: a session under the new CA goes on ({len(second.calls)} calls)", not second.failed(),
                     second.failed()[:3])
        token = session(serving).session
        keys, _ = proofs.jwks(serving)
        good, said = proofs.openssl_chain(keys[proofs.header(token)["kid"]]["x5c"], new, home)
        checks.check(f"{title}: a new token's chain leads to the new bundle (openssl)", good, said)
        second.finish()
    client.finish()
    checks.same(f"{title}: serve ends with 0", serving.stop(), 0)
    of_both_authorities(checks, title, home, serving.log, archive, old, new)


def under_one_root(log):
    """Whether the bundle that was last in force holds one root."""
    newest = [r["predicate"]["key"]["bundle"] for r in records(log) if r["kind"] == "key-change"][-1]
    return (log / "trust" / "bundles" / f"{newest}.pem").read_text().count("BEGIN CERTIFICATE") == 1


def of_both_authorities(checks, title, home, log, archive, old, new):
    done = verify(home, archive, GATEWAY, old)
    checks.check(f"{title}: the archived log verifies with the old bundle", done.returncode == 0, report(done))
    done = verify(home, archive, GATEWAY, new)
    checks.check(f"{title}: with the new bundle alone it does not", done.returncode == 1, report(done))
    said = " ".join(done.stdout.split())
    checks.check(f"{title}: and verify says why", "key:" in said and "bundle" in said and "NOT VERIFIED" in said,
                 report(done))
    for name, bundles, wanted in (("both bundles", (old, new), 0), ("both, the other way round", (new, old), 0),
                                  ("the old one alone", (old,), 1), ("the new one alone", (new,), 1)):
        done = verify(home, log, GATEWAY, *bundles)
        checks.same(f"{title}: the log of both CAs, with {name}", done.returncode, wanted)


def entry_and_ca(checks, home):
    """Withdrawal, then the CA's rotation, on a SPIRE of its own: the CA is everyone's."""
    home = home / "authority"
    home.mkdir()
    with Server(home) as server, server.join(home) as agent:
        serving, client = withdrawal(checks, server, home, agent)
        with serving, client:
            ca_rotation(checks, server, agent, home, serving, client)
