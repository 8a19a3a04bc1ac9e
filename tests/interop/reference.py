"""Cedar's own generator of schemas for MCP tools, beside chancery: for every tool of its examples and of the reference
servers, which conditions are valid and what is decided on calls. What differs must be what docs/policy.md lists."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import raw
from harness import CHANCERY, EVERYTHING, FILESYSTEM, HERE, MEMORY, THINKING, environment, main_tempdir, run_command

REFERENCE = os.environ.get("CHANCERY_REFERENCE", "")
LISTING = [sys.executable, str(HERE / "listing.py")]
VECTORS = HERE.parent / "vectors" / "tools"

# What differs, by what it is about; docs/policy.md says why ("Compared with Cedar's own generator").
EXPECTED = {
    "no schema: the name is no identifier",
    "condition: an enum is an entity there",
    "condition: one that can never hold is an error here",
    "condition: a tuple is text here",
    "decision: a default counts here",
    "decision: a number is rounded there",
    "decision: null is absent here",
    "decision: a type that JSON Schema does not have",
    "decision: a tuple may be shorter than its schemas",
    "decision: what the schema asks for beyond types",
}


def live(command, home):
    server = raw.Stdio(command, home)
    tools = json.loads(server.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))["result"]["tools"]
    server.close()
    return tools


def captured(checks):
    """The lists in the repository are those of the servers as they are."""
    for name, command in [
        ("everything", EVERYTHING),
        ("filesystem", FILESYSTEM),
        ("memory", MEMORY),
        ("sequential-thinking", THINKING),
    ]:
        with main_tempdir() as home:
            command = [*command, home] if name == "filesystem" else command
            tools = live(command, home)
            known = json.loads((VECTORS / f"server-{name}.json").read_text())
            checks.same(f"reference: the captured tools of server-{name} are the real ones", tools, known)
            schema = subprocess.run(
                [CHANCERY, "policy", "schema", "--server", "s", "--", *command],
                env=environment(home), capture_output=True, text=True, timeout=60, check=True,
            ).stdout
            missing = [tool["name"] for tool in tools if f'action "s/{tool["name"]}" ' not in schema]
            checks.same(f"reference: every tool of server-{name} has a schema", missing, [])


def examples():
    """The generator's own examples, as its package brings them."""
    manifest = HERE.parent / "reference" / "Cargo.toml"
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", str(manifest)]
    packages = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["packages"]
    root = next(p["manifest_path"] for p in packages if p["name"] == "cedar-policy-mcp-schema-generator")
    for file in sorted(Path(root).parent.glob("examples/*/*.json")):
        if not file.name.endswith(".cedarschema.json"):
            text = json.loads(file.read_text())
            tools = text.get("result", text).get("tools", [text])
            yield from (tool for tool in tools if "inputSchema" in tool)


def value_for(schema, good=True):
    """A value that is not tested, of the schema's kind."""
    if "default" in schema and good:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "string":
        formats = {"uri": "https://example.org/", "date-time": "2026-01-02T03:04:05Z", "ipv4": "10.0.0.1", "ipv6": "::1"}
        return formats.get(schema.get("format"), "x" * max(1, schema.get("minLength", 1)))
    if kind in ("integer", "number"):
        return max(1, schema.get("minimum", 1))
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: value_for(properties.get(name, {})) for name in schema.get("required", [])}
    return {"boolean": True, "array": [], "null": None}.get(kind, "x")


def tests_of(name, schema):
    """A condition on the property, and values for it."""
    at = f"context.input[{json.dumps(name)}]"
    kind, form = schema.get("type"), schema.get("format")
    if schema.get("enum"):
        first = schema["enum"][0]
        return f"{at} == {json.dumps(first)}", [*schema["enum"][:2], "none of them"]
    if kind == "string" and form == "date-time":
        return f'{at} < datetime("2030-01-01")', ["2026-01-02T03:04:05Z", "2031-01-01T00:00:00Z"]
    if kind == "string" and form in ("ipv4", "ipv6"):
        return f"{at}.isLoopback()", ["127.0.0.1", "10.0.0.1"] if form == "ipv4" else ["::1", "::2"]
    if kind == "string" and form not in ("duration", "decimal", "date"):
        return f'{at} == "x"', ["x", "y", 7]
    if kind == "integer":
        return f"{at} < 5", [3, 7, "3"]
    if kind == "number":
        return f'{at}.lessThan(decimal("5.0"))', [3, 3.5, 7, 0.12345, "3"]
    if kind == "boolean":
        return at, [True, False, "true"]
    items = schema.get("items")
    if kind == "array" and isinstance(items, dict) and items.get("type") == "string" and "enum" not in items:
        return f'{at}.contains("x")', [["x"], ["y", "x"], ["y"], "x"]
    if kind == "object" and schema.get("properties"):
        return "true", [value_for(schema)]
    return f"{at} == {at}", [value_for(schema)]


def cases(tools):
    for tool in tools:
        schema = tool["inputSchema"].get("json", tool["inputSchema"])
        tool = {**tool, "inputSchema": schema}
        tool.pop("outputSchema", None)
        properties = schema.get("properties", {})
        base = {name: value_for(properties.get(name, {})) for name in schema.get("required", [])}
        yield {"tool": tool, "property": None, "when": 'context.input has nope && context.input.nope == "x"', "calls": [base]}
        yield {"tool": tool, "property": None, "when": "true", "calls": [base]}
        for name, about in properties.items():
            if not isinstance(about, dict):
                continue
            condition, values = tests_of(name, about)
            without = {key: value for key, value in base.items() if key != name}
            calls = [{**base, name: value} for value in values] + [without]
            when = f"context.input has {json.dumps(name)} && {condition}"
            yield {"tool": tool, "property": about, "name": name, "when": when, "calls": calls}


def theirs(asked, home):
    keep = ("tool", "when", "calls")
    text = json.dumps([{key: case[key] for key in keep} for case in asked])
    done = subprocess.run([REFERENCE], input=text, env=environment(home), capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def ours(asked, home):
    """Each case is a tool of its own, so that one gateway answers all."""
    listed = [{**case["tool"], "name": f"c{index}"} for index, case in enumerate(asked)]
    file = Path(home) / "tools.json"
    file.write_text(json.dumps(listed))
    policy = [
        f'@id("{i}") permit (principal, action == Mcp::Action::"s/c{i}", resource) when {{ {case["when"]} }};\n'
        for i, case in enumerate(asked)
    ]
    policies = Path(home) / "policies"
    policies.mkdir()
    rest = 'permit (principal, action in [Mcp::Action::"session/open", Mcp::Action::"tools/list"], resource);\n'
    (policies / "all.cedar").write_text(rest + "".join(policy))
    checked = subprocess.run(
        [CHANCERY, "policy", "check", "--json", "--policies", str(policies), "--server", "s", "--", *LISTING, str(file)],
        env=environment(home), capture_output=True, text=True, timeout=300,
    )
    findings = json.loads(checked.stdout)["findings"]
    wrong = {finding["policy"] for finding in findings if finding["severity"] == "error"}
    (policies / "all.cedar").write_text(rest + "".join(p for i, p in enumerate(policy) if str(i) not in wrong))
    command = run_command(home, policies, [*LISTING, str(file)], "s")
    gateway = raw.Stdio([command["command"], *command["args"]], home)
    answers, request = [], 10
    for index, case in enumerate(asked):
        decisions = []
        for call in case["calls"]:
            request += 1
            params = {"name": f"c{index}", "arguments": call}
            answer = json.loads(gateway.ask({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params}))
            text = json.dumps(answer.get("error", {}))
            decisions.append("allow" if "result" in answer else "invalid" if "invalid_input" in text or "argument" in text else "deny")
        answers.append({"schema": True, "valid": str(index) not in wrong, "decisions": decisions})
    gateway.close()
    return answers


def schema_difference(case, error):
    return "no schema: " + (error if case["tool"]["name"].isidentifier() else "the name is no identifier")


def condition_difference(about):
    if about is None:
        return "condition: one that can never hold is an error here"
    if about.get("enum"):
        return "condition: an enum is an entity there"
    if "prefixItems" in about:
        return "condition: a tuple is text here"
    return "condition: another"


def decision_difference(case, call, their, our):
    about, name = case["property"] or {}, case.get("name")
    if name not in call and "default" in about:
        return "decision: a default counts here"
    if call.get(name) == 0.12345 and our == "invalid":
        return "decision: a number is rounded there"
    if name in call and call[name] is None:
        return "decision: null is absent here"
    if about.get("type") == "float" or about.get("format") in ("duration", "decimal"):
        return "decision: a type that JSON Schema does not have"
    if "prefixItems" in about:
        return "decision: a tuple may be shorter than its schemas"
    if our == "invalid":
        return "decision: what the schema asks for beyond types"
    return f"decision: another, {their} and {our}"


def differential(checks):
    tools = list(examples())
    for name in ("everything", "filesystem", "memory", "sequential-thinking"):
        tools += json.loads((VECTORS / f"server-{name}.json").read_text())
    asked = list(cases(tools))
    with main_tempdir() as home:
        reference, chancery = theirs(asked, home), ours(asked, home)
    found, shown, same = Counter(), {}, 0
    for case, their, our in zip(asked, reference, chancery, strict=True):
        if not their["schema"]:
            kinds = [schema_difference(case, their["error"])]
        elif their["valid"] != our["valid"]:
            kinds = [condition_difference(case["property"])]
        elif not their["valid"]:
            kinds = []
        else:
            pairs = zip(case["calls"], their["decisions"], our["decisions"], strict=True)
            kinds = [decision_difference(case, call, a, b) for call, a, b in pairs if a != b]
        same += not kinds
        for kind in kinds:
            found[kind] += 1
            shown.setdefault(kind, []).append((case["tool"]["name"], case["when"], case["calls"], their, our))
    for kind, count in sorted(found.items()):
        print(f"      {count:4} × {kind}", flush=True)
    for kind in sorted(set(found) - EXPECTED):
        checks.check(f"reference: no difference of the kind {kind!r}", False, shown[kind][:3])
    checks.same("reference: the differences are those that are listed", sorted(found), sorted(EXPECTED))
    checks.check(f"reference: the others agree ({same} of {len(asked)} conditions)", same > len(asked) // 2)
    if os.environ.get("CHANCERY_SHOW"):
        print(json.dumps(shown))


def all_of_them(checks):
    checks.group("reference: captured lists", captured)
    checks.group("reference: differential", differential)
