"""A forger: another workload of the same trust domain rewrites a gateway's log and signs it with its own valid SVID.

Every record is signed anew, and whatever names a record or a key by digest is led along, so that nothing but the
signer's name can give the forgery away.
"""

import base64
import json
import re
import shutil
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import proofs
from spire import uris

# How far the forger goes in lying about who it is.
ITS_OWN_NAME = "everything names the forger"
OWN_KEY_ID = "the records name the gateway, the key ids the forger"
LYING_KEY_ID = "records and key ids name the gateway"


def forge(log, out, chain, key, how, edit=lambda text: text):
    """Writes to `out` the log with each payload changed by `edit`, signed by the forger's SVID."""
    log, out = Path(log), Path(out)
    shutil.copytree(log, out)
    leaf = x509.load_pem_x509_certificates(Path(chain).read_bytes())[0]
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    (forger,) = uris(leaf)
    about = json.loads((log / "log.json").read_text())
    gateway = next(value for value in about.values() if isinstance(value, str) and value.startswith("spiffe://"))
    thumb = proofs.thumbprint(proofs.der(leaf))
    kid = f"{gateway if how == LYING_KEY_ID else forger}#{thumb}"
    shutil.copy(chain, proofs.archived(out, kid))

    # Digests that the records hold of what is replaced: the gateway's leafs, and each payload as it is rewritten.
    digests = {file.stem: proofs.unpadded(thumb).hex() for file in (log / "trust" / "chains").glob("*.pem")}
    validity = {"notBefore": leaf.not_valid_before_utc, "notAfter": leaf.not_valid_after_utc}
    key_id = re.compile(re.escape(gateway) + r"#[A-Za-z0-9_-]{43}")
    for segment in sorted(out.glob("records/*.intoto.jsonl")):
        lines = []
        for line in segment.read_bytes().splitlines():
            envelope = json.loads(line)
            payload = base64.b64decode(envelope["payload"])
            text = key_id.sub("\0", payload.decode())
            if how == ITS_OWN_NAME:
                text = text.replace(gateway, forger)
            text = edit(text.replace("\0", kid))
            text = re.sub(r"[0-9a-f]{64}", lambda found: digests.get(found.group(), found.group()), text)
            for name, moment in validity.items():
                text = re.sub(f'"{name}":"[^"]*"', f'"{name}":"{moment:%Y-%m-%dT%H:%M:%S}.000Z"', text)
            digests[sha256(payload).hexdigest()] = sha256(text.encode()).hexdigest()
            kind = envelope["payloadType"].encode()
            signature = private.sign(proofs.pae(kind, text.encode()), ec.ECDSA(hashes.SHA256()))
            envelope["payload"] = base64.b64encode(text.encode()).decode()
            envelope["signatures"] = [{"keyid": kid, "sig": base64.b64encode(signature).decode()}]
            lines.append(json.dumps(envelope, separators=(",", ":")).encode() + b"\n")
        segment.write_bytes(b"".join(lines))
    if how == ITS_OWN_NAME:
        (out / "log.json").write_text((log / "log.json").read_text().replace(gateway, forger))
    return forger
