#!/bin/sh
# Fuzzes every target of rust/fuzz for the given seconds, then runs the counted differential runs of the policy.
# Usage: tools/fuzz.sh SECONDS
set -eu
cd "$(dirname "$0")/.."
seconds=$1

if [ -d rust/fuzz ]; then
    command -v cargo-fuzz >/dev/null || {
        echo "missing: \`cargo-fuzz\`" >&2
        echo "    get it: rustup toolchain install nightly && cargo install cargo-fuzz --locked" >&2
        exit 1
    }
    for target in $(cd rust && cargo +nightly fuzz list); do
        echo "fuzzing $target for $seconds s"
        (cd rust && cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -print_final_stats=1)
    done
fi
.venv/bin/python -m tests.policy.long_run
