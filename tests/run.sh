#!/usr/bin/env bash
# Sets up and runs everything that must hold before a change lands, and stops at the first failure.
#
# PULSETAIL_REQUIRE_ENGINE=1 makes a missing engine or tool a failure; otherwise it is left out, loudly.
set -euo pipefail
cd "$(dirname "$0")/.."

CACHE="${PULSETAIL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pulsetail}"

stage() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    "$@" || { echo "== $name FAILED after $((SECONDS - start)) s" >&2; exit 1; }
    echo "== $name took $((SECONDS - start)) s"
}

# For a tool that tests/setup.sh may have had to leave out.
tool_stage() {
    local name=$1 tool="$CACHE/bin/$2"
    shift 2
    if [ -x "$tool" ]; then
        stage "$name" "$tool" "$@"
    else
        echo "== $name LEFT OUT: no $tool" >&2
        [ "${PULSETAIL_REQUIRE_ENGINE:-}" != 1 ]
    fi
}

cargo_test() {
    cargo test --locked --workspace 2>&1 | tee "$RESULTS"
}

RESULTS=$(mktemp)
trap 'rm -f "$RESULTS"' EXIT

stage setup tests/setup.sh
stage fetch cargo fetch --locked
stage fmt cargo fmt --all --check
stage clippy cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
RUSTDOCFLAGS=-Dwarnings stage doc cargo doc --locked --no-deps --workspace
tool_stage deny cargo-deny --locked --offline --config .deny.toml check --hide-inclusion-graph bans licenses sources
tool_stage "buf lint" buf lint proto
# The contract that clients rely on. When it has grown, make the image anew:
# buf build proto --exclude-source-info -o .ci/contract.binpb
tool_stage "buf breaking" buf breaking proto --against .ci/contract.binpb
stage build cargo build --locked
stage test cargo_test
# Locks and atomics of our own, 10,000 orders of each scenario.
stage schedules cargo test --locked -q --lib --features schedules schedules::
if [ -x tests/clients.sh ]; then
    stage clients tests/clients.sh
fi
echo "== all passed in $SECONDS s"
# cargo ends with the empty result of some crate's documentation, so sum them up.
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
    END { printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$RESULTS"
