#!/usr/bin/env python3
"""Writes seeds for the target `arguments`: each captured tool's schema, a newline, and arguments that could fit it."""

import hashlib
import json
import pathlib
import sys

TOOLS = pathlib.Path(__file__).parent.parent / "tests" / "vectors" / "tools"
OF_TYPE = {"string": "a", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def value(schema, root, depth=0):
    """Something of the schema's type; that it fits is not asked for."""
    if not isinstance(schema, dict) or depth > 4:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    reference = schema.get("$ref", "")
    if reference.startswith("#/"):
        target = root
        for step in reference[2:].split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        return value(target, root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return value(schema[key][0], root, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "array":
        items = schema.get("items")
        return [value(items, root, depth + 1)] if isinstance(items, dict) else []
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: value(of, root, depth + 1) for name, of in properties.items()}
    text = {"uri": "https://a.example/x", "date-time": "2026-01-02T03:04:05Z", "ipv4": "10.0.0.1", "ipv6": "::1"}
    return text.get(schema.get("format")) or OF_TYPE.get(kind, "a")


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(TOOLS.glob("*.json")):
        for tool in json.loads(path.read_text()):
            schema = tool["inputSchema"]
            arguments = value(schema, schema)
            seed = "\n".join(json.dumps(part, separators=(",", ":")) for part in (schema, arguments)).encode()
            if len(seed) <= 8192:
                (out / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


main()
