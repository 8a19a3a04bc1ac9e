"""What tools a client is shown changes while it is connected: it is told, and lists anew.

The clients of both SDKs list once, and after that only when they are told that the tools changed.
"""

import threading
from pathlib import Path

from harness import CLIENTS, EVERYTHING, Serve, client, main_tempdir, records, run_command, verify, wait_for
from harness import write_policies

ALL = """
@id("all") permit (principal, action, resource);
@id("two") forbid (principal, action == Mcp::Action::"everything/get-sum", resource)
when { principal.usage.tool.calls >= 2 };
"""
NO_ECHO = ALL + """
@id("no-echo") forbid (principal, action == Mcp::Action::"everything/echo", resource);
"""


def steps(home):
    watch = {"do": "watch", "tool": "echo"}
    return [
        {**watch, "marker": f"{home}/1", "there": False},
        {**watch, "marker": f"{home}/2", "there": True},
        {**watch, "marker": f"{home}/3", "tool": "get-sum", "there": False,
         "calls": 2, "name": "get-sum", "arguments": {"a": 1, "b": 2}},
    ]


def saved(home, text):
    """As editors save: beside it, and renamed over it."""
    beside = home / "policies" / "interop.swp"
    beside.write_text(text)
    beside.rename(home / "policies" / "interop.cedar")


def watched(checks, title, home, kind, spec):
    """Runs the client and changes the policies whenever it has listed."""
    done = {}

    def run():
        try:
            done["out"] = client(kind, spec, home)
        except Exception as error:  # noqa: BLE001 - told below
            done["error"] = error

    thread = threading.Thread(target=run)
    thread.start()

    def listed(step):
        return (home / str(step)).exists() or not thread.is_alive()

    wait_for("the first list", lambda: listed(1))
    saved(home, NO_ECHO)
    wait_for("the second list", lambda: listed(2), 60)
    saved(home, ALL)
    thread.join()
    if "error" in done:
        checks.check(title, False, done["error"])
        return
    got = [step.get("value", step) for step in done["out"]["steps"]]
    names = ["a tool that policies hide", "a tool that policies show again", "a tool whose limit is used up"]
    for name, step, before in zip(names, got, [True, False, True], strict=True):
        holds = step.get("before") is before and step.get("told") is True
        checks.check(f"{title}: {name} is told and listed anew", holds, step)


def stdio(checks, kind):
    with main_tempdir() as home:
        home = Path(home)
        policies = write_policies(home, ALL)
        command = run_command(home, policies, EVERYTHING, "everything")
        watched(checks, f"{kind} stdio", home, kind, {**command, "steps": steps(home)})
        after(checks, f"{kind} stdio", home, home / "log")


def http(checks, kind):
    with main_tempdir() as home:
        home = Path(home)
        policies = write_policies(home, ALL)
        server = {"command": EVERYTHING[0], "args": EVERYTHING[1:]}
        with Serve(home, policies, "everything", server) as gateway:
            watched(checks, f"{kind} HTTP", home, kind, gateway.spec(steps(home)))
        after(checks, f"{kind} HTTP", home, home / "log")


def after(checks, title, home, log):
    changes = [record["predicate"] for record in records(log) if record["kind"] == "policy-change"]
    reloads = [change for change in changes if change["cause"] == "reload"]
    checks.same(f"{title}: the log has both changes", len(reloads), 2)
    done = verify(home, log)
    checks.check(f"{title}: the log verifies", done.returncode == 0, done.stdout)


def all_of_them(checks):
    for kind in CLIENTS:
        checks.group(f"{kind} stdio lists", stdio, kind)
        checks.group(f"{kind} HTTP lists", http, kind)
