"""What the checks share: the tally, the clients, and gateways started on fresh directories."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import leaks

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
CHANCERY = os.environ.get("CHANCERY_BIN", "")
PACKAGES = CACHE / "node" / "node_modules" / "@modelcontextprotocol"
EVERYTHING = ["node", str(PACKAGES / "server-everything" / "dist" / "index.js")]
FILESYSTEM = ["node", str(PACKAGES / "server-filesystem" / "dist" / "index.js")]
MEMORY = ["node", str(PACKAGES / "server-memory" / "dist" / "index.js")]
THINKING = ["node", str(PACKAGES / "server-sequential-thinking" / "dist" / "index.js")]
CLIENTS = {
    "ts-v1": ["node", str(HERE / "client.mjs"), "v1"],
    "ts-v2": ["node", str(HERE / "client.mjs"), "v2"],
    "py-v1": [str(CACHE / "py-v1" / "bin" / "python"), str(HERE / "client_v1.py")],
    "py-v2": [str(CACHE / "py-v2" / "bin" / "python"), "-W", "ignore", str(HERE / "client_v2.py")],
}
PATIENCE = 90


class Checks:
    """Counts and prints, one plain line a check; groups may check from several threads."""

    def __init__(self):
        self.passed = self.failed = 0
        self.failures = []
        self.lock = threading.Lock()

    def check(self, name, holds, detail=""):
        with self.lock:
            if holds:
                self.passed += 1
                print(f"ok    {name}", flush=True)
            else:
                self.failed += 1
                self.failures.append(name)
                print(f"FAIL  {name}" + (f": {str(detail)[:600]}" if detail != "" else ""), flush=True)
        return bool(holds)

    def same(self, name, got, wanted):
        return self.check(name, got == wanted, f"got {json.dumps(got)[:280]} wanted {json.dumps(wanted)[:280]}")

    def group(self, title, body, *args):
        """Runs checks; what they throw is a failed check, not the end of the run."""
        try:
            body(self, *args)
        except Exception as error:  # noqa: BLE001 - any surprise must fail the run and be named
            self.check(title, False, f"{type(error).__name__}: {error}")


def environment(home):
    """The environment of everything started here: its own state directory, no proxy, no telemetry, no other SPIRE."""
    left_out = ("OTEL_", "SPIFFE_")
    keep = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith(left_out)}
    return {**keep, "XDG_STATE_HOME": str(Path(home) / "state"), "INTEROP_NODE": str(CACHE / "node"), "NO_PROXY": "*"}


def client(kind, spec, home):
    """Runs one client over its steps; returns what it printed."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump({"env": {}, **spec}, file)
    done = subprocess.run(
        [*CLIENTS[kind], file.name], env=environment(home), capture_output=True, text=True, timeout=PATIENCE
    )
    os.unlink(file.name)
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise RuntimeError(f"{kind} printed nothing (exit {done.returncode}): {done.stderr[-1500:]}")
    return json.loads(lines[-1])


def tapped(command, tap):
    """The command as one that also writes what reaches its stdin to the file `tap`."""
    return ["sh", "-c", f"tee -a {shlex.quote(str(tap))} | exec {shlex.join(command)}"]


def wait_for(what, condition, patience=30, every=0.02):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise TimeoutError(f"no {what} within {patience} s")


class Process:
    """A child whose stderr is kept; stopped at the end of the `with` block."""

    def __init__(self, command, env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        self.lines = []
        self.child = subprocess.Popen(
            command, env=env, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stderr:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def stderr(self):
        return "\n".join(self.lines)

    def find(self, pattern, patience=30):
        def search():
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found.group(1)
            if self.child.poll() is not None:
                raise RuntimeError(f"exited with {self.child.returncode}: {self.stderr()[-2000:]}")
            return None

        return wait_for(f"line like {pattern}", search, patience)

    def stop(self, sig=signal.SIGTERM, patience=20):
        if self.child.poll() is None:
            self.child.send_signal(sig)
        code = self.child.wait(timeout=patience)
        self.reader.join(timeout=2)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(self.child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.child.wait()


def chancery(home, *args, check=True):
    """Runs one command of chancery to its end."""
    done = subprocess.run(
        [CHANCERY, *map(str, args)], env=environment(home), capture_output=True, text=True, timeout=PATIENCE
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"chancery {' '.join(map(str, args))}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done


def write_policies(home, text):
    directory = Path(home) / "policies"
    directory.mkdir(exist_ok=True)
    (directory / "interop.cedar").write_text(text)
    return directory


def run_command(home, policies, command, name):
    """What a client's configuration holds for `chancery run`."""
    log = Path(home) / "log"
    options = ["--name", name, "--policies", str(policies), "--log", str(log)]
    return {"command": CHANCERY, "args": ["run", *options, "--", *command]}


class Serve(Process):
    """`chancery serve` with one server, on a port of the system's choice, with a bootstrap secret.

    `more` goes into its configuration beside that."""

    def __init__(self, home, policies, name, server, durability="fsync", log=None, more=None):
        self.home, self.name = Path(home), name
        self.log = Path(log) if log else self.home / "log"
        secret, address = self.home / "bootstrap.secret", self.home / "address"
        address.unlink(missing_ok=True)
        config = {
            "listen": {"tcp": "127.0.0.1:0", "address_file": str(address)},
            "servers": {name: server},
            "policies": str(policies),
            "log": {"dir": str(self.log), "durability": durability},
            "admission": {"bootstrap": {"file": str(secret)}},
            **(more or {}),
        }
        file = self.home / "chancery.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        super().__init__([CHANCERY, "serve", "-c", str(file)], environment(home))
        try:
            self.base = wait_for("address file", lambda: self.read_address(address))
        except Exception:
            self.__exit__()
            raise
        self.secret = secret.read_text().strip()
        self.url = f"{self.base}/mcp/{name}"
        self.headers = {"Authorization": f"Bearer {self.secret}"}

    def __exit__(self, *failure):
        super().__exit__(*failure)
        if hasattr(self, "secret"):
            taps = [file for file in self.home.glob("*") if "tap" in file.name]
            leaks.search(f"{self.name} in {self.home.name}", self.secret, self.stderr(), self.log, *taps)

    def read_address(self, file):
        if self.child.poll() is not None:
            raise RuntimeError(f"serve exited with {self.child.returncode}: {self.stderr()[-2000:]}")
        urls = file.read_text().split() if file.exists() else []
        found = [re.match(r"http://127\.0\.0\.1:\d+|unix:[^:]+", url) for url in urls]
        # TCP comes first where there are both.
        return next((match.group(0) for match in found if match), None)

    def spec(self, steps):
        return {"url": self.url, "headers": self.headers, "steps": steps}


def records(log):
    """The statements of a log, each with the key id that signed it."""
    import base64

    out = []
    for segment in sorted(Path(log).rglob("*.intoto.jsonl")):
        for line in segment.read_bytes().splitlines():
            try:
                envelope = json.loads(line)
                statement = json.loads(base64.b64decode(envelope["payload"]))
            except ValueError:
                continue  # a torn tail after a kill; verify cuts and names it
            statement["keyid"] = envelope["signatures"][0]["keyid"]
            statement["kind"] = statement["predicateType"].split(":")[-2]
            out.append(statement)
    return out


def verify(home, log):
    """`chancery verify` as a third person runs it: trust bundle and identity are brought along."""
    bundle = Path(home) / "bundle.pem"
    bundle.write_text(chancery(home, "keys", "bundle").stdout)
    identity = json.loads((Path(log) / "log.json").read_text())
    spiffe_id = next(v for v in identity.values() if isinstance(v, str) and v.startswith("spiffe://"))
    return chancery(home, "verify", log, "--trust-bundle", bundle, "--identity", spiffe_id, check=False)


def main_tempdir():
    return tempfile.TemporaryDirectory(prefix="chancery-interop-", ignore_cleanup_errors=True)


def note(text):
    print(f"note  {text}", file=sys.stdout, flush=True)
