"""SPIFFE mTLS on either side of the gateway: all show SVIDs of a real SPIRE, the others' TLS is Python's."""

import http.client
import json
import socket
import ssl
import threading

from cryptography import x509

import raw
from everything import free_port, http_server
from gateways import echo, gateway, session
from harness import records, wait_for
from spire import spiffe_id, uris

GATEWAY = spiffe_id("/gateway-with-tls")
TOOLS = spiffe_id("/tools")


class Front:
    """Ends TLS in front of a tool server, for clients with a certificate of the bundle; notes who came."""

    def __init__(self, chain, key, bundle, port):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, key)
        self.context.load_verify_locations(bundle)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.behind, self.came, self.refused = port, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}/mcp"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        try:
            client = self.context.wrap_socket(plain, server_side=True)
            # TLS 1.3 tells the server of the client's verdict with its first bytes only.
            first = client.recv(65536)
        except OSError as error:
            self.refused.append(str(error))
            return
        leaf = x509.load_der_x509_certificate(client.getpeercert(binary_form=True))
        if not first:
            self.refused.append("the client went away after the handshake")
            return
        self.came.extend(uris(leaf))
        server = socket.create_connection(("127.0.0.1", self.behind))
        server.sendall(first)
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def mtls(checks, server, home):
    title, home = "spire, mTLS", home / "mtls"
    home.mkdir()
    port = free_port()
    with server.join(home) as agent, http_server(home, port) as tools:
        server.entry(agent, "/tools")
        server.entry(agent, "/gateway-with-tls")
        agent.fetch(GATEWAY)
        _, chain, key, bundle = agent.fetch(TOOLS)
        tools.find(r"(listening)")
        with Front(chain, key, bundle, port) as front:
            of_gateway = {"spire": {"spiffe_id": GATEWAY}}
            with gateway(home / "gateway", agent, **of_gateway, servers=far(front, TOOLS)) as serving:
                checks.check(f"{title}: a call reaches server-everything", "result" in echo(session(serving)))
                checks.same(f"{title}: the server saw the gateway's SPIFFE ID and no other", sorted(set(front.came)),
                            [GATEWAY])
                serving.stop()
        with Front(chain, key, bundle, port) as front:
            wanted = spiffe_id("/other-tools")
            with gateway(home / "strict", agent, **of_gateway, servers=far(front, wanted)) as serving:
                said = wait_for("refusal", lambda: TOOLS in serving.stderr() and serving.stderr())
                checks.check(f"{title}: a server with another SPIFFE ID is refused and named", wanted not in front.came)
                checks.same(f"{title}: and gets no byte", front.came, [])
                checks.check(f"{title}: which the operator is told", "everything" in said, said[-600:])
                serving.stop()


class Workload(raw.Http):
    """A client that shows its SVID; the gateway's it checks by the bundle and by its SPIFFE ID."""

    def __init__(self, chain, key, bundle, url):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.load_verify_locations(bundle)
        if chain:
            self.context.load_cert_chain(chain, key)
        super().__init__(url)

    def connection(self):
        connection = http.client.HTTPSConnection(self.netloc, timeout=raw.PATIENCE, context=self.context)
        connection.connect()
        leaf = x509.load_der_x509_certificate(connection.sock.getpeercert(binary_form=True))
        assert uris(leaf) == [GATEWAY], uris(leaf)
        return connection


def admission(checks, server, home):
    """Agents that come to the gateway's TLS listener with SVIDs of their own."""
    title, home = "spire, mTLS admission", home / "mtls-admission"
    home.mkdir()
    alice, stranger = spiffe_id("/agents/alice"), spiffe_id("/batch/stranger")
    with server.join(home) as agent:
        for path in ("/agents/alice", "/batch/stranger", "/gateway-with-tls"):
            server.entry(agent, path)
        agent.fetch(GATEWAY)
        listen = {"tls": "127.0.0.1:0", "tcp": "127.0.0.1:0", "address_file": str(home / "gateway" / "address")}
        admits = {"bootstrap": {"file": str(home / "gateway" / "bootstrap.secret")},
                  "mtls": {"spiffe_ids": [spiffe_id("/agents/*")]}}
        with gateway(home / "gateway", agent, spire={"spiffe_id": GATEWAY}, listen=listen, admission=admits,
                     refusal_summary="1s") as serving:
            addresses = (home / "gateway" / "address").read_text().split()
            url = next(address for address in addresses if address.startswith("https:"))
            *_, chain, key, bundle = agent.fetch(alice)
            client = Workload(chain, key, bundle, url)
            checks.check(f"{title}: a client with an SVID calls server-everything", "result" in echo(client))
            texts = [json.dumps(record, default=str) for record in records(serving.log)]
            checks.check(f"{title}: as its SPIFFE ID", any("session-open" in text and alice in text for text in texts))
            *_, chain, key, bundle = agent.fetch(stranger)
            said = refusal(chain, key, bundle, url)
            checks.check(f"{title}: another SPIFFE ID is refused", "initialize: 403" in said, said)
            none = refusal(None, None, bundle, url)
            checks.check(f"{title}: a client without one gets no answer", none and "initialize" not in none, none)
            said = wait_for("counts", lambda: "tls tls_handshake" in serving.stderr() and serving.stderr())
            checks.check(f"{title}: both are counted", "tls svid_not_allowed" in said, said[-600:])
            serving.stop()


def refusal(chain, key, bundle, url):
    try:
        Workload(chain, key, bundle, url)
        return ""
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error)


def far(front, spiffe):
    return {"everything": {"url": front.url, "spiffe_id": spiffe}}
