"""What a third person can check of tokens and logs with libraries of others: PyJWT, jose, openssl, cryptography."""

import base64
import hashlib
import json
import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import HERE, environment
from spire import uris

# The JWKS client of PyJWT asks the environment for a proxy; what it asks here is on loopback.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
TYP = "mcp-session+jwt"


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(der):
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def jwks_url(gateway):
    return f"{gateway.base}/.well-known/jwks.json"


def jwks(gateway):
    """The keys by kid, and the answer's headers."""
    with urllib.request.urlopen(jwks_url(gateway), timeout=20) as answer:
        return {key["kid"]: key for key in json.load(answer)["keys"]}, answer.headers


def leaf(key):
    """The certificate of a JWKS entry."""
    return x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0]))


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def header(token):
    return jwt.get_unverified_header(token)


def claims(token):
    """What it says, unverified: for the audience, which the verifier has to know."""
    return jwt.decode(token, options={"verify_signature": False})


def decoded(token, key, issuer):
    needed = ["exp", "iat", "nbf", "iss", "sub", "aud", "jti", "sid"]
    said = claims(token)
    return jwt.decode(token, key, algorithms=["ES256", "ES384"], issuer=issuer, audience=said["aud"],
                      options={"require": needed})


def by_pyjwt(gateway, token, issuer):
    """The verified claims, with the key that PyJWT's own client finds at the live endpoint."""
    found = jwt.PyJWKClient(jwks_url(gateway)).get_signing_key_from_jwt(token)
    return decoded(token, found.key, issuer)


def by_chain(key, token, issuer):
    """The verified claims, with the public key of the certificate in `x5c`; and that certificate."""
    certificate = leaf(key)
    return decoded(token, certificate.public_key(), issuer), certificate


def by_jose(gateway, tokens, issuer, home):
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=home) as spec:
        json.dump({"jwks": jwks_url(gateway), "issuer": issuer, "typ": TYP, "tokens": tokens}, spec)
        spec.flush()
        done = subprocess.run(["node", str(HERE / "jose.mjs"), spec.name], env=environment(home),
                              capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"jose.mjs: {done.stderr[-1500:]}")
    return json.loads(done.stdout)


def openssl_chain(x5c, bundle, home):
    """Whether `openssl verify` leads the chain of a JWKS entry to a bundle; what it said."""
    with tempfile.TemporaryDirectory(dir=home) as directory:
        files = []
        for number, text in enumerate(x5c):
            certificate = x509.load_der_x509_certificate(base64.b64decode(text))
            files.append(Path(directory) / f"{number}.pem")
            files[-1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        between = [part for file in files[1:] for part in ("-untrusted", str(file))]
        done = subprocess.run(["openssl", "verify", "-CAfile", str(bundle), *between, str(files[0])],
                              capture_output=True, text=True, timeout=20)
        return done.returncode == 0, done.stdout + done.stderr


def envelopes(log):
    """Each record of a log as its DSSE envelope: (key id, payload, pre-authentication encoding, signature)."""
    for segment in sorted(Path(log).glob("records/*.intoto.jsonl")):
        for line in segment.read_bytes().splitlines():
            envelope = json.loads(line)
            payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
            signature = envelope["signatures"][0]
            yield signature["keyid"], payload, pae(kind, payload), base64.b64decode(signature["sig"])


def pae(kind, payload):
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def archived(log, kid):
    """The archived chain of a key id."""
    name = unpadded(kid.rsplit("#", 1)[1]).hex()
    return Path(log) / "trust" / "chains" / f"{name}.pem"


def signatures(log, identity):
    """Verifies every signature of a log with `cryptography`; returns the key ids, and what is wrong."""
    keys, wrong = {}, []
    for number, (kid, _, encoded, signature) in enumerate(envelopes(log)):
        if kid not in keys:
            own = x509.load_pem_x509_certificates(archived(log, kid).read_bytes())[0]
            if uris(own) != [identity] or kid != f"{identity}#{thumbprint(der(own))}":
                wrong.append(f"record {number}: {kid} is not of {uris(own)}")
            keys[kid] = own.public_key()
        key = keys[kid]
        digest = hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
        try:
            key.verify(signature, encoded, ec.ECDSA(digest))
        except InvalidSignature:
            wrong.append(f"record {number}: the signature is not {kid}'s")
    return list(keys), wrong


def openssl_signature(log, home):
    """Verifies the last record of a log with `openssl` alone; what it said."""
    kid, _, encoded, signature = list(envelopes(log))[-1]
    with tempfile.TemporaryDirectory(dir=home) as directory:
        files = {name: Path(directory) / name for name in ("pae", "sig", "key.pem")}
        files["pae"].write_bytes(encoded)
        files["sig"].write_bytes(signature)
        openssl = ["openssl", "x509", "-in", str(archived(log, kid)), "-noout", "-pubkey"]
        files["key.pem"].write_bytes(subprocess.run(openssl, capture_output=True, check=True, timeout=20).stdout)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", str(files["key.pem"]), "-signature",
                               str(files["sig"]), str(files["pae"])], capture_output=True, text=True, timeout=20)
        return done.stdout.strip() or done.stderr.strip()
