"""Recipes of policies/examples through a real gateway, with the real servers that they are written for.

A recipe is copied as its user would: its files as they are, but for the user, the folder `/srv`, and the listener's port.
Its chancery.yaml starts the servers by `npx` and `uvx`; here these are scripts that start the installed ones."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import raw
from harness import (
    CACHE,
    CHANCERY,
    HERE,
    PACKAGES,
    Process,
    Serve,
    client,
    environment,
    main_tempdir,
    records,
    verify,
    wait_for,
)

EXAMPLES = HERE.parent.parent / "policies" / "examples"
LAUNCHERS = {
    "npx": f"""#!/bin/sh
shift; name=${{1%@*}}; shift
exec node "{PACKAGES}/${{name#@modelcontextprotocol/}}/dist/index.js" "$@"
""",
    "uvx": f"""#!/bin/sh
exec "{CACHE}/py-fetch/bin/${{1%%==*}}"
""",
}


class Recipe(Serve):
    """`chancery serve` with the recipe's own files, in a directory where it is copied to."""

    def __init__(self, home, name, issuer=None):
        self.home, self.recipe = Path(home), Path(home) / name
        self.name, self.issuer = name, issuer
        if not self.recipe.exists():
            self.copy(name)
        self.log, address = self.recipe / "log", self.recipe / "address"
        address.unlink(missing_ok=True)
        Process.__init__(self, [CHANCERY, "serve", "-c", str(self.recipe / "chancery.yaml")], self.environment())
        try:
            self.base = wait_for("address file", lambda: self.read_address(address))
        except Exception:
            self.__exit__()
            raise
        self.headers, self.socket = {}, self.recipe / "chancery.sock"
        if (self.recipe / "bootstrap.secret").exists():
            self.secret = (self.recipe / "bootstrap.secret").read_text().strip()
            self.headers = {"Authorization": f"Bearer {self.secret}"}

    def copy(self, name):
        shutil.copytree(EXAMPLES / name, self.recipe)
        self.recipe.chmod(0o700)
        for folder in ("docs", "public/docs", "scratch", "customers", "drafts", "memory", "app/logs"):
            (self.home / "srv" / folder).mkdir(parents=True)
        for file in [*self.recipe.rglob("*.cedar"), self.recipe / "chancery.yaml"]:
            text = file.read_text().replace("/srv", f"{self.home}/srv").replace("uid:1000", f"uid:{os.getuid()}")
            text = text.replace('tcp: "127.0.0.1:8080"', 'tcp: "127.0.0.1:0"\n  address_file: ./address')
            text = text.replace("unix: ./chancery.sock", "unix: ./chancery.sock\n  address_file: ./address")
            text = text.replace("allow_uids: [1000]", f"allow_uids: [{os.getuid()}]")
            file.write_text(text if file.suffix == ".cedar" else self.configured(text))
        tools = self.home / "bin"
        tools.mkdir()
        for tool, script in LAUNCHERS.items():
            (tools / tool).write_text(script)
            (tools / tool).chmod(0o755)

    def configured(self, text):
        """The log in the recipe's directory; with an issuer of this machine, and no SPIRE, where it has people come."""
        text = re.sub(r"\nlog: .*\n", "\n", text) + "\nlog: { dir: ./log }\n"
        if self.issuer:
            more = f"issuer: {self.issuer}\n      allow_http: true\n      allow_private: true"
            text = text.replace("issuer: https://login.example.org", more)
            text = re.sub(r"\nidentity:\n(  .*\n)+|\n  mtls:\n(    .*\n)+|\n  tls: .*", "\n", text)
        return text

    def environment(self):
        env = environment(self.home)
        return {**env, "PATH": f"{self.home}/bin:{env['PATH']}"}

    def srv(self, path):
        return str(self.home / "srv" / path)

    def open(self, server, token=None):
        """A session of a client without an SDK; with the same secret, it takes the place of the one before. Over the Unix
        socket it stands beside the others."""
        if self.base.startswith("unix:"):
            return Session(raw.Unix(self.socket, f"http://localhost/mcp/{server}"))
        headers = {"Authorization": f"Bearer {token}"} if token else self.headers
        return Session(raw.Http(f"{self.base}/mcp/{server}", headers))

    def cli(self, *args):
        command = [CHANCERY, *args]
        return subprocess.run(command, cwd=self.recipe, env=self.environment(), capture_output=True, text=True, timeout=90)

    def decisions(self):
        return [r["predicate"] for r in records(self.log) if r["kind"] == "decision"]

    def calls(self, effect, tool):
        return [d for d in self.decisions() if d["effect"] == effect and d["action"] == tool]


class Session:
    def __init__(self, http):
        self.http, self.ids = http, 0

    def ask(self, method, params=None):
        self.ids += 1
        return json.loads(self.http.ask(raw.request(self.ids, method, params or {})))

    def show(self, token):
        self.http.headers["Authorization"] = f"Bearer {token}"

    def names(self):
        return sorted(tool["name"] for tool in self.ask("tools/list")["result"]["tools"])

    def call(self, tool, arguments):
        return self.ask("tools/call", {"name": tool, "arguments": arguments})


def said(answer):
    """The text of a result, and None for a refusal."""
    if "error" in answer:
        return None
    return "".join(part.get("text", "") for part in answer["result"]["content"])


def refused(answer, by=None):
    """Whether the gateway denied it, not the server, and by the policy of that id where one is asked for."""
    error = answer.get("error") or {}
    data = error.get("data") or {}
    reasons = [reason.get("policyId") for reason in data.get("reasons", [])]
    return error.get("code") in (403, -32602) and "decisionId" in data and (by is None or by in reasons)


def whole(checks, title, recipe):
    """What holds for each recipe: its captured tools are those of the real servers, and its log verifies."""
    locked = recipe.cli("policy", "lock", "-c", "chancery.yaml", "--check")
    checks.check(f"{title}: its tools are those that the real servers list", locked.returncode == 0, locked.stdout + locked.stderr)
    checked = recipe.cli("policy", "check", "-c", "chancery.yaml", "--deny-warnings")
    checks.check(f"{title}: with another user and folder it is in order", checked.returncode == 0, checked.stderr)
    recipe.stop()
    done = verify(recipe.home, recipe.log)
    checks.check(f"{title}: the log verifies", done.returncode == 0, done.stdout + done.stderr)


def read_only(checks):
    title = "read-only-agent"
    with main_tempdir() as home, Recipe(home, title) as gateway:
        file = Path(gateway.srv("docs/a.md"))
        file.write_text("hello\n")
        spec = {"url": f"{gateway.base}/mcp/filesystem", "headers": gateway.headers}
        steps = [
            {"do": "tools"},
            {"do": "call", "name": "read_text_file", "arguments": {"path": str(file)}},
            {"do": "call", "name": "write_file", "arguments": {"path": str(file), "content": "x"}},
            {"do": "call", "name": "edit_file", "arguments": {"path": str(file), "edits": [], "dryRun": True}},
        ]
        through = client("ts-v1", {**spec, "steps": steps}, home)["steps"]
        names = sorted(tool["name"] for tool in through[0]["value"]["tools"])
        checks.check(f"{title}: an SDK's client sees the tools that read", "read_text_file" in names and len(names) == 9, names)
        writing = {"write_file", "edit_file", "move_file", "create_directory"} & set(names)
        checks.check(f"{title}: and none that writes", not writing, names)
        checks.check(f"{title}: a file is read", "hello" in json.dumps(through[1].get("value")), through[1])
        told = json.dumps(through[2].get("error"))
        checks.check(f"{title}: writing is denied, and the agent is told why", "This agent only reads." in told, told)
        checks.check(f"{title}: so is a dry run of an edit", through[3].get("error", {}).get("code") == 403, through[3])
        checks.same(f"{title}: the file is as it was", file.read_text(), "hello\n")
        denied = gateway.calls("deny", "filesystem/write_file")
        checks.same(f"{title}: the log names the policy", [p["id"] for d in denied for p in d["policies"]], ["nothing-that-writes"])
        whole(checks, title, gateway)


def sandbox(checks):
    title = "folder-sandbox"
    with main_tempdir() as home, Recipe(home, title) as gateway:
        Path(gateway.srv("public/a.md")).write_text("public\n")
        Path(gateway.srv("public/.env")).write_text("SECRET\n")
        Path(gateway.srv("secret")).write_text("SECRET\n")
        Path(gateway.srv("public/out")).symlink_to(gateway.srv("customers"))
        session = gateway.open("filesystem")

        def read(path):
            return session.call("read_text_file", {"path": path})

        checks.same(f"{title}: a public file is read", said(read(gateway.srv("public/a.md"))), "public\n")
        checks.same(f"{title}: in another spelling too", said(read(gateway.srv("public") + "/.//a.md")), "public\n")
        ways = {
            "a step up": gateway.srv("public") + "/../secret",
            "a step up behind a link": gateway.srv("public") + "/out/../secret",
            "percent signs": gateway.srv("public") + "/%2e%2e/secret",
            "backslashes": gateway.srv("public") + "/..\\secret",
            "a URL": "file://" + gateway.srv("secret"),
            "a NUL": gateway.srv("public") + "/a.md\0/../../secret",
            "the folder's neighbour": gateway.srv("public") + "-secret",
            "a relative path": "secret",
        }
        for way, path in ways.items():
            answer = read(path)
            checks.check(f"{title}: {way} is denied", refused(answer) and "SECRET" not in json.dumps(answer), answer)
        checks.check(f"{title}: a hidden file is denied by its policy", refused(read(gateway.srv("public/.env")), "no-secrets"))
        # Links are the server's affair: this one leads to a folder that the server was not given.
        answer = read(gateway.srv("public/out/a"))
        checks.check(f"{title}: a link out of the folders is passed on, and the server refuses it",
                     answer.get("result", {}).get("isError") is True, answer)
        new = Path(gateway.srv("scratch/new.md"))
        answer = session.call("write_file", {"path": str(new), "content": "x"})
        checks.check(f"{title}: scratch is written", new.exists() and "error" not in answer, answer)
        answer = session.call("write_file", {"path": gateway.srv("scratch") + "/../public/new.md", "content": "x"})
        checks.check(f"{title}: public is not", refused(answer) and not Path(gateway.srv("public/new.md")).exists(), answer)
        answer = session.call("move_file", {"source": str(new), "destination": gateway.srv("public/new.md")})
        checks.check(f"{title}: nothing moves out of scratch", refused(answer) and new.exists(), answer)
        answer = session.call("read_multiple_files", {"paths": [gateway.srv("public/docs/a"), gateway.srv("secret")]})
        checks.check(f"{title}: one bad path in a list denies it", refused(answer) and "SECRET" not in json.dumps(answer), answer)
        checks.check(f"{title}: tools that nobody permits are not listed", "list_allowed_directories" not in session.names())
        whole(checks, title, gateway)


def domains(checks):
    title = "domain-allow-list"
    with main_tempdir() as home, Recipe(home, title) as gateway:
        session = gateway.open("fetch")
        # Below a permitted name, and nobody has it: the call reaches the server, which can't fetch it.
        for way, url in {"a host of the list": "https://nobody.example.org/", "in capitals": "HTTPS://Nobody.Example.ORG./"}.items():
            answer = session.call("fetch", {"url": url})
            checks.check(f"{title}: {way} is passed on", answer.get("result", {}).get("isError") is True, answer)
        ways = {
            "another host": ("https://evil.invalid/", None),
            "the host as a user's name": ("https://docs.python.org@evil.invalid/", "no-credentials"),
            "an address": ("https://169.254.169.254/", "no-addresses"),
            "an address as one number": ("https://2852039166/", None),
            "a backslash": ("https://docs.python.org\\@evil.invalid/", None),
            "another port": ("https://docs.python.org:8443/", None),
            "plain http": ("http://docs.python.org/", None),
            "a file": ("file:///etc/passwd", None),
        }
        for way, (url, by) in ways.items():
            answer = session.call("fetch", {"url": url})
            checks.check(f"{title}: {way} is denied", refused(answer, by), answer)
        answer = session.ask("prompts/get", {"name": "fetch", "arguments": {"url": "https://evil.invalid/"}})
        checks.check(f"{title}: so is the server's prompt that fetches", refused(answer), answer)
        checks.same(f"{title}: it is not listed", session.ask("prompts/list")["result"]["prompts"], [])
        checks.same(f"{title}: two calls were permitted", len(gateway.calls("allow", "fetch/fetch")), 2)
        whole(checks, title, gateway)


def limits(checks):
    title = "call-limits"
    tool = "get-structured-content"
    with main_tempdir() as home:
        with Recipe(home, title) as gateway:
            first = gateway.open("everything")
            checks.check(f"{title}: before the limit the tool is listed", tool in first.names())
            weather = [first.call(tool, {"location": "Chicago"}) for _ in range(3)]
            second = gateway.open("everything")
            weather += [second.call(tool, {"location": "Chicago"}) for _ in range(5)]
            passed = [answer for answer in weather if "result" in answer]
            checks.same(f"{title}: of eight calls over two sessions the first five go through", weather[:5], passed)
            spent = [refused(answer, "half-a-dollar-a-day") for answer in weather[5:]]
            checks.same(f"{title}: the others are denied by the limit", spent, [True] * 3)
            checks.check(f"{title}: the agent is told why", "half dollar" in json.dumps(weather[-1]), weather[-1])
            checks.check(f"{title}: then it is not listed", tool not in second.names())
            checks.same(f"{title}: another tool goes on", said(second.call("echo", {"message": "hi"})), "Echo: hi")
            checks.check(f"{title}: a call that may take too long is denied",
                         refused(second.call("trigger-long-running-operation", {"duration": 31})))
            counted = [len(gateway.calls(effect, f"everything/{tool}")) for effect in ("allow", "deny")]
            checks.same(f"{title}: the log has five and three", counted, [5, 3])
            gateway.stop()
        with Recipe(home, title) as gateway:
            again = gateway.open("everything")
            answer = again.call(tool, {"location": "Chicago"})
            checks.check(f"{title}: a restart gives no new money", refused(answer, "half-a-dollar-a-day"), answer)
            echoes = [again.call("echo", {"message": "hi"}) for _ in range(40)]
            went = sum("result" in answer for answer in echoes)
            checks.check(f"{title}: of forty calls in a row the minute's thirty pass, with those before the restart", 20 <= went <= 30, went)
            checks.check(f"{title}: then the minute's limit denies", refused(echoes[-1], "thirty-a-minute"), echoes[-1])
            whole(checks, title, gateway)


def data_flow(checks):
    title = "data-flow"
    with main_tempdir() as home, Recipe(home, title) as gateway:
        Path(gateway.srv("public/a.md")).write_text("public\n")
        Path(gateway.srv("customers/a.md")).write_text("internal\n")

        def entity(name):
            return {"entities": [{"name": name, "entityType": "note", "observations": []}]}

        # One agent, three sessions at once.
        files, memory, web = (gateway.open(server) for server in ("filesystem", "memory", "fetch"))

        def page(session=web):
            # No name ends in `invalid` (RFC 2606): the call reaches the server, which can't fetch it.
            return session.call("fetch", {"url": "https://name.invalid/"})

        checks.same(f"{title}: a public file is read", said(files.call("read_text_file", {"path": gateway.srv("public/a.md")})), "public\n")
        answer = memory.call("create_entities", entity("before"))
        checks.check(f"{title}: then something may be remembered", "before" in (said(answer) or ""), answer)
        answer = page()
        checks.check(f"{title}: and a page fetched", answer.get("result", {}).get("isError") is True, answer)
        answer = files.call("write_file", {"path": gateway.srv("public/a.md"), "content": "what a page says"})
        checks.check(f"{title}: after it no file is replaced in another server's session", refused(answer, "after-the-web-only-drafts"), answer)
        answer = files.call("write_file", {"path": gateway.srv("drafts/a.md"), "content": "a draft"})
        checks.check(f"{title}: a draft is written", Path(gateway.srv("drafts/a.md")).exists(), answer)
        detour = gateway.srv("public") + "/../customers/a.md"
        checks.same(f"{title}: an internal file is read, by a detour", said(files.call("read_text_file", {"path": detour})), "internal\n")
        labelled = [d for d in gateway.decisions() if d.get("addedLabels")]
        checks.check(f"{title}: the log has the labels", [l["label"] for d in labelled for l in d["addedLabels"]] == ["web", "internal"], labelled)
        answer = files.call("write_file", {"path": gateway.srv("public/b.md"), "content": "internal"})
        checks.check(f"{title}: it is not written where it would be public", refused(answer, "nothing-internal-becomes-public"), answer)
        checks.same(f"{title}: the tool that fetches is not listed any more", web.names(), [])
        answer = page()
        checks.check(f"{title}: no page is fetched in the session with another server", refused(answer, "nothing-internal-goes-out"), answer)
        answer = page(gateway.open("fetch"))
        checks.check(f"{title}: nor in a new one", refused(answer, "nothing-internal-goes-out"), answer)
        answer = memory.call("create_entities", entity("after"))
        checks.check(f"{title}: nothing is remembered", refused(answer, "nothing-internal-is-remembered"), answer)
        answer = said(memory.call("read_graph", {})) or ""
        checks.check(f"{title}: the memory is as it was, and still read", "before" in answer and "after" not in answer, answer)
        whole(checks, title, gateway)


def shadow(checks):
    title = "shadow-rollout"
    with main_tempdir() as home, Recipe(home, title) as gateway:
        Path(gateway.srv("public/a.md")).write_text("public\n")
        session = gateway.open("filesystem")
        session.call("read_text_file", {"path": gateway.srv("public/a.md")})
        answer = session.call("write_file", {"path": gateway.srv("public/b.md"), "content": "x"})
        checks.check(f"{title}: what the candidate would deny goes on", "result" in answer, answer)
        written = gateway.calls("allow", "filesystem/write_file")[0]
        checks.check(f"{title}: the record says that it would flip", written["candidate"]["wouldFlip"], written)
        read = gateway.calls("allow", "filesystem/read_text_file")[0]
        checks.check(f"{title}: and of another that it would not", not read["candidate"]["wouldFlip"], read)
        diff = gateway.cli("policy", "diff", "active", "next", "-c", "chancery.yaml", "--log", "log", "--json")
        report = json.loads(diff.stdout)
        flips = {f["action"]: f["certain"] for f in report["log"]["flips"]}
        checks.check(f"{title}: the difference over the log names the writing", "filesystem/write_file" in json.dumps(flips), report)
        whole(checks, title, gateway)


def all_of_them(checks):
    checks.group("read-only-agent", read_only)
    checks.group("folder-sandbox", sandbox)
    checks.group("domain-allow-list", domains)
    checks.group("call-limits", limits)
    checks.group("data-flow", data_flow)
    checks.group("shadow-rollout", shadow)
