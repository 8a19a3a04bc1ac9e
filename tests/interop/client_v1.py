"""Runs the steps of a JSON file with the official Python SDK (mcp 1.x) and prints one JSON document.

usage: python client_v1.py SPEC.json
"""

import json
import sys
from contextlib import asynccontextmanager

import anyio
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification, Implementation


def plain(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Memory:
    """Where the SDK keeps what it was given."""

    tokens = info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.info

    async def set_client_info(self, info):
        self.info = info


def auth(spec):
    """The client gets credentials for its issuer; where that is, and what for, the server has to tell."""
    if own := spec.get("oauth"):
        return ClientCredentialsOAuthProvider(
            spec["url"], Memory(), own["clientId"], own["clientSecret"], issuer=own["issuer"]
        )
    return None


@asynccontextmanager
async def connect(spec):
    if "url" in spec:
        async with streamablehttp_client(spec["url"], headers=spec.get("headers") or {}, auth=auth(spec)) as (read, write, _):
            yield read, write
    else:
        import os

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


class Changes:
    """Counts how often the client is told that the tools changed."""

    def __init__(self):
        self.told, self.news = 0, anyio.Event()

    async def __call__(self, message):
        if type(getattr(message, "root", message)).__name__ == "ToolListChangedNotification":
            self.told += 1
            self.news.set()


async def watch(session, changes, step):
    """Lists once, says so by a file, calls, and then lists only when told that the tools changed."""

    async def there():
        return any(tool.name == step["tool"] for tool in (await session.list_tools()).tools)

    changes.news = anyio.Event()
    before, told, lists = await there(), False, 0
    open(step["marker"], "w").close()
    for _ in range(step.get("calls", 0)):
        await session.call_tool(step["name"], step["arguments"])
    with anyio.move_on_after(30):
        while not told:
            await changes.news.wait()
            changes.news = anyio.Event()
            told, lists = await there() == step["there"], lists + 1
    return {"before": before, "told": told, "lists": lists}


async def run(session, changes, step):
    match step["do"]:
        case "tools":
            return plain(await session.list_tools())
        case "prompts":
            return plain(await session.list_prompts())
        case "resources":
            return plain(await session.list_resources())
        case "templates":
            return plain(await session.list_resource_templates())
        case "prompt":
            return plain(await session.get_prompt(step["name"], step.get("arguments")))
        case "read":
            return plain(await session.read_resource(step["uri"]))
        case "ping":
            return plain(await session.send_ping())
        case "call":
            return plain(await session.call_tool(step["name"], step["arguments"]))
        case "big":
            message = "x" * step["bytes"]
            text = (await session.call_tool(step["name"], {"message": message})).content[0].text
            return {"length": len(text), "whole": text.endswith(message)}
        case "progress":
            events = []

            async def on_progress(progress, total, _message):
                events.append({"progress": progress, "total": total})

            result = await session.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
            return {"events": events, "result": plain(result)}
        case "cancel":
            return await cancel(session, step)
        case "watch":
            return await watch(session, changes, step)
    raise ValueError(step["do"])


async def main():
    spec = json.load(open(sys.argv[1]))
    out, changes = {"steps": []}, Changes()
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
            for step in spec["steps"]:
                try:
                    out["steps"].append({"value": await run(session, changes, step)})
                except McpError as e:
                    error = {"code": e.error.code, "message": e.error.message, "data": e.error.data}
                    out["steps"].append({"error": error})
            print(json.dumps(out), flush=True)


try:
    anyio.run(main)
except* anyio.BrokenResourceError:
    # A server may still report progress of a cancelled call while the SDK closes its streams.
    pass
