"""Cedar's own command line on the recipes: it knows nothing of chancery but the schema that chancery writes."""

import json
import subprocess
from pathlib import Path

from harness import CACHE, chancery, main_tempdir
from recipes import EXAMPLES

CEDAR = CACHE / "cedar" / "cedar"


def cedar(*args):
    command = [str(CEDAR), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, env={"NO_COLOR": "1"})


def schema_of(home, recipe):
    """The recipe's schema, as docs/policy.md says to write it."""
    done = chancery(home, "policy", "schema", "-c", recipe / "chancery.yaml", "--tools", recipe / "tools.json")
    file = Path(home) / f"{recipe.name}.cedarschema"
    file.write_text(done.stdout)
    return file


def files_of(recipe):
    return sorted(recipe.rglob("*.cedar"))


def recipes_are_valid(checks):
    with main_tempdir() as home:
        found = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())
        checks.check("cedar: there are recipes", len(found) >= 10, found)
        for recipe in found:
            schema = schema_of(home, recipe)
            for file in files_of(recipe):
                name = file.relative_to(EXAMPLES)
                done = cedar("validate", "--schema", schema, "--policies", file, "--deny-warnings")
                checks.check(f"cedar: validate accepts {name}", done.returncode == 0, done.stdout + done.stderr)
                done = cedar("format", "--check", "--line-width", "100", "--policies", file)
                checks.check(f"cedar: format finds {name} laid out", done.returncode == 0, done.stdout[:200] + done.stderr)


def mistakes_are_found(checks):
    with main_tempdir() as home:
        recipe = EXAMPLES / "folder-sandbox"
        schema, text = schema_of(home, recipe), (recipe / "policies.cedar").read_text()
        wrong = {
            "an argument": text.replace("context.input.path.normal", "context.input.pth.normal", 1),
            "a tool": text.replace('"filesystem/write_file"', '"filesystem/wriet_file"', 1),
            "a part of a path": text.replace("path.has_parent_steps", "path.has_parents", 1),
        }
        for what, policies in wrong.items():
            file = Path(home) / "wrong.cedar"
            file.write_text(policies)
            done = cedar("validate", "--schema", schema, "--policies", file)
            checks.check(f"cedar: {what} misspelt is refused", done.returncode != 0 and policies != text, done.stdout)
        checks.check("cedar: it says what was meant", "has_parent_steps" in done.stdout + done.stderr, done.stdout + done.stderr)


def entities():
    """What the gateway makes of a local user and a tool, written by hand."""
    calls = {"calls": 0, "minute": 0, "hour": 0, "day": 0}
    session = {"id": "s", "protocol": "2025-11-25", "transport": "stdio", "evidence": "peer", "age": 0, "calls": 0,
               "tool": {"calls": 0}, "labels": []}
    agent = {"evidence": "peer", "uid": 1000, "client": {"name": "", "version": ""}, "session": session,
             "usage": {**calls, "server": calls, "tool": calls}, "labels": []}

    def entity(kind, name, attrs, *parents):
        uids = [{"type": t, "id": i} for t, i in parents]
        return {"uid": {"type": kind, "id": name}, "attrs": attrs, "parents": uids}

    def tool(name, reads):
        attrs = {"name": name, "annotations": {"readOnlyHint": reads}, "definition": "0", "pinned": True}
        return entity("Mcp::Tool", f"filesystem/{name}", attrs, ("Mcp::Server", "filesystem"))

    return [
        entity("Mcp::Agent", "peer:1000:-", agent, ("Mcp::Group", "uid:1000")),
        entity("Mcp::Group", "uid:1000", {}),
        entity("Mcp::Server", "filesystem", {"name": "filesystem"}),
        tool("read_text_file", True),
        tool("write_file", False),
    ]


def requests_are_decided(checks):
    recipe = EXAMPLES / "read-only-agent"
    with main_tempdir() as home:
        schema = schema_of(home, recipe)
        file = Path(home) / "entities.json"
        file.write_text(json.dumps(entities()))
        common = {"time": {"fn": "datetime", "arg": "2026-01-05T12:00:00Z"}, "source": "stdio",
                  "local": {"weekday": 1, "hour": 12, "minute": 0}}
        for tool, more, expected in (("read_text_file", {}, "ALLOW"), ("write_file", {"content": "x"}, "DENY")):
            request = Path(home) / "request.json"
            request.write_text(json.dumps({
                "principal": 'Mcp::Agent::"peer:1000:-"',
                "action": f'Mcp::Action::"filesystem/{tool}"',
                "resource": f'Mcp::Tool::"filesystem/{tool}"',
                "context": {**common, "input": {"path": "/srv/docs/a.md", **more}},
            }))
            done = cedar("authorize", "--schema", schema, "--policies", recipe / "policies.cedar", "--entities", file,
                         "--request-json", request, "--verbose")
            checks.check(f"cedar: authorize says {expected} of {tool}", expected in done.stdout, done.stdout + done.stderr)


def all_of_them(checks):
    checks.group("cedar: recipes", recipes_are_valid)
    checks.group("cedar: mistakes", mistakes_are_found)
    checks.group("cedar: requests", requests_are_decided)
