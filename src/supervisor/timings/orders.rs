//! The table of orders that times and sizes must have.

use std::fmt;
use std::time::Duration;

use super::Wishes;

/// `left < right`, or `left <= right`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    left: (&'static str, Amount),
    strictly: bool,
    right: (&'static str, Amount),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Time(Duration),
    Number(u64),
}

const RECEIVE_LIMIT: u64 = 4 * 1024 * 1024;
const BATCH_LIMIT: u64 = 64 * 1024;
const LEAST_MARGIN: u64 = 3;
const LEAST_KEEPALIVE: Duration = Duration::from_secs(10);
const MOST_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

impl Amount {
    const fn size(self) -> u128 {
        match self {
            Amount::Time(time) => time.as_nanos(),
            Amount::Number(number) => number as u128,
        }
    }
}

impl Order {
    pub(super) const fn holds(&self) -> bool {
        let (left, right) = (self.left.1.size(), self.right.1.size());
        left < right || !self.strictly && left == right
    }
}

type Time = (&'static str, Duration);
type Number = (&'static str, u64);

const fn below(left: Time, right: Time) -> Order {
    Order {
        strictly: true,
        ..within(left, right)
    }
}

const fn within(left: Time, right: Time) -> Order {
    Order {
        left: (left.0, Amount::Time(left.1)),
        strictly: false,
        right: (right.0, Amount::Time(right.1)),
    }
}

const fn at_most(left: Number, right: Number) -> Order {
    Order {
        left: (left.0, Amount::Number(left.1)),
        strictly: false,
        right: (right.0, Amount::Number(right.1)),
    }
}

pub(super) const fn part(time: Duration, of: u32) -> Duration {
    match time.checked_div(of) {
        Some(part) => part,
        None => Duration::ZERO,
    }
}

const ZERO: Time = ("0", Duration::ZERO);

impl Wishes {
    /// What tasks and their watchdog rely on.
    pub(super) const fn of_tasks(&self) -> [Order; 23] {
        let rotation = ("rotation", self.rotation);
        let (open, read) = (("open", self.open), ("read", self.read));
        let (quiet, turn) = (self.quiet(), ("turn", self.turn));
        let timeout = ("heartbeat timeout", self.heartbeat_timeout);
        let third = ("heartbeat timeout / 3", part(self.heartbeat_timeout, 3));
        let margin = ("margin x quiet", quiet.saturating_mul(self.margin));
        let kill = self.cancel_grace.saturating_add(self.abort_grace);
        let looks = ("2 x look", self.look.saturating_mul(2));
        let songs = ("2 x canary", self.canary.saturating_mul(2));
        let silence = ("silence", self.silence);
        let cap = ("backoff cap", self.backoff_cap);
        let retry = ("quarantine retry", self.quarantine_retry);
        let one = ("open + read", self.open.saturating_add(self.read));
        let lives = ("2 x rotation", self.rotation.saturating_mul(2));
        [
            below(ZERO, ("verify", self.verify)),
            within(("verify", self.verify), open),
            within(open, read),
            below(read, rotation),
            within(rotation, ("rest", self.rest)),
            within(("quiet", quiet), ("heartbeat", self.heartbeat)),
            at_most(("3", LEAST_MARGIN), ("margin", self.margin as u64)),
            within(margin, timeout),
            within(("sweep", self.sweep), third),
            below(ZERO, ("look", self.look)),
            within(looks, ("sweep", self.sweep)),
            below(ZERO, ("canary", self.canary)),
            below(songs, silence),
            below(looks, silence),
            below(silence, ("stuck", self.stuck)),
            below(one, turn),
            within(turn, third),
            below(ZERO, ("cancel grace", self.cancel_grace)),
            below(("cancel grace + abort grace", kill), rotation),
            within(("backoff", self.backoff), cap),
            within(cap, timeout),
            within(lives, ("stable", self.stable)),
            below(("window", self.window), retry),
        ]
    }

    /// What clients, probes and whoever stops the service rely on.
    pub(super) const fn of_service(&self) -> [Order; 11] {
        let drain = ("drain deadline", self.drain);
        let bookmark = ("bookmark", self.bookmark);
        let idle = ("balancer idle / 3", part(self.balancer_idle, 3));
        let least = ("10 s", LEAST_KEEPALIVE);
        let most = ("20 s", MOST_KEEPALIVE_TIMEOUT);
        let answer = ("keepalive timeout", self.keepalive_timeout);
        let ping = self.probe.saturating_add(self.probe_timeout);
        let pings = ping.saturating_mul(self.probe_failures);
        let pings = ("failures x (probe + its timeout)", pings);
        let line = self.max_line.saturating_add(self.overhead);
        let message = ("largest message", self.max_message);
        let write = ("write deadline", self.write);
        [
            below(("stream end", self.stream_end), drain),
            below(drain, ("stop grace", self.stop_grace)),
            within(bookmark, idle),
            within(least, ("keepalive", self.keepalive)),
            within(answer, most),
            within(pings, ("staleness of health", self.staleness)),
            at_most(("longest line + overhead", line), message),
            at_most(message, ("what clients receive", RECEIVE_LIMIT)),
            at_most(("batch", self.batch), ("64 KiB", BATCH_LIMIT)),
            within(bookmark, write),
            within(write, drain),
        ]
    }
}

pub(super) const fn all_hold(orders: &[Order]) -> bool {
    let mut at = 0;
    while at < orders.len() {
        if !orders[at].holds() {
            return false;
        }
        at += 1;
    }
    true
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order {
            left,
            strictly,
            right,
        } = self;
        let sign = if *strictly { "<" } else { "<=" };
        let [(left, a), (right, b)] = [left, right];
        write!(f, "{left} ({a}) {sign} {right} ({b}) does not hold")
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Time(time) => write!(f, "{time:?}"),
            Amount::Number(number) => number.fmt(f),
        }
    }
}
