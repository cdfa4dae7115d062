#!/usr/bin/env bash
# The long suite: 5 million lines over more than 1,000 rotations and 50 outages on both real engines, 100,000 generated
# histories, and 1,000 services in virtual time.
# Half an hour on two cores; stops by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
export PULSETAIL_REQUIRE_ENGINE=1

tests/setup.sh
for test in long::five_million_lines_over_a_thousand_rotations_come_once_and_in_order \
    outages::fifty_outages_are_survived_within_their_bounds; do
    cargo test --locked --test real_engine -- --ignored --exact --nocapture "$test"
done
# As many members of one stream as there may be, and one more; a thousand containers that come and go, 50 per second.
for test in selectors::limits::one_member_too_many_ends_a_stream_that_holds_all_others churn::a_thousand_containers; do
    cargo test --locked --test integration -- --ignored --exact --nocapture "$test"
done
# The counts of the paths taken are printed; one that was taken fewer than 1,000 times makes the run void.
PROPTEST_CASES=100000 cargo test --locked --profile cases --lib tail::model -- --nocapture
PULSETAIL_SEEDS=1000 cargo test --locked --lib simulation
