#!/usr/bin/env bash
# Runs the benches, keeps what they measure in benches/results, prints the tables, puts them into the README and draws the
# plots.
#
# benches/report.sh [PART…]   all parts, or some (their names stand in fan_out/main.rs and micro/main.rs); what the others
#                             measured before is kept
# benches/report.sh --draw    tables and plots from the results that are there
set -euo pipefail
cd "$(dirname "$0")/.."

MATPLOTLIB=3.11.2
CACHE="${PULSETAIL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pulsetail}"
RESULTS="$PWD/benches/results"

if ! "$CACHE/plots/bin/python" -c 'import matplotlib' 2>/dev/null; then
    python3 -m venv "$CACHE/plots"
    "$CACHE/plots/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "matplotlib==$MATPLOTLIB"
fi
mkdir -p "$RESULTS"
if [ "${1:-}" != --draw ]; then
    # All that has to be built is built before anything is measured.
    cargo bench --locked --no-run --bench micro --bench fan_out
    PULSETAIL_RESULTS="$RESULTS/new.csv"
    export PULSETAIL_RESULTS
    rm -f "$PULSETAIL_RESULTS"
    cargo bench --locked --bench micro -- "$@"
    cargo bench --locked --bench fan_out -- "$@"
fi
"$CACHE/plots/bin/python" benches/report.py "$RESULTS" README.md
