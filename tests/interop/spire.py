"""A real SPIRE: a server and its agents, on loopback, in a directory of their own, gone at the end."""

import datetime
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import CACHE, Process, wait_for

SERVER = CACHE / "spire" / "spire-server"
AGENT = CACHE / "spire" / "spire-agent"
DOMAIN = "chancery.test"
# How soon SPIRE's own parts notice a change; its defaults are 5 s each.
SYNC = "1s"


def spiffe_id(path):
    return f"spiffe://{DOMAIN}{path}"


def free_port():
    """A port that was free just now: SPIRE's server has to be told a number."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, check=True):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command[0].name} {' '.join(command[1:3])}: exit {done.returncode}: "
                           f"{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done


class Part:
    """One of SPIRE's two processes: its log goes to a file, and its end is seen."""

    def start(self, command, log):
        self.log = log
        self.process = Process([str(part) for part in command], dict(os.environ))

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def alive(self):
        if self.process.child.poll() is not None:
            raise RuntimeError(f"{self.log.name}: exited with {self.process.child.returncode}: "
                               f"{self.said()[-1500:]}{self.process.stderr()[-500:]}")
        return True

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.__exit__()


class Server(Part):
    """`spire-server`: one trust domain, an EC P-256 CA, SQLite in the directory, keys in memory.

    With `upstream` its CA is an intermediate one, below a root that SPIRE's plugin `disk` signs with."""

    def __init__(self, home, upstream=False):
        self.home = Path(home) / "spire-server"
        self.home.mkdir(mode=0o700)
        self.upstream = self.plugin_disk() if upstream else ""
        self.socket = self.home / "api.sock"
        self.agents = 0
        for _ in range(5):
            self.port = free_port()
            config = self.home / "server.conf"
            config.write_text(self.config())
            self.start([SERVER, "run", "-config", config], self.home / "server.log")
            try:
                wait_for("bundle of the SPIRE server", lambda: self.alive() and self.ready())
                return
            except Exception:
                self.process.__exit__()
                if "address already in use" not in self.said():
                    raise

    def config(self):
        return f"""
server {{
    bind_address = "127.0.0.1"
    bind_port = "{self.port}"
    socket_path = "{self.socket}"
    trust_domain = "{DOMAIN}"
    data_dir = "{self.home}"
    log_file = "{self.home / 'server.log'}"
    log_level = "INFO"
    ca_key_type = "ec-p256"
    ca_ttl = "12h"
    agent_ttl = "1h"
    default_x509_svid_ttl = "1h"
    ratelimit {{
        attestation = false
    }}
    experimental {{
        cache_reload_interval = "{SYNC}"
    }}
}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "{self.home / 'data.sqlite3'}"
        }}
    }}
    KeyManager "memory" {{
        plugin_data {{}}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
{self.upstream}
}}
"""

    def plugin_disk(self):
        """Makes a root, EC P-384, and what the configuration says of it."""
        key, now = ec.generate_private_key(ec.SECP384R1()), datetime.datetime.now(datetime.timezone.utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the root above SPIRE")])
        usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                               "key_agreement", "encipher_only", "decipher_only"), False)
        root = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA384())
        )
        files = {name: self.home / f"upstream-{name}.pem" for name in ("cert", "key")}
        files["cert"].write_bytes(root.public_bytes(serialization.Encoding.PEM))
        files["key"].write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))
        return f"""
    UpstreamAuthority "disk" {{
        plugin_data {{
            cert_file_path = "{files['cert']}"
            key_file_path = "{files['key']}"
        }}
    }}
"""

    def ready(self):
        return self.socket.exists() and self.cli("bundle", "show", check=False).returncode == 0

    def cli(self, *args, check=True):
        """A command of `spire-server`, on this server."""
        verb = [arg for arg in args if not arg.startswith("-")]
        # The socket is a flag of the innermost command: it stands after the words and before the other flags.
        words = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
        assert words <= len(verb)
        return run(SERVER, *args[:words], "-socketPath", self.socket, *args[words:], check=check)

    def bundle(self, file):
        """Writes what `spire-server bundle show` prints."""
        file = Path(file)
        file.write_text(self.cli("bundle", "show", "-format", "pem").stdout)
        return file

    def join(self, home, **options):
        """An agent, joined by a token of its own."""
        self.agents += 1
        name = spiffe_id(f"/node/{self.agents}")
        said = self.cli("token", "generate", "-spiffeID", name).stdout
        token = re.search(r"Token: (\S+)", said).group(1)
        return Agent(self, Path(home) / f"agent-{self.agents}", name, token, **options)

    def entry(self, agent, path, *selectors, ttl=None, hint=None):
        """Registers a workload of this user on that agent; returns the entry's id."""
        more = ["-x509SVIDTTL", str(ttl)] if ttl else []
        more += ["-hint", hint] if hint else []
        for selector in selectors:
            more += ["-selector", selector]
        said = self.cli("entry", "create", "-output", "json", "-parentID", agent.name, "-spiffeID", spiffe_id(path),
                        "-selector", f"unix:uid:{os.getuid()}", *more).stdout
        return json.loads(said)["results"][0]["entry"]["id"]

    def forget(self, entry):
        self.cli("entry", "delete", "-entryID", entry)

    def authorities(self):
        """The ids of the X.509 authorities by state: active, prepared, old."""
        said = json.loads(self.cli("localauthority", "x509", "show", "-output", "json").stdout)
        return {state: (said.get(state) or {}).get("authority_id") for state in ("active", "prepared", "old")}

    def authority(self, verb, which=None):
        more = ["-authorityID", which] if which else []
        self.cli("localauthority", "x509", verb, *more)


class Agent(Part):
    """`spire-agent`: keys on disk, so that it can be killed and started again; the workload attestor `unix`."""

    def __init__(self, server, home, name, token, key_type="ec-p256"):
        self.name, self.home = name, home
        home.mkdir(mode=0o700)
        self.socket = home / "public" / "api.sock"
        self.endpoint = f"unix://{self.socket}"
        bundle = server.bundle(home / "bootstrap.pem")
        self.file = home / "agent.conf"
        self.file.write_text(f"""
agent {{
    server_address = "127.0.0.1"
    server_port = "{server.port}"
    socket_path = "{self.socket}"
    trust_domain = "{DOMAIN}"
    trust_bundle_path = "{bundle}"
    join_token = "{token}"
    data_dir = "{home}"
    log_file = "{home / 'agent.log'}"
    log_level = "INFO"
    workload_x509_svid_key_type = "{key_type}"
    experimental {{
        sync_interval = "{SYNC}"
    }}
}}
plugins {{
    KeyManager "disk" {{
        plugin_data {{
            directory = "{home}"
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
    WorkloadAttestor "unix" {{
        plugin_data {{
            discover_workload_path = true
            workload_size_limit = -1
        }}
    }}
}}
""")
        self.run()

    def run(self):
        """Starts it, for the first time or again."""
        self.socket.unlink(missing_ok=True)
        self.start([AGENT, "run", "-config", self.file], self.home / "agent.log")
        try:
            wait_for("socket of the SPIRE agent", lambda: self.alive() and self.socket.exists())
        except Exception:
            self.process.__exit__()
            raise

    def fetch_jwt(self, audience):
        """A JWT-SVID of this user, as SPIRE's own client gets it."""
        said = run(AGENT, "api", "fetch", "jwt", "-audience", audience, "-socketPath", self.socket).stdout
        return re.search(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", said).group()

    def fetch(self, wanted, patience=30):
        """Fetches this user's SVIDs as SPIRE's own client does until the one of `wanted` is among them.

        Returns its certificate, the files of it, of its key and of its bundle."""
        out = self.home / "fetched"
        out.mkdir(exist_ok=True)

        def found():
            for old in out.iterdir():
                old.unlink()
            run(AGENT, "api", "fetch", "x509", "-socketPath", self.socket, "-write", out, check=False)
            for file in sorted(out.glob("svid.*.pem")):
                leaf = x509.load_pem_x509_certificates(file.read_bytes())[0]
                if wanted in uris(leaf):
                    return leaf, file, file.with_suffix(".key"), out / file.name.replace("svid", "bundle")
            return None

        return wait_for(f"SVID of {wanted}", lambda: self.alive() and found(), patience, every=0.3)


def uris(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)
