#!/bin/sh
# Says what this machine lacks for building chio_fast, and how to get it. Prints nothing when all is there.
# Usage: tools/check-machine.sh PYTHON
set -eu
python=$1
missing=0

lack() {
    missing=1
    echo "missing: $1" >&2
    echo "    get it: $2" >&2
}

if ! command -v "$python" >/dev/null; then
    lack "\`$python\`" "Debian/Ubuntu: apt-get install python3 python3-venv; macOS: brew install python; or name another: make PYTHON=python3.12"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    lack "Python 3.11 or newer (\`$python\` is $("$python" -c 'import platform; print(platform.python_version())'))" \
        "install a newer one and name it: make PYTHON=python3.12"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    lack "the venv module of Python" "Debian/Ubuntu: apt-get install python3-venv"
fi

if ! command -v cargo >/dev/null; then
    lack "\`cargo\` (the Rust toolchain; rust-toolchain.toml names the version, rustup brings it)" \
        "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
fi
if ! command -v cc >/dev/null; then
    lack "\`cc\` (a C compiler, for SQLite)" "Debian/Ubuntu: apt-get install build-essential; macOS: xcode-select --install"
fi
exit $missing
