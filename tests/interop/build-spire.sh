#!/usr/bin/env bash
# Builds the pinned SPIRE, server and agent, into the directory named by $1, once for each content of this file: what
# was built is kept in ${XDG_CACHE_HOME:-~/.cache}/chancery-interop too, so that a clean clone takes it from there.
#
# SPIRE is built from its own released module, inside it and with its own go.mod and go.sum. One thing is changed in
# the copy: the plugins for clouds, clusters and key vaults are taken off the lists of built-in plugins. None of them
# is used here, and without them the build needs a third of the time and of the downloads (and not a module of a vendor's
# client that some proxies don't serve). What stays: SPIRE's servers, its CA, the join token, SQLite, the key managers
# `disk` and `memory`, the workload attestor `unix`.
set -euo pipefail

version=v1.15.3
sum=h1:z1h9DOYWtPdPQiKL2F+BShzfTq0k235tdROg0WRo8S8=
left_out='(aws|azure|gcp|gcs|k8s|hashicorpvault|vault|ejbca|certmanager|docker|slurm|systemd|tpmdevid|httpchallenge|sshpop)[a-z0-9]*'

target=$1
pins=$( (cat "${BASH_SOURCE[0]}"; uname -sm) | sha256sum | cut -c1-16)
[ "$(cat "$target/pins" 2>/dev/null || true)" = "$pins" ] && exit 0

kept=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/chancery-interop
mkdir -p "$kept" 2>/dev/null && [ -w "$kept" ] || kept=$(mkdir -p "$target" && cd "$target/.." && pwd)/spire-kept
built=$kept/spire-$version-$pins

if [ ! -x "$built/spire-agent" ]; then
  for tool in go "${CC:-cc}"; do
    command -v "$tool" >/dev/null || {
      echo "build-spire.sh: $tool is needed to build SPIRE $version and is not on the PATH" >&2
      exit 2
    }
  done
  echo "building SPIRE $version (once; kept in $built)" >&2
  scratch=$(mktemp -d)
  trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
  cd "$scratch"
  export GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=1
  said=$(go mod download -json "github.com/spiffe/spire@$version") || { echo "$said" >&2; exit 1; }
  field() { printf '%s' "$said" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
  [ "$(field Sum)" = "$sum" ] || { echo "build-spire.sh: SPIRE's module is $(field Sum), not $sum" >&2; exit 1; }
  cp -r "$(field Dir)" src
  chmod -R u+w src
  for list in src/pkg/server/catalog/*.go src/pkg/agent/catalog/*.go; do
    case $list in *_test.go | */catalog.go) continue ;; esac
    sed -i -E "/\"github.com\/spiffe\/spire\/pkg\/[a-z]+\/plugin\/[a-z]+\/$left_out\"\$/d; /^\t\t$left_out\.BuiltIn\(\),\$/d" "$list"
  done
  # SQLite is C: it warns about itself, and takes longest where it is optimized, which nothing here needs.
  CGO_CFLAGS="-O0 -w" go build -C src -trimpath -ldflags "-s -w" -o "$scratch/bin/" ./cmd/spire-server ./cmd/spire-agent
  rm -rf "$built.new"
  mkdir -p "$built.new"
  cp bin/* "$built.new/"
  rm -rf "$built"
  mv "$built.new" "$built"
fi

rm -rf "$target"
mkdir -p "$target"
cp "$built"/spire-server "$built"/spire-agent "$target/"
echo "$pins" > "$target/pins"
