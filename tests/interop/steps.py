"""What both versions of the official Python SDK do in the same way: the steps of a JSON file."""

import anyio
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider


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


async def run(client, changes, cancel, step):
    """Does one step; `cancel` calls a tool and cancels that, as this version of the SDK does it."""
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


async def all_of(spec, client, changes, cancel, error):
    """The outcome of each step; `error` is what the SDK raises for a JSON-RPC error."""
    outcomes = []
    for step in spec["steps"]:
        try:
            outcomes.append({"value": await run(client, changes, cancel, step)})
        except error as e:
            outcomes.append({"error": {"code": e.error.code, "message": e.error.message, "data": e.error.data}})
    return outcomes
