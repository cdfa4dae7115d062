//! The times that the code keeps, gathered so that their orders can be checked.

use std::time::Duration;

use crate::supervisor::{Timings, Wishes};
use crate::{docker, grpc, hub};

pub(super) const ROTATION: Duration = Duration::from_secs(20);
pub(super) const DRAIN: Duration = Duration::from_secs(20);
pub(super) const MAX_LINE: usize = 1 << 20;
/// They are in order, or nothing is built.
pub(super) const DEFAULT: Timings = Timings::checked(wishes(ROTATION, DRAIN, MAX_LINE));

/// What a rotation, a drain's deadline and the longest line make of the rest.
/// A rotation shorter than the engine's deadlines shortens what is awaited in it.
pub(super) const fn wishes(rotation: Duration, drain: Duration, max_line: usize) -> Wishes {
    let wishes = Wishes {
        verify: shorter(Duration::from_secs(2), part(rotation, 10)),
        open: shorter(docker::OPEN_DEADLINE, part(rotation, 4)),
        read: shorter(docker::READ_DEADLINE, part(rotation, 2)),
        rotation,
        jitter: 10,
        rest: hub::LONGEST_REST,
        turn: Duration::from_secs(30),
        heartbeat: Duration::from_secs(30),
        heartbeat_timeout: Duration::from_secs(300),
        margin: 3,
        look: Duration::from_secs(1),
        sweep: Duration::from_secs(60),
        canary: Duration::from_secs(1),
        silence: Duration::from_secs(10),
        stuck: Duration::from_secs(40),
        cancel_grace: shorter(Duration::from_secs(5), part(rotation, 4)),
        abort_grace: shorter(Duration::from_secs(1), part(rotation, 20)),
        backoff: Duration::from_millis(250),
        backoff_cap: Duration::from_secs(30),
        stable: longer(Duration::from_secs(60), rotation.saturating_mul(2)),
        window: Duration::from_secs(60),
        quarantine_retry: Duration::from_secs(300),
        stream_end: Duration::from_secs(1),
        drain,
        // What is left to do behind the streams, and some room.
        stop_grace: drain.saturating_add(Duration::from_secs(10)),
        bookmark: grpc::PROGRESS,
        balancer_idle: Duration::from_secs(30),
        keepalive: grpc::PING_INTERVAL,
        keepalive_timeout: grpc::PING_TIMEOUT,
        write: grpc::WRITE_DEADLINE,
        probe: docker::PING_INTERVAL,
        probe_timeout: docker::PING_DEADLINE,
        probe_failures: docker::PING_FAILURES,
        staleness: Duration::from_secs(5),
        max_line: max_line as u64,
        overhead: grpc::OVERHEAD as u64,
        max_message: 4 << 20,
        batch: hub::UNIT_BYTES as u64,
    };
    // A quiet log gives one proof per rotation: longer ones are waited for.
    let quiet = wishes.quiet();
    let patience = quiet.saturating_mul(wishes.margin);
    Wishes {
        heartbeat: longer(wishes.heartbeat, quiet),
        heartbeat_timeout: longer(wishes.heartbeat_timeout, patience),
        ..wishes
    }
}

const fn part(time: Duration, of: u32) -> Duration {
    match time.checked_div(of) {
        Some(part) => part,
        None => time,
    }
}

const fn shorter(a: Duration, b: Duration) -> Duration {
    if a.as_nanos() < b.as_nanos() { a } else { b }
}

const fn longer(a: Duration, b: Duration) -> Duration {
    if a.as_nanos() > b.as_nanos() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_flags_allow_is_in_order_but_for_a_hasty_drain() {
        let rotations = [100, 300, 1_000, 20_000, 31_000, 600_000];
        for rotation in rotations.map(Duration::from_millis) {
            for max_line in [1 << 10, 3 << 20] {
                let refused = |drain| {
                    let wishes = wishes(rotation, Duration::from_secs(drain), max_line);
                    Timings::try_new(wishes).err().unwrap_or_default().len()
                };
                assert_eq!([refused(15), refused(600)], [0, 0], "{rotation:?}");
                // Neither would streams end nor clients be cut in time.
                assert_eq!([refused(1), refused(14)], [2, 1], "{rotation:?}");
            }
        }
    }
}
