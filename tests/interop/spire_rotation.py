"""One identity behind tokens and records, proved by other people's tools, and a client that calls through rotations."""

import json
import time

import proofs
from gateways import SHORT, Steady, echo, gateway, key_changes, report, session, verify
from harness import records, wait_for
from spire import spiffe_id, uris

GATEWAY = spiffe_id("/gateway")
TITLE = "spire, rotation"


def of_one_key(checks, serving, svid, token, bundle):
    """What one token says, and who else believes it."""
    kid = proofs.header(token)["kid"]
    keys, headers = proofs.jwks(serving)
    checks.check(f"{TITLE}: the token's kid names the gateway's SPIFFE ID", kid.startswith(f"{GATEWAY}#"), kid)
    checks.same(f"{TITLE}: the token's typ", proofs.header(token)["typ"], proofs.TYP)
    checks.same(f"{TITLE}: the token's alg", proofs.header(token)["alg"], "ES256")
    checks.check(f"{TITLE}: the JWKS holds the token's key", kid in keys, list(keys))
    key = keys[kid]
    age = headers.get("Cache-Control", "")
    checks.check(f"{TITLE}: the JWKS may be cached no longer than a key is published ahead",
                 "max-age=1" in age.split(", "), age)
    by_url = proofs.by_pyjwt(serving, token, GATEWAY)
    by_x5c, leaf = proofs.by_chain(key, token, GATEWAY)
    checks.same(f"{TITLE}: PyJWT verifies it by the live JWKS and by x5c alike", by_url, by_x5c)
    checks.check(f"{TITLE}: it ends no later than its certificate",
                 by_url["exp"] <= leaf.not_valid_after_utc.timestamp())
    checks.same(f"{TITLE}: the certificate's only URI is the SPIFFE ID", uris(leaf), [GATEWAY])
    der = proofs.der(leaf)
    checks.same(f"{TITLE}: x5t#S256 and kid are the certificate's", [key["x5t#S256"], kid],
                [proofs.thumbprint(der), f"{GATEWAY}#{proofs.thumbprint(der)}"])
    checks.same(f"{TITLE}: the key is for signatures", [key["use"], key["alg"]], ["sig", "ES256"])
    checks.check(f"{TITLE}: the certificate is the SVID that SPIRE's own client is given",
                 proofs.der(svid) in [proofs.der(proofs.leaf(other)) for other in keys.values()])
    good, said = proofs.openssl_chain(key["x5c"], bundle, serving.home)
    checks.check(f"{TITLE}: openssl leads x5c to the bundle that spire-server shows", good, said)


def rotation(checks, server, home):
    """One gateway from its first SVID to its third."""
    home = home / "rotation"
    home.mkdir()
    with server.join(home) as agent:
        # Two identities for this user, so that the configured one has to be chosen; and the entry last of all, so
        # that the SVID is young when the gateway begins.
        server.entry(agent, "/another-of-this-user", hint="external")
        server.entry(agent, "/gateway", ttl=SHORT, hint="internal")
        svid, *_ = agent.fetch(GATEWAY)
        bundle = server.bundle(home / "bundle.pem")
        with gateway(home / "gateway", agent, {"spiffe_id": GATEWAY}) as serving, Steady(serving) as client:
            first = session(serving)
            checks.check(f"{TITLE}: a call works", "result" in echo(first))
            of_one_key(checks, serving, svid, first.session, bundle)
            tokens = one_of_each_key(serving, first.session)
            of_all_keys(checks, serving, tokens)
            client.next_that("call after the last rotation", True)
            code = client.finish()
            checks.same(f"{TITLE}: the client ends in order", code, 0)
            checks.same(f"{TITLE}: the client kept its session", client.sessions[0], client.sessions[-1])
            checks.check(f"{TITLE}: no call failed through two rotations ({len(client.calls)} calls)",
                         len(client.calls) > 30 and not client.failed(), client.failed()[:3])
            code = serving.stop()
            checks.same(f"{TITLE}: serve ends with 0", code, 0)
        of_the_log(checks, serving, tokens, bundle)


def one_of_each_key(serving, first):
    """Tokens of three keys in a row, all of them in force for some seconds more."""
    tokens = [first]

    def enough():
        current = key_changes(serving.log)[-1:]
        if current and current[0]["keyid"] != proofs.header(tokens[-1])["kid"]:
            tokens.append(session(serving).session)
        return len(tokens) >= 3 and proofs.claims(tokens[-3])["exp"] > time.time() + 4

    wait_for("tokens of three keys", enough, 60, every=0.25)
    return tokens[-3:]


def of_all_keys(checks, serving, tokens):
    """At the end of it, the tokens of all three keys."""
    kids = [proofs.header(token)["kid"] for token in tokens]
    checks.check(f"{TITLE}: three tokens, three keys, one SPIFFE ID",
                 len(set(kids)) == 3 and {kid.split("#")[0] for kid in kids} == {GATEWAY}, kids)
    believed = [proofs.by_pyjwt(serving, token, GATEWAY)["iss"] for token in tokens]
    checks.same(f"{TITLE}: PyJWT verifies a token of each key by the JWKS", believed, [GATEWAY] * 3)
    believed = proofs.by_jose(serving, tokens, GATEWAY, serving.home)
    checks.same(f"{TITLE}: jose verifies a token of each key by the JWKS", [one.get("kid") for one in believed], kids)
    head, body, signature = tokens[0].split(".")
    other = [".".join([head, tokens[1].split(".")[1], signature]), ".".join([head, body, tokens[1].split(".")[2]])]
    refused = proofs.by_jose(serving, other, GATEWAY, serving.home)
    checks.check(f"{TITLE}: jose refuses another body, and another key's signature",
                 all("ERR_JWS_SIGNATURE_VERIFICATION_FAILED" in one.get("error", "") for one in refused), refused)


def of_the_log(checks, serving, tokens, bundle):
    home, log = serving.home, serving.log
    done = verify(home, log, GATEWAY, bundle)
    checks.check(f"{TITLE}: the log verifies with the bundle that spire-server shows", done.returncode == 0,
                 report(done))
    all_records = records(log)
    keyids = list(dict.fromkeys(record["keyid"] for record in all_records))
    kids = [proofs.header(token)["kid"] for token in tokens]
    at = keyids.index(kids[0]) if kids[0] in keyids else 0
    checks.same(f"{TITLE}: the records' key ids are the tokens' kids, in the same order", keyids[at:at + 3], kids)
    carried = [r for r in all_records if (r["predicate"].get("token") or {}).get("kid")]
    checks.check(f"{TITLE}: every token that a record names is of one of these keys",
                 carried and {r["predicate"]["token"]["kid"] for r in carried} <= set(keyids))
    changes = key_changes(log)
    checks.check(f"{TITLE}: the log has the key changes ({len(changes)})", len(changes) >= 2)
    linked = [(c["predicate"]["previousKey"], c["predicate"]["key"]["kid"], c["keyid"]) for c in changes]
    wanted = [(before, now, now) for before, now in zip(keyids, keyids[1:], strict=False)]
    checks.same(f"{TITLE}: each key change is signed by the new key and names the one before", linked, wanted)
    known, wrong = proofs.signatures(log, GATEWAY)
    checks.check(f"{TITLE}: cryptography verifies each of the {len(all_records)} signatures by the archived chains",
                 known == keyids and not wrong, wrong[:3])
    checks.same(f"{TITLE}: openssl verifies a record's signature", proofs.openssl_signature(log, home), "Verified OK")
    text = json.dumps(all_records)
    checks.check(f"{TITLE}: no token stands in the log", not any(token in text for token in tokens))
    kept = list((home / "state" / "chancery" / "spire").rglob("*"))
    secret = [str(file) for file in kept if file.is_file() and b"PRIVATE" in file.read_bytes()]
    checks.check(f"{TITLE}: public chains are kept, private keys are not", kept and not secret, secret)
