"""Issuers of bearer tokens that other projects wrote: npm's oidc-provider, and Authlib's JOSE behind a few pages."""

import base64
import http.client
import http.server
import json
import queue
import subprocess
import threading
import time
import urllib.parse
import warnings

import authlib.deprecate  # noqa: F401 - it turns its own warnings on; those are about version 2

from harness import HERE, Process, environment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from authlib.jose import JsonWebKey, JsonWebToken

SECRET = "a secret of an interop client that is long enough"
SCOPE = "mcp:use mcp:admin"


class Provider(Process):
    """oidc-provider in a process of its own, with the clients `agent` and `other`."""

    def __init__(self, home):
        spec = home / "oidc-provider.json"
        clients = [{"client_id": name, "client_secret": SECRET} for name in ("agent", "other")]
        spec.write_text(json.dumps({"clients": clients, "scope": SCOPE}))
        super().__init__(["node", str(HERE / "oidc_provider.mjs"), str(spec)], environment(home),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.said = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self.issuer = self._next()["issuer"]
        except Exception:
            self.__exit__()
            raise

    def _listen(self):
        for line in self.child.stdout:
            if line.startswith(b"{"):  # the rest is oidc-provider's own advice
                self.said.put(line)

    def _next(self):
        try:
            return json.loads(self.said.get(timeout=30))
        except queue.Empty:
            raise RuntimeError(f"oidc-provider says nothing: {self.stderr()[-1500:]}") from None

    def command(self, **what):
        self.child.stdin.write(json.dumps(what).encode() + b"\n")
        self.child.stdin.flush()
        return self._next()

    def token(self, resource, client="agent", scope=None):
        """A token of the client_credentials grant, fetched without any SDK."""
        form = {"grant_type": "client_credentials", "resource": resource, **({"scope": scope} if scope else {})}
        basic = base64.b64encode(f"{client}:{urllib.parse.quote(SECRET)}".encode()).decode()
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.issuer).netloc, timeout=30)
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/token", urllib.parse.urlencode(form), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"token endpoint: {response.status} {body[:500]}")
        return json.loads(body)["access_token"]


class Authlib:
    """An issuer whose keys and tokens are Authlib's; its pages are served from memory."""

    KINDS = {"ES256": ("EC", "P-256"), "RS256": ("RSA", 2048), "EdDSA": ("OKP", "Ed25519")}

    def __init__(self, audience):
        self.audience = audience
        self.keys = {alg: self.new_key(alg) for alg in self.KINDS}
        self.asked = []
        pages = self

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                pages.asked.append(self.path)
                page = pages.page(self.path)
                body = json.dumps(page).encode()
                self.send_response(200 if page else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def new_key(self, alg):
        kind, size = self.KINDS[alg]
        return JsonWebKey.generate_key(kind, size, {"kid": f"authlib-{alg}"}, is_private=True)

    def page(self, path):
        return {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks.json"},
            "/jwks.json": {"keys": [key.as_dict(is_private=False) for key in self.keys.values()]},
        }.get(path)

    def token(self, alg="ES256", key=None, header=None, **claims):
        """A token; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": self.issuer, "aud": self.audience, "sub": "alice", "azp": "editor", "iat": now,
                "exp": now + 300, "groups": ["staff"], **claims}
        key = key or self.keys[alg]
        header = {"alg": alg, "kid": self.keys[alg].kid, "typ": "at+jwt", **(header or {})}
        said = {name: value for name, value in said.items() if value is not None}
        return JsonWebToken([alg]).encode(header, said, key).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
