//! What a client asked for, beside whose logs.

use std::time::Duration;

use tokio::sync::watch;

use super::flushes::Parts;
use super::status::{Reason, Violations};
use crate::docker::{ContainerId, Reach, Stream as Source};
use crate::hub::{Batch, MAX_LATENCY, cursor};
use crate::proto::{self, OverflowPolicy};
use crate::tail::{Filter, Levels, Place};

/// What a stream does, beside its members.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) follow: bool,
    pub(crate) until: Option<i64>,
    pub(crate) streams: Vec<Source>,
    pub(crate) filter: Option<Filter>,
    /// Whether whole batches go out compressed.
    pub(crate) gzip: bool,
    /// Whether a client that falls behind is closed, and not caught up.
    pub(crate) disconnect: bool,
    pub(crate) until_exit: bool,
    pub(crate) engine: u64,
    pub(crate) reach: watch::Receiver<Reach>,
}

impl Terms {
    /// The entries of a batch that were asked for, and how many they are. `levels`:
    /// of the lines before them.
    pub(crate) fn select(&self, batch: &Batch, levels: &mut Levels) -> Option<(Parts, usize)> {
        if self.streams.is_empty() && self.until.is_none() && self.filter.is_none() {
            let whole = match self.gzip {
                true => batch.gzipped(),
                false => batch.framed(),
            };
            return Some((vec![whole.clone()], batch.count()));
        }
        batch.select(|span, line| {
            let stream = self.streams.is_empty() || self.streams.contains(&span.stream);
            let mut says = |filter: &Filter| filter.passes(span.stream, line, levels);
            stream
                && self.filter.as_ref().is_none_or(&mut says)
                && self.until.is_none_or(|until| span.time <= until)
        })
    }

    /// A cursor for whoever knows the containers up to `issued`.
    pub(crate) fn cursor(&self, id: &ContainerId, issued: i64, place: Place) -> String {
        cursor(self.engine, *id, issued, place)
    }
}

/// The longest `max_latency`.
const LONGEST: Duration = Duration::from_secs(1);

/// How fast entries travel to a client, and what happens when it is slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) max_latency: Duration,
    pub(crate) disconnect: bool,
}

impl Delivery {
    pub(crate) fn of(request: &proto::StreamLogsRequest, found: &mut Violations) -> Self {
        let asked = request.max_latency.map(Duration::try_from);
        let max_latency = asked.unwrap_or(Ok(MAX_LATENCY));
        let right = max_latency
            .as_ref()
            .is_ok_and(|latency| *latency <= LONGEST);
        let what = "not from 0 to 1 s";
        found.require(right, Reason::FieldInvalid, "max_latency", what);
        let policy = OverflowPolicy::try_from(request.overflow_policy);
        found.not_implemented(policy.is_err(), "overflow_policy");
        Self {
            max_latency: max_latency.unwrap_or(MAX_LATENCY),
            disconnect: policy == Ok(OverflowPolicy::Disconnect),
        }
    }

    /// What `opened` says of it.
    pub(crate) fn fill_in(&self, request: &mut proto::StreamLogsRequest) {
        let policy = match self.disconnect {
            true => OverflowPolicy::Disconnect,
            false => OverflowPolicy::CatchUp,
        };
        request.overflow_policy = policy.into();
        request.max_latency = self.max_latency.try_into().ok();
    }

    /// How long entries may be held for all subscribers of a log, and how long
    /// for this one: both together are no longer than the client allows. Who
    /// reads several logs is written to for all of them together.
    pub(crate) fn shares(&self, is_of_one: bool) -> (Duration, Duration) {
        match is_of_one {
            true => (self.max_latency, Duration::ZERO),
            false => (self.max_latency / 2, self.max_latency / 2),
        }
    }
}
