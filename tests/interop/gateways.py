"""Gateways whose identity comes from a real SPIRE, and a client that calls through them all the time."""

import json
import subprocess
import threading
import time
from pathlib import Path

import proofs
import raw
from harness import EVERYTHING, HERE, Process, Serve, chancery, environment, records, wait_for, write_policies

PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'
# The shortest lifetime of an SVID with which a rotation never comes too late. SPIRE dates the certificate back by 10 s
# and renews it when about half of its validity is left, so one of 20 s is renewed
# 4 to 7 s after it was issued.
SHORT = 20


class SpireServe(Serve):
    """A gateway whose stderr is kept in its directory, for who has to look why a check failed."""

    def __exit__(self, *failure):
        super().__exit__(*failure)
        (self.home / "gateway.log").write_text(self.stderr())


def gateway(home, agent, spire=None, **more):
    """`chancery serve` with the identity of a SPIRE agent, before server-everything, on TCP and a Unix socket."""
    home = Path(home)
    home.mkdir(exist_ok=True)
    address, secret = home / "address", home / "bootstrap.secret"
    config = {
        "listen": {"tcp": "127.0.0.1:0", "address_file": str(address), "unix": str(home / "gateway.sock")},
        "admission": {"bootstrap": {"file": str(secret)}, "peer": {}},
        "identity": {"kind": "spire", "publish_ahead": "1s", "spire": {"socket": agent.endpoint, **(spire or {})}},
        **more,
    }
    server = {"command": EVERYTHING[0], "args": EVERYTHING[1:]}
    return SpireServe(home, write_policies(home, PERMIT_ALL), "everything", server, more=config)


def session(gateway):
    """A new session beside those that there are; its handle is its token."""
    return raw.Unix(gateway.home / "gateway.sock", gateway.url)


def refused_session(gateway):
    """What a new session is told; None when it is opened."""
    try:
        session(gateway)
        return None
    except RuntimeError as error:
        return str(error)


def echo(session, number=1):
    return json.loads(session.ask(raw.call(number, "echo", {"message": "through SPIRE"})))


def key_changes(log):
    """The records that name another key than the one before."""
    changes = [record for record in records(log) if record["kind"] == "key-change"]
    return [c for c in changes if c["predicate"]["previousKey"] != c["predicate"]["key"]["kid"]]


def verify(home, log, identity, *bundles):
    trust = [part for bundle in bundles for part in ("--trust-bundle", bundle)]
    return chancery(home, "verify", log, *trust, "--identity", identity, check=False)


def not_after(gateway):
    """When the key ends that ends last, of those that the gateway publishes; as time.time() counts."""
    keys, _ = proofs.jwks(gateway)
    return max(proofs.leaf(key).not_valid_after_utc.timestamp() for key in keys.values())


def report(done):
    """Of what `verify` printed, what it found."""
    told = [line for line in done.stdout.splitlines() if line.startswith(("finding", "NOT", "verified"))]
    return " ".join([*told[:3], *told[-1:], done.stderr[-500:]])


class Steady(Process):
    """A TypeScript SDK client that calls `echo` five times a second in one session until `finish`."""

    def __init__(self, gateway, kind="v2", per_second=5):
        self.calls, self.sessions = [], []
        spec = gateway.home / f"steady-{kind}.json"
        spec.write_text(json.dumps({"url": gateway.url, "headers": gateway.headers, "perSecond": per_second}))
        super().__init__(["node", str(HERE / "steady.mjs"), kind, str(spec)], environment(gateway.home),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        try:
            wait_for("session of the steady client", lambda: self.sessions or self._ended())
            wait_for("first call of the steady client", lambda: self.calls or self._ended())
        except Exception:
            self.__exit__()
            raise

    def _listen(self):
        for line in self.child.stdout:
            said = json.loads(line)
            if "session" in said:
                self.sessions.append(said["session"])
            else:
                self.calls.append({**said, "at": time.time()})

    def _ended(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"the steady client ended with {self.child.returncode}: {self.stderr()[-1500:]}")

    def failed(self, calls=None):
        return [call for call in (self.calls if calls is None else calls) if not call["ok"]]

    def next_that(self, what, ok, patience=60):
        """The first call that ends from now on with or without success."""
        begin = len(self.calls)

        def search():
            self._ended()
            return next((call for call in self.calls[begin:] if call["ok"] is ok), None)

        return wait_for(what, search, patience)

    def several_more(self, count=10):
        """The next so many calls, whatever becomes of them."""
        begin = len(self.calls)
        wait_for(f"{count} calls", lambda: self._ended() or len(self.calls) >= begin + count)
        return self.calls[begin:]

    def finish(self):
        """Ends it in order, after its last call's answer; returns its exit code."""
        self.child.stdin.close()
        code = self.child.wait(timeout=30)
        self.listener.join(timeout=5)
        return code
