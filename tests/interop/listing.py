"""A tool server on stdio that lists the tools of a file and answers every call with `ok`: `listing.py FILE`."""

import json
import sys


def answer(message, tools):
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            return {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "listing", "version": "1"},
            }
        case "tools/list":
            return {"tools": tools}
        case "tools/call":
            return {"content": [{"type": "text", "text": "ok"}]}
        case _:
            return {}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        tools = json.load(file)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message, tools)}), flush=True)


main()
