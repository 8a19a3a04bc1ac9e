"""Runs the steps of a JSON file with the official Python SDK (mcp 2.x) and prints one JSON document.

usage: python client_v2.py SPEC.json
"""

import json
import os
import sys

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation

from steps import Changes, all_of, auth, plain


async def cancel(client, step):
    """Leaving the scope of a call is this SDK's way to cancel it: it tells the server."""
    with anyio.CancelScope() as scope:

        async def on_progress(*_):
            scope.cancel()

        await client.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
    return "cancelled" if scope.cancelled_caught else "it was not cancelled"


async def main():
    spec = json.load(open(sys.argv[1]))
    out, changes = {}, Changes()
    async with httpx2.AsyncClient(headers=spec.get("headers") or {}, timeout=60, auth=auth(spec)) as http:
        if "url" in spec:
            server = streamable_http_client(spec["url"], http_client=http, max_sse_event_size=None)
        else:
            server = StdioServerParameters(
                command=spec["command"], args=spec["args"], env={**os.environ, **spec["env"]}
            )
        info = Implementation(name="interop-py-v2", version="1.0.0")
        async with Client(server, client_info=info, message_handler=changes) as client:
            out["init"] = {
                "server": plain(client.server_info),
                "capabilities": plain(client.server_capabilities),
                "instructions": client.instructions,
                "protocol": client.protocol_version,
            }
            out["steps"] = await all_of(spec, client, changes, cancel, MCPError)
    print(json.dumps(out), flush=True)


anyio.run(main)
