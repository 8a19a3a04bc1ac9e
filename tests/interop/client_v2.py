"""Runs the steps of a JSON file with the official Python SDK (mcp 2.x) and prints one JSON document.

usage: python client_v2.py SPEC.json
"""

import json
import os
import sys

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation


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


async def cancel(client, step):
    """Leaving the scope of a call is this SDK's way to cancel it: it tells the server."""
    with anyio.CancelScope() as scope:

        async def on_progress(*_):
            scope.cancel()

        await client.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
    return "cancelled" if scope.cancelled_caught else "it was not cancelled"


class Changes:
    """Counts how often the client is told that the tools changed."""

    def __init__(self):
        self.told, self.news = 0, anyio.Event()

    async def __call__(self, message):
        if type(getattr(message, "root", message)).__name__ == "ToolListChangedNotification":
            self.told += 1
            self.news.set()


async def watch(client, changes, step):
    """Lists once, says so by a file, calls, and then lists only when told that the tools changed."""

    async def there():
        return any(tool.name == step["tool"] for tool in (await client.list_tools()).tools)

    changes.news = anyio.Event()
    before, told, lists = await there(), False, 0
    open(step["marker"], "w").close()
    for _ in range(step.get("calls", 0)):
        await client.call_tool(step["name"], step["arguments"])
    with anyio.move_on_after(30):
        while not told:
            await changes.news.wait()
            changes.news = anyio.Event()
            told, lists = await there() == step["there"], lists + 1
    return {"before": before, "told": told, "lists": lists}


async def run(client, changes, step):
    match step["do"]:
        case "tools":
            return plain(await client.list_tools())
        case "prompts":
            return plain(await client.list_prompts())
        case "resources":
            return plain(await client.list_resources())
        case "templates":
            return plain(await client.list_resource_templates())
        case "prompt":
            return plain(await client.get_prompt(step["name"], step.get("arguments")))
        case "read":
            return plain(await client.read_resource(step["uri"]))
        case "ping":
            return plain(await client.send_ping())
        case "call":
            return plain(await client.call_tool(step["name"], step["arguments"]))
        case "big":
            message = "x" * step["bytes"]
            text = (await client.call_tool(step["name"], {"message": message})).content[0].text
            return {"length": len(text), "whole": text.endswith(message)}
        case "progress":
            events = []

            async def on_progress(progress, total, _message):
                events.append({"progress": progress, "total": total})

            result = await client.call_tool(step["name"], step["arguments"], progress_callback=on_progress)
            return {"events": events, "result": plain(result)}
        case "cancel":
            return await cancel(client, step)
        case "watch":
            return await watch(client, changes, step)
    raise ValueError(step["do"])


async def main():
    spec = json.load(open(sys.argv[1]))
    out, changes = {"steps": []}, Changes()
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
            for step in spec["steps"]:
                try:
                    out["steps"].append({"value": await run(client, changes, step)})
                except MCPError as e:
                    error = {"code": e.error.code, "message": e.error.message, "data": e.error.data}
                    out["steps"].append({"error": error})
    print(json.dumps(out), flush=True)


anyio.run(main)
