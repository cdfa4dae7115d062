//! What the engine was asked: every request as it came, and counts of them.

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `/_ping`
    Ping,
    /// `/version`
    Version,
    /// `/info`
    Info,
    /// `/containers/json`
    List,
    /// `/containers/{id}/json`
    Inspect,
    /// `/containers/{id}/logs`
    Logs,
    /// `/events`
    Events,
    /// Anything else.
    Unknown,
}

/// A request as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub endpoint: Endpoint,
    /// `GET` and the like.
    pub method: String,
    /// Path and query, not decoded.
    pub target: String,
}

/// What was counted since the beginning, and what is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    requests: [u64; 8],
    /// Faults that struck.
    pub faults: u64,
    /// Connections that are open.
    pub connections: usize,
    /// Log bodies that are open, snapshots included.
    pub log_streams: usize,
    /// Of them, those with `follow`.
    pub follows: usize,
    /// And those without.
    pub snapshots: usize,
    /// The most of those that were open at once.
    pub most_snapshots: usize,
    /// Event bodies that are open.
    pub event_streams: usize,
}

impl Stats {
    /// How often that was asked.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.requests[endpoint as usize]
    }

    /// How often anything was asked.
    #[must_use]
    pub fn all_requests(&self) -> u64 {
        self.requests.iter().sum()
    }

    pub(crate) fn count(&mut self, endpoint: Endpoint) {
        self.requests[endpoint as usize] += 1;
    }
}
