"""The gateway with a real SPIRE. Most of the time is waiting for SVIDs to end, so the scenarios run side by side."""

import threading
import time
from pathlib import Path

from harness import main_tempdir, note
from spire import Server
from spire_kinds import jwt_svid, p384, run_and_forgery, start
from spire_mtls import admission, mtls
from spire_rotation import rotation
from spire_trouble import entry_and_ca, outage


def all_of_them(checks):
    before = len(checks.failures)
    with main_tempdir() as home:
        checks.group("spire", side_by_side, Path(home))
        if len(checks.failures) > before:
            show_logs(Path(home))


def side_by_side(checks, home):
    with Server(home) as server:
        scenarios = {
            "spire, rotation": (rotation, server, home),
            "spire, outage": (outage, server, home),
            "spire, withdrawal and CA rotation": (entry_and_ca, home),
            "spire, P-384, run, start, mTLS": (one_by_one, server, home),
        }
        threads = [threading.Thread(target=timed, args=(checks, title, *body)) for title, body in scenarios.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def timed(checks, title, body, *args):
    begin = time.monotonic()
    checks.group(title, body, *args)
    note(f"{title}: {time.monotonic() - begin:.0f} s")


def one_by_one(checks, server, home):
    """What waits for nothing."""
    checks.group("spire, P-384", p384, home)
    checks.group("spire, run", run_and_forgery, server, home)
    checks.group("spire, start", start, server, home)
    checks.group("spire, JWT-SVID", jwt_svid, server, home)
    checks.group("spire, mTLS", mtls, server, home)
    checks.group("spire, mTLS admission", admission, server, home)


def show_logs(home):
    """What SPIRE and the gateways said, when a check has failed."""
    for log in sorted(home.rglob("*.log")):
        if log.is_file():
            lines = [line for line in log.read_text(errors="replace").splitlines() if 'effect="allow"' not in line]
            print(f"--- the end of {log.relative_to(home)}", *lines[-40:], sep="\n", flush=True)
    print("---", flush=True)
