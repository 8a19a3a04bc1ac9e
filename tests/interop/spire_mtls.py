"""Tool servers that demand SPIFFE mTLS: both sides show SVIDs of a real SPIRE, the server's TLS is Python's."""

import socket
import ssl
import threading

from cryptography import x509

from everything import free_port, http_server
from gateways import echo, gateway, session
from harness import wait_for
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


def far(front, spiffe):
    return {"everything": {"url": front.url, "spiffe_id": spiffe}}
