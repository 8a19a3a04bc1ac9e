"""Runs every check, or the groups named on the command line: everything, filesystem, lists, reference, recipes,
people, cedar, trouble, forward, oidc, spire."""

import sys

import cedar_cli
import everything
import filesystem
import forward
import leaks
import lists
import oidc_checks
import recipe_people
import recipes
import reference
import spire_checks
import trouble
from harness import CHANCERY, Checks

GROUPS = {
    "everything": everything,
    "filesystem": filesystem,
    "lists": lists,
    "reference": reference,
    "recipes": recipes,
    "people": recipe_people,
    "cedar": cedar_cli,
    "trouble": trouble,
    "forward": forward,
    "oidc": oidc_checks,
    "spire": spire_checks,
}


def main():
    if not CHANCERY:
        sys.exit("CHANCERY_BIN names no binary; start run.sh")
    wanted = sys.argv[1:] or list(GROUPS)
    unknown = [name for name in wanted if name not in GROUPS]
    if unknown:
        sys.exit(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    checks = Checks()
    for name in wanted:
        GROUPS[name].all_of_them(checks)
    leaks.all_of_them(checks)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed or not checks.passed else 0)


main()
