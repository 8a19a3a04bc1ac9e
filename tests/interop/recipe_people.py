"""The recipes in which people have rights that agents don't: human-only-tools and break-glass, with tokens of an issuer."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from harness import main_tempdir, records, wait_for
from oidc_issuers import Authlib
from recipes import Recipe, refused, said, whole

AUDIENCE = "https://mcp.example.org/mcp/"


def human_only(checks):
    title = "human-only-tools"
    with main_tempdir() as home, Authlib(AUDIENCE + "memory") as issuer, Recipe(home, title, issuer.issuer) as gateway:

        def session(**claims):
            return gateway.open("memory", issuer.token(**{"azp": "console", "amr": ["pwd", "mfa"], **claims}))

        def delete(by):
            return by.call("delete_entities", {"entityNames": ["note"]})

        person = session()
        note = {"entities": [{"name": "note", "entityType": "note", "observations": []}]}
        answer = person.call("create_entities", note)
        checks.check(f"{title}: a person remembers", "note" in (said(answer) or ""), answer)
        others = {
            "a client in its own name": {"amr": None, "sub": "service-account"},
            "a person by a password alone": {"amr": ["pwd"]},
            "a person's token in another application": {"azp": "chat"},
            "a token for no application": {"azp": None},
        }
        for who, claims in others.items():
            other = session(**claims)
            answer = delete(other)
            checks.check(f"{title}: {who} deletes nothing", refused(answer, "only-people-destroy"), answer)
            checks.check(f"{title}: nor does it see that it could", "delete_entities" not in other.names())
        graph = said(person.call("read_graph", {})) or ""
        checks.check(f"{title}: what was remembered is there", "note" in graph, graph)
        checks.check(f"{title}: the person sees the tools that delete", "delete_entities" in person.names())
        answer = delete(person)
        checks.check(f"{title}: the person deletes", "result" in answer, answer)
        person.show(issuer.token(azp="console", amr=["pwd"]))
        answer = delete(person)
        checks.check(f"{title}: not with a weaker token in the same session", refused(answer, "only-people-destroy"), answer)
        graph = said(person.call("read_graph", {})) or ""
        checks.check(f"{title}: then it is gone", "note" not in graph, graph)
        whole(checks, title, gateway)


def break_glass(checks):
    title = "break-glass"
    with main_tempdir() as home, Authlib(AUDIENCE + "filesystem") as issuer:
        with Recipe(home, title, issuer.issuer) as gateway:
            broken(checks, title, issuer, gateway)


def broken(checks, title, issuer, gateway):
    file = gateway.recipe / "incident-4711.cedar"
    told = [0]

    def taken_over():
        told[0] += 1
        wait_for("line of a reload", lambda: gateway.stderr().count("read anew and in force") >= told[0])

    # There is no incident yet.
    policy = file.read_text()
    file.unlink()
    taken_over()
    config = Path(gateway.srv("app/config.yaml"))
    config.write_text("broken: true\n")
    Path(gateway.srv("app/server.key")).write_text("SECRET\n")
    every_day = {"groups": ["staff", "on-call"], "amr": ["pwd", "hwk"]}
    elevated = {**every_day, "groups": ["staff", "on-call", "break-glass"], "incident": "4711"}
    session = gateway.open("filesystem", issuer.token(**every_day))

    def read(path=config, **claims):
        session.show(issuer.token(**claims))
        return session.call("read_text_file", {"path": str(path)})

    checks.check(f"{title}: every day the configuration is not read", refused(read(**every_day)))
    checks.check(f"{title}: the issuer's elevation alone opens nothing", refused(read(**elevated)))

    now = datetime.now(timezone.utc)
    for old, at in (("2026-01-05T12:00:00Z", now - timedelta(hours=1)), ("2026-01-05T14:00:00Z", now + timedelta(hours=1))):
        policy = policy.replace(old, at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    file.write_text(policy)
    taken_over()
    checks.check(f"{title}: the incident's policy alone opens nothing either", refused(read(**every_day)))
    checks.same(f"{title}: both together do", said(read(**elevated)), "broken: true\n")
    answer = session.call("write_file", {"path": str(config), "content": "broken: false\n"})
    checks.check(f"{title}: the configuration is mended", config.read_text() == "broken: false\n", answer)
    checks.check(f"{title}: by nobody without the hardware key", refused(read(**{**elevated, "amr": ["pwd"]}), "elevation-is-whole"))
    checks.check(f"{title}: nor for another incident", refused(read(**{**elevated, "incident": "4712"})))
    answer = read(gateway.srv("app/server.key"), **elevated)
    checks.check(f"{title}: keys stay closed", refused(answer, "keys-even-then"), answer)
    file.unlink()
    taken_over()
    checks.check(f"{title}: when the file is gone it is over", refused(read(**elevated)))

    by_it = [d for d in gateway.decisions() if any(p["id"] == "break-glass:4711" for p in d["policies"])]
    found = [(d["effect"], d["action"], d["principal"].split("#")[1]) for d in by_it]
    expected = [("allow", f"filesystem/{tool}", "alice") for tool in ("read_text_file", "write_file")]
    checks.same(f"{title}: the log has each call that it permitted, and who made it", found, expected)
    labels = [label["label"] for d in by_it for label in d["addedLabels"]]
    checks.same(f"{title}: and the label", labels, ["broke-glass"] * 2)
    changes = [r["predicate"]["summary"] for r in records(gateway.log) if r["kind"] == "policy-change"]
    added = [s["added"]["ids"] for s in changes if s["added"]["ids"] == ["break-glass:4711"]]
    removed = [s["removed"]["ids"] for s in changes if s["removed"]["ids"] == ["break-glass:4711"]]
    checks.same(f"{title}: and when the policy came and went", [len(added), len(removed)], [1, 2])
    whole(checks, title, gateway)


def all_of_them(checks):
    checks.group("human-only-tools", human_only)
    checks.group("break-glass", break_glass)
