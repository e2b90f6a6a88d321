#!/bin/sh
# Fuzzes the targets of rust/fuzz (all, or those named) for the given seconds each, then has the policy engine and the
# reference evaluator compare their decisions on generated policies, and counts them.
# Usage: tools/fuzz.sh SECONDS [TARGET...]
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift

missing() {
    echo "missing: $1" >&2
    echo "    get it: $2" >&2
    exit 1
}

command -v rustup >/dev/null || missing "\`rustup\`, which keeps the nightly compiler" "https://rustup.rs"
cargo +nightly --version >/dev/null 2>&1 ||
    missing "the nightly Rust compiler" "rustup toolchain install nightly --profile minimal"
command -v cargo-fuzz >/dev/null || {
    echo "installing cargo-fuzz"
    cargo install cargo-fuzz --locked --quiet || missing "\`cargo-fuzz\`" "cargo install cargo-fuzz --locked"
}

.venv/bin/python tools/frame_seeds.py tests/vectors/logs.json rust/fuzz/corpus/frame

cd rust/fuzz
targets=${*:-$(cargo +nightly fuzz list --fuzz-dir .)}
for target in $targets; do
    echo "fuzzing $target for $seconds s"
    mkdir -p "corpus/$target" "seeds/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -verbosity=0 -print_final_stats=1
done
cd ../..

.venv/bin/python -m tests.policy.long_run --cases "${FUZZ_CASES:-1000000}"
