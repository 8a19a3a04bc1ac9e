"""What must hold when things go wrong: a full disk, and a gateway that is killed in the middle."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import raw
from harness import CHANCERY, Serve, main_tempdir, note, records, verify, wait_for, write_policies

PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'


def demo_server(tap):
    return {"command": CHANCERY, "args": ["demo-server", "--record", str(tap)]}


def calls_in(tap):
    """The numbers of the calls that reached the server."""
    if not tap.exists():
        return []
    found = []
    for line in tap.read_bytes().splitlines():
        if b'"tools/call"' in line:
            try:
                found.append(json.loads(line)["id"])
            except ValueError:
                found.append(None)  # cut off by the kill, but it was forwarded
    return found


def disk_full(checks):
    if os.environ.get("CHANCERY_INTEROP_NO_MOUNT") == "1":
        note("disk full: left out, because CHANCERY_INTEROP_NO_MOUNT=1 is set")
        return
    with main_tempdir() as home:
        disk = Path(home) / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True
        )
        if not checks.check("disk full: a tmpfs of 1 MiB is mounted", mounted.returncode == 0,
                            mounted.stderr + " (set CHANCERY_INTEROP_NO_MOUNT=1 where mounting is impossible)"):
            return
        try:
            with_full_disk(checks, Path(home), disk)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=False)


def with_full_disk(checks, home, disk):
    tap, ballast = home / "tap", disk / "ballast"
    policies = write_policies(home, PERMIT_ALL)
    with Serve(home, policies, "demo", demo_server(tap), log=disk / "log") as gateway:
        session = raw.Http(gateway.url, gateway.headers)
        answer = json.loads(session.ask(raw.call(1, "add", {"a": 1, "b": 2})))
        checks.check("disk full: a call works before", "result" in answer, answer)
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        # The log's current page may still take a few records.
        refused, last = None, 1
        for number in range(2, 2000):
            last = number
            answer = json.loads(session.ask(raw.call(number, "echo", {"message": f"call {number}"})))
            if "error" in answer:
                refused = answer
                break
        checks.check("disk full: calls are refused", refused is not None)
        error = (refused or {}).get("error", {})
        checks.check("disk full: the error is clear", error.get("code") in (403, 503) and error.get("message"), error)
        before = calls_in(tap)
        checks.check("disk full: the refused call did not reach the server", last not in before, before[-3:])
        for number in range(last + 1, last + 6):
            session.ask(raw.call(number, "echo", {"message": f"call {number}"}))
        checks.same("disk full: nor did any after it", calls_in(tap), before)

        ballast.unlink()

        def works():
            works.number += 1
            return "result" in json.loads(session.ask(raw.call(works.number, "add", {"a": 1, "b": 2})))

        works.number = last + 100
        checks.check("disk full: service resumes when space is back", wait_for("working call", works, 15))
        checks.check("disk full: the gateway never stopped", gateway.child.poll() is None)
        gateway.stop()
    done = verify(home, gateway.log)
    checks.check("disk full: the log verifies", done.returncode == 0, done.stdout + done.stderr)
    kinds = [r["kind"] for r in records(gateway.log)]
    checks.check("disk full: the log tells of the gap", "gap" in kinds, sorted(set(kinds)))


def killed(checks, durability):
    title = f"kill -9 with {durability}"
    with main_tempdir() as home:
        home = Path(home)
        tap = home / "tap"
        policies = write_policies(home, PERMIT_ALL)
        with Serve(home, policies, "demo", demo_server(tap), durability=durability) as gateway:
            session = raw.Http(gateway.url, gateway.headers)
            numbers = iter(range(1, 1001))
            lock = threading.Lock()

            def work():
                while True:
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    try:
                        session.ask(raw.call(number, "echo", {"message": f"call {number}"}))
                    except Exception:  # noqa: BLE001 - the gateway is killed under this call
                        return

            workers = [threading.Thread(target=work) for _ in range(16)]
            for worker in workers:
                worker.start()
            wait_for("200 calls at the server", lambda: len(calls_in(tap)) >= 200)
            gateway.child.send_signal(signal.SIGKILL)
            gateway.child.wait()
            for worker in workers:
                worker.join()
        reached = calls_in(tap)
        allowed = [
            r for r in records(gateway.log)
            if r["kind"] == "decision" and r["predicate"].get("effect") == "allow" and "echo" in json.dumps(r)
        ]
        checks.check(f"{title}: it was in the middle of the calls", 200 <= len(reached) < 1000, len(reached))
        checks.check(f"{title}: no forwarded call lacks its record", len(allowed) >= len(reached),
                     f"{len(reached)} calls at the server, {len(allowed)} records")
        # The next start cuts a torn tail and goes on.
        with Serve(home, policies, "demo", demo_server(tap), durability=durability) as again:
            session = raw.Http(again.url, again.headers)
            answer = json.loads(session.ask(raw.call(1, "add", {"a": 1, "b": 2})))
            checks.check(f"{title}: the next start serves on the same log", "result" in answer, answer)
            again.stop()
        done = verify(home, gateway.log)
        checks.check(f"{title}: the log verifies after it", done.returncode == 0, done.stdout + done.stderr)


def all_of_them(checks):
    checks.group("disk full", disk_full)
    for durability in ("fsync", "written"):
        checks.group(f"kill -9 with {durability}", killed, durability)
