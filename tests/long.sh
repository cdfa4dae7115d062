#!/usr/bin/env bash
# The long suite: 5 million lines over more than 1,000 rotations on both real engines, and 100,000 generated histories.
# Some minutes on two cores; stops by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
export PULSETAIL_REQUIRE_ENGINE=1

tests/setup.sh
cargo test --locked --test real_engine -- --ignored --exact --nocapture \
    long::five_million_lines_over_a_thousand_rotations_come_once_and_in_order
PROPTEST_CASES=100000 cargo test --locked --lib tail::model
