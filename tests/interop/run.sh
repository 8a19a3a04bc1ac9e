#!/usr/bin/env bash
# Drives chancery with unmodified servers and clients of the MCP project, and with a real SPIRE: one line a check, a
# summary, exit code 1 if any check failed. CHANCERY_BIN names a binary to test; without it the debug build is made and
# taken. Groups on the command line are run alone: everything, filesystem, lists, reference, recipes,
# people, cedar, trouble, forward, oidc, spire.
#
# The disk-full check mounts a small tmpfs and needs root for it. CHANCERY_INTEROP_NO_MOUNT=1 leaves that check out,
# and says so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

bash "$here/install.sh"
if [ -z "${CHANCERY_BIN:-}" ]; then
  (cd "$here/../.." && cargo build --quiet)
  CHANCERY_BIN="${CARGO_TARGET_DIR:-$here/../../target}/debug/chancery"
fi
export CHANCERY_BIN
# Cedar's own generator of schemas, in a package of its own because it asks for another version of Cedar.
(cd "$here/../reference" && cargo build --quiet --locked)
export CHANCERY_REFERENCE="${CARGO_TARGET_DIR:-$here/../reference/target}/debug/chancery-reference"
exec "$here/.cache/py-v1/bin/python" "$here/main.py" "$@"
