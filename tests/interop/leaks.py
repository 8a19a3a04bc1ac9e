"""Whether a secret stands where none may: in a gateway's log, in what it said, in what its tool servers were sent.

Every gateway of every group is searched when it ends; `main.py` tells what was found at the end of the run.
"""

import base64
import re
import threading
from pathlib import Path

# A signed token, whoever issued it: none has any business in what a gateway leaves behind.
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{40,}={0,2}")

lock = threading.Lock()
searched, found = [], []


def spellings(secret):
    """How a secret could stand somewhere: as it is, in hex, inside of base64, and the same of the bytes it encodes."""
    texts = [secret.encode()]
    try:
        texts.append(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))
    except ValueError:
        pass
    out = set(texts)
    for text in texts:
        out |= {text.hex().encode(), text.hex().upper().encode()}
        for before in range(3):
            padded = b"\0" * before + text
            first, last = -(-before * 8 // 6), len(padded) * 8 // 6
            out |= {base64.b64encode(padded)[first:last], base64.urlsafe_b64encode(padded)[first:last]}
    return out


def hits(data, secrets):
    """What of it stands in `data`, and in what `data` holds in base64."""
    yield from ("a secret" for secret in secrets if secret in data)
    yield from ("a token" for _ in TOKEN.finditer(data))
    for run in BASE64.finditer(data):
        text = run.group().rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        if TOKEN.search(base64.b64decode(text[: len(text) // 4 * 4])):
            yield "a token in base64"


def search(name, secret, said, *places):
    """Searches what was said, and every file at or below `places`."""
    secrets = spellings(secret)
    texts = {f"{name}: stderr": said.encode()}
    for place in map(Path, places):
        for file in [place] if place.is_file() else sorted(place.rglob("*")):
            if file.is_file():
                texts[f"{name}: {file}"] = file.read_bytes()
    bad = [f"{what} in {where}" for where, data in texts.items() for what in set(hits(data, secrets))]
    with lock:
        searched.append(name)
        found.extend(bad)


def all_of_them(checks):
    """The last check of a run; that the search finds what is planted comes first."""
    secret = base64.urlsafe_b64encode(bytes(range(32, 64))).decode().rstrip("=")
    token = f"eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.{secret}.{secret}".encode()
    for planted in (secret.encode(), base64.b64encode(b"x" + secret.encode()), bytes(range(32, 64)).hex().encode(), token,
                    base64.b64encode(b'{"payload":"' + token + b'"}')):
        checks.check("secrets: one that is planted is found", list(hits(b"... " + planted + b" ...", spellings(secret))))
    checks.same(f"secrets: none in what {len(searched)} gateways logged, said and sent on", found, [])
