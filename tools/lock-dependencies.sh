#!/bin/sh
# Writes the two lock files from pyproject.toml: every package with its transitive ones, pinned, for all platforms.
# Run it after a change of the dependency lists; needs uv (`pip install uv`).
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "this needs uv: install it with \`pip install uv\` (or pipx)" >&2; exit 1; }

lock() {
    uv pip compile pyproject.toml --universal --python-version 3.11 --quiet \
        --no-header --no-emit-index-url --no-emit-find-links "$@"
}

lock --extra dev --output-file requirements-dev.lock
lock --extra dev --extra peers --output-file requirements-peers.lock
