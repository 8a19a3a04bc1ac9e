#!/usr/bin/env bash
# Installs the pinned servers and clients of other projects below tests/interop/.cache, once for each set of pins.
# It uses npm, pip, go and cargo as they are configured on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for tool in node npm python3 go cargo; do
  command -v "$tool" >/dev/null || { echo "install.sh: $tool is needed and is not on the PATH" >&2; exit 2; }
done

# SPIRE and Cedar have pins of their own: another version of an npm package is no reason to build them again.
bash build-spire.sh "$PWD/.cache/spire"
bash build-cedar.sh "$PWD/.cache/cedar"

pins=$(cat package.json package-lock.json requirements-v1.txt requirements-v2.txt requirements-fetch.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat .cache/pins 2>/dev/null || true)" = "$pins" ]; then
  exit 0
fi

rm -rf .cache/pins .cache/node .cache/py-v1 .cache/py-v2 .cache/py-fetch
mkdir -p .cache/node
cp package.json package-lock.json .cache/node/
(cd .cache/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
for name in v1 v2 fetch; do
  python3 -m venv ".cache/py-$name"
  ".cache/py-$name/bin/pip" install --quiet --disable-pip-version-check -r "requirements-$name.txt"
done
echo "$pins" > .cache/pins
