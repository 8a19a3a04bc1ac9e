"""A tool server of the official Python SDK (FastMCP) that takes nobody without a token of the gateway's, for itself.

usage: python identity_server.py ISSUER_FILE AUDIENCE PORT_FILE

The SDK asks for a `TokenVerifier`; this one is written as RFC 9068 §4 wants it, with PyJWT and its JWKS client. The file with
JWKS URL and issuer is read when a token comes, because the gateway that makes both starts later than this.
"""

import json
import os
import socket
import sys
from pathlib import Path

import jwt
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.fastmcp import FastMCP

ISSUER_FILE, AUDIENCE, PORT_FILE = sys.argv[1:4]


class Verifier(TokenVerifier):
    """Signature by the gateway's JWKS; type, audience, issuer and times; the gateway as the actor."""

    def __init__(self):
        self.keys = None

    async def verify_token(self, token):
        try:
            return self.verified(token)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a token, it admits nobody
            print(f"refused: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return None

    def verified(self, token):
        url, issuer = json.loads(Path(ISSUER_FILE).read_text())
        self.keys = self.keys or jwt.PyJWKClient(url)
        if jwt.get_unverified_header(token).get("typ") != "at+jwt":
            raise ValueError("it is no access token")
        needed = ["exp", "iat", "nbf", "iss", "sub", "aud", "jti", "client_id"]
        key = self.keys.get_signing_key_from_jwt(token).key
        claims = jwt.decode(token, key, algorithms=["ES256", "ES384"], audience=AUDIENCE, issuer=issuer,
                            options={"require": needed})
        if claims.get("act", {"sub": issuer}) != {"sub": issuer} or ("act" in claims) != (claims["sub"] != issuer):
            raise ValueError("someone else acts")
        print(f"taken: {claims['jti']}", file=sys.stderr, flush=True)
        return AccessToken(token=token, client_id=claims["client_id"], scopes=[], expires_at=claims["exp"],
                           subject=claims["sub"], claims=claims)


def main():
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    auth = AuthSettings(issuer_url="http://127.0.0.1:1", resource_server_url=url,
                        validate_token_resource=False)
    server = FastMCP("identity", token_verifier=Verifier(), auth=auth, host="127.0.0.1", port=port)

    @server.tool()
    def whoami() -> str:
        """Says what the token says by which the session was opened."""
        return json.dumps(get_access_token().claims)

    Path(PORT_FILE).write_text(str(port))
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


main()
