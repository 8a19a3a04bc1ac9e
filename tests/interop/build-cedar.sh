#!/usr/bin/env bash
# Builds Cedar's own command line into the directory named by $1, once for each content of this file: what was built is
# kept in ${XDG_CACHE_HOME:-~/.cache}/chancery-interop too, so that a clean clone takes it from there.
#
# It is built from its own released crate and lock file, of the version that chancery has of Cedar. Unoptimized, without
# debug information and without the parts that are experiments, it takes a little over three minutes of one core.
set -euo pipefail

version=4.14.1

target=$1
pins=$( (cat "${BASH_SOURCE[0]}"; uname -sm) | sha256sum | cut -c1-16)
[ "$(cat "$target/pins" 2>/dev/null || true)" = "$pins" ] && exit 0

kept=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/chancery-interop
mkdir -p "$kept" 2>/dev/null && [ -w "$kept" ] || kept=$(mkdir -p "$target" && cd "$target/.." && pwd)/cedar-kept
built=$kept/cedar-$version-$pins

if [ ! -x "$built/cedar" ]; then
  command -v cargo >/dev/null || { echo "build-cedar.sh: cargo is needed and is not on the PATH" >&2; exit 2; }
  echo "building Cedar's command line $version (once; kept in $built)" >&2
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # Outside the repository, so that its toolchain and settings don't count, and in a target directory of its own.
  (cd "$scratch" && env -u CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 RUSTFLAGS= \
    cargo install --quiet --locked --debug --no-default-features --root "$scratch/root" "cedar-policy-cli@$version")
  rm -rf "$built.new"
  mkdir -p "$built.new"
  cp "$scratch/root/bin/cedar" "$built.new/"
  rm -rf "$built"
  mv "$built.new" "$built"
fi

rm -rf "$target"
mkdir -p "$target"
cp "$built/cedar" "$target/"
echo "$pins" > "$target/pins"
