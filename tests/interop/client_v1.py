"""Runs the steps of a JSON file with the official Python SDK (mcp 1.x) and prints one JSON document.

usage: python client_v1.py SPEC.json
"""

import json
import os
import sys
from contextlib import asynccontextmanager

import anyio
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification, Implementation

from steps import Changes, all_of, auth, plain


@asynccontextmanager
async def connect(spec):
    if "url" in spec:
        async with streamablehttp_client(spec["url"], headers=spec.get("headers") or {}, auth=auth(spec)) as (read, write, _):
            yield read, write
    else:
        server = StdioServerParameters(command=spec["command"], args=spec["args"], env={**os.environ, **spec["env"]})
        async with stdio_client(server) as (read, write):
            yield read, write


async def cancel(session, step):
    """The SDK has no call for it: send the notification that the protocol asks for, and stop waiting."""
    request = session._request_id
    with anyio.CancelScope() as scope:

        async def on_progress(*_):
            params = CancelledNotificationParams(requestId=request, reason="no longer wanted")
            await session.send_notification(ClientNotification(CancelledNotification(params=params)))
            scope.cancel()

        await session.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
    return "cancelled" if scope.cancelled_caught else "it was not cancelled"


async def main():
    spec = json.load(open(sys.argv[1]))
    out, changes = {}, Changes()
    async with connect(spec) as (read, write):
        info = Implementation(name="interop-py-v1", version="1.0.0")
        async with ClientSession(read, write, client_info=info, message_handler=changes) as session:
            init = await session.initialize()
            out["init"] = {
                "server": plain(init.serverInfo),
                "capabilities": plain(init.capabilities),
                "instructions": init.instructions,
                "protocol": init.protocolVersion,
            }
            out["steps"] = await all_of(spec, session, changes, cancel, McpError)
            print(json.dumps(out), flush=True)


try:
    anyio.run(main)
except* anyio.BrokenResourceError:
    # A server may still report progress of a cancelled call while the SDK closes its streams.
    pass
