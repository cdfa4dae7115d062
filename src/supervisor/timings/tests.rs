//! Each order is held, and what is accepted can be relied on.

use super::*;
use proptest::prelude::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The values of the table that the orders come from.
pub(crate) const TABLE: Wishes = Wishes {
    verify: seconds(2),
    open: seconds(5),
    read: seconds(10),
    rotation: seconds(20),
    jitter: 10,
    rest: seconds(3_600),
    turn: seconds(30),
    heartbeat: seconds(30),
    heartbeat_timeout: seconds(300),
    margin: 3,
    look: seconds(1),
    sweep: seconds(60),
    canary: seconds(1),
    silence: seconds(10),
    stuck: seconds(40),
    cancel_grace: seconds(5),
    abort_grace: seconds(1),
    backoff: Duration::from_millis(250),
    backoff_cap: seconds(30),
    stable: seconds(60),
    window: seconds(60),
    quarantine_retry: seconds(300),
    stream_end: seconds(1),
    drain: seconds(20),
    stop_grace: seconds(30),
    bookmark: seconds(10),
    balancer_idle: seconds(30),
    keepalive: seconds(30),
    keepalive_timeout: seconds(10),
    write: seconds(15),
    probe: Duration::from_millis(1_500),
    probe_timeout: seconds(1),
    probe_failures: 2,
    staleness: seconds(5),
    max_line: 1 << 20,
    overhead: 128 << 10,
    max_message: 3 << 20,
    batch: 64 << 10,
};

const _: Timings = Timings::checked(TABLE);

/// What is refused of the table with one value changed.
fn refused(change: impl Fn(&mut Wishes)) -> Vec<String> {
    let mut wishes = TABLE;
    change(&mut wishes);
    let refused = Timings::try_new(wishes).expect_err("an order is broken");
    refused.iter().map(ToString::to_string).collect()
}

type Change = fn(&mut Wishes);

/// One value of [`TABLE`] each that breaks one order, and the order.
const BROKEN: [(Change, &str); 32] = [
    (|w| w.verify = seconds(0), "0 (0ns) < verify (0ns)"),
    (|w| w.open = seconds(1), "verify (2s) <= open (1s)"),
    (|w| w.read = seconds(4), "open (5s) <= read (4s)"),
    (|w| w.read = seconds(20), "read (20s) < rotation (20s)"),
    (|w| w.rest = seconds(19), "rotation (20s) <= rest (19s)"),
    (|w| w.jitter = 16, "quiet (30.2s) <= heartbeat (30s)"),
    (|w| w.margin = 2, "3 (3) <= margin (2)"),
    (
        |w| w.margin = 11,
        "margin x quiet (319s) <= heartbeat timeout (300s)",
    ),
    (
        |w| w.sweep = seconds(101),
        "sweep (101s) <= heartbeat timeout / 3 (100s)",
    ),
    (|w| w.look = seconds(0), "0 (0ns) < look (0ns)"),
    (|w| w.sweep = seconds(1), "2 x look (2s) <= sweep (1s)"),
    (|w| w.canary = seconds(0), "0 (0ns) < canary (0ns)"),
    (
        |w| w.canary = seconds(5),
        "2 x canary (10s) < silence (10s)",
    ),
    (|w| w.look = seconds(5), "2 x look (10s) < silence (10s)"),
    (|w| w.stuck = seconds(10), "silence (10s) < stuck (10s)"),
    (|w| w.turn = seconds(15), "open + read (15s) < turn (15s)"),
    (
        |w| w.turn = seconds(101),
        "turn (101s) <= heartbeat timeout / 3 (100s)",
    ),
    (
        |w| w.cancel_grace = seconds(0),
        "0 (0ns) < cancel grace (0ns)",
    ),
    (
        |w| w.abort_grace = seconds(15),
        "cancel grace + abort grace (20s) < rotation (20s)",
    ),
    (
        |w| w.backoff = seconds(31),
        "backoff (31s) <= backoff cap (30s)",
    ),
    (
        |w| w.backoff_cap = seconds(301),
        "backoff cap (301s) <= heartbeat timeout (300s)",
    ),
    (
        |w| w.stable = seconds(39),
        "2 x rotation (40s) <= stable (39s)",
    ),
    (
        |w| w.window = seconds(300),
        "window (300s) < quarantine retry (300s)",
    ),
    (
        |w| w.stream_end = seconds(20),
        "stream end (20s) < drain deadline (20s)",
    ),
    (
        |w| w.stop_grace = seconds(20),
        "drain deadline (20s) < stop grace (20s)",
    ),
    (
        |w| w.bookmark = seconds(11),
        "bookmark (11s) <= balancer idle / 3 (10s)",
    ),
    (|w| w.keepalive = seconds(9), "10 s (10s) <= keepalive (9s)"),
    (
        |w| w.keepalive_timeout = seconds(21),
        "keepalive timeout (21s) <= 20 s (20s)",
    ),
    (
        |w| w.probe_timeout = seconds(2),
        "failures x (probe + its timeout) (7s) <= staleness of health (5s)",
    ),
    (
        |w| w.max_message = 5 << 20,
        "largest message (5242880) <= what clients receive (4194304)",
    ),
    (|w| w.batch = 65_537, "batch (65537) <= 64 KiB (65536)"),
    (
        |w| w.write = seconds(9),
        "bookmark (10s) <= write deadline (9s)",
    ),
];

#[test]
fn each_order_alone_is_refused_with_its_values() {
    for (change, expected) in BROKEN {
        assert_eq!(refused(change), [format!("{expected} does not hold")]);
    }
    let line = refused(|w| w.max_line = 3 << 20);
    assert_eq!(
        line,
        ["longest line + overhead (3276800) <= largest message (3145728) does not hold"]
    );
    let write = refused(|w| w.write = seconds(21));
    assert_eq!(
        write,
        ["write deadline (21s) <= drain deadline (20s) does not hold"]
    );
}

#[test]
fn all_violations_are_told_at_once() {
    let none = Duration::ZERO;
    let refused = refused(|w| (w.verify, w.look, w.cancel_grace, w.margin) = (none, none, none, 1));
    assert_eq!(refused.len(), 4, "{refused:#?}");
}

#[test]
fn the_bounds_are_those_that_are_promised() {
    let timings = Timings::checked(TABLE);
    assert_eq!(timings.detection(), seconds(360));
    assert_eq!(timings.stall_detection(), seconds(90));
    assert_eq!(timings.recovery(), seconds(37));
}

proptest! {
    /// Whatever is accepted can be relied on; extremes neither panic nor wrap.
    #[test]
    fn what_is_accepted_is_in_order(
        times in prop::array::uniform8(prop_oneof![0..100_u64, Just(u64::MAX)]),
        numbers in prop::array::uniform3(prop_oneof![0..8_u32, Just(u32::MAX)]),
    ) {
        let [verify, open, read, rotation, turn, sweep, cancel, write] = times.map(seconds);
        let [margin, jitter, probe_failures] = numbers;
        let wishes = Wishes {
            verify, open, read, rotation, turn, sweep, write,
            cancel_grace: cancel, margin, jitter, probe_failures, ..TABLE
        };
        if let Ok(timings) = Timings::try_new(wishes) {
            prop_assert!(Duration::ZERO < verify && verify <= open && open <= read && read < rotation);
            prop_assert!(rotation + open + verify <= timings.heartbeat);
            prop_assert!(3 * timings.quiet() <= timings.heartbeat_timeout);
            prop_assert!(timings.detection() <= timings.heartbeat_timeout * 4 / 3);
            prop_assert!(cancel + timings.abort_grace < rotation && write <= timings.drain);
        }
    }
}
