//! Requests, checked whole before anything is done for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost_types::{Duration, Timestamp};
use tonic::Status;

use super::convert::nanos;
use super::filter::filter;
use super::selector::{self, Criteria, criteria};
use super::status::{Reason, Violations};
use super::terms::Delivery;
use crate::docker::{Container, Inventory, Stream, now};
use crate::proto::{self, stream_logs_request::Start};
use crate::tail::{Cursor, Filter, From};

/// Most members of one subscription.
pub(crate) const MAX_CONTAINERS: usize = 4_096;

/// What a `StreamLogs` request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Whose logs; `None`: exactly those of the cursors.
    pub(crate) criteria: Option<Criteria>,
    pub(crate) cursors: Vec<(String, Cursor)>,
    pub(crate) follow: bool,
    /// Where members without a cursor start; `None`: from now.
    pub(crate) from: Option<From>,
    /// The opening, or the issue of the newest cursor: ns since the Unix epoch.
    pub(crate) opening: i64,
    /// ns since the Unix epoch.
    pub(crate) until: Option<i64>,
    /// Empty: all.
    pub(crate) streams: Vec<Stream>,
    pub(crate) filter: Option<Filter>,
    pub(crate) delivery: Delivery,
    pub(crate) until_exit: bool,
    pub(crate) effective: proto::StreamLogsRequest,
}

impl Plan {
    /// Where a container starts that joins later and has no cursor.
    pub(crate) fn joining(&self) -> From {
        match self.from {
            Some(From::Since(instant)) => From::Since(instant),
            Some(From::Beginning) => From::Beginning,
            _ => From::Since(self.opening),
        }
    }

    /// Whether it can never have more than one member at a time.
    pub(crate) fn is_of_one(&self) -> bool {
        match &self.criteria {
            Some(criteria) => criteria.is_of_one(),
            None => self.cursors.len() == 1,
        }
    }
}

/// Checks a request by itself.
pub(crate) fn plan(mut request: proto::StreamLogsRequest) -> Result<Plan, Status> {
    let mut found = Violations::default();
    let cursors = cursors(std::mem::take(&mut request.cursors), &mut found);
    let criteria = criteria(request.selector.as_ref(), &mut found);
    let named = criteria.is_some() || !cursors.is_empty() || request.selector.is_some();
    let what = "names nothing; set a selector, or give cursors";
    found.require(named, Reason::SelectorEmpty, "selector", what);
    let newest = cursors.iter().map(|(_, cursor)| cursor.issued).max();
    let filter = filter(request.filter.as_ref(), &mut found);
    let delivery = Delivery::of(&request, &mut found);
    let streams = streams(&request.streams, &mut found);
    let from = start(&request, newest, &mut found);
    let until = request
        .until
        .as_ref()
        .and_then(|t| instant(t, "until", &mut found));
    if let (Some(From::Since(since)), Some(until)) = (from, until) {
        let what = "before the start";
        found.require(since <= until, Reason::TimeRangeInvalid, "until", what);
    }
    let what = "needs follow";
    let right = !request.until_exit || request.follow;
    found.require(right, Reason::FieldInvalid, "until_exit", what);
    found.check()?;
    fill_in(&mut request, from, cursors.is_empty());
    delivery.fill_in(&mut request);
    Ok(Plan {
        criteria,
        cursors,
        follow: request.follow,
        from,
        opening: newest.unwrap_or_else(now),
        until,
        streams,
        filter,
        delivery,
        until_exit: request.until_exit,
        effective: request,
    })
}

/// What `opened` says of an unset start.
fn fill_in(request: &mut proto::StreamLogsRequest, from: Option<From>, no_cursors: bool) {
    if request.start.is_none() {
        request.start = match from {
            None => Some(Start::FromNow(true)),
            Some(From::Since(since)) if !no_cursors => {
                Some(Start::Since(super::convert::timestamp(since)))
            }
            Some(_) => Some(Start::FromBeginning(true)),
        };
    }
}

fn cursors(texts: Vec<String>, found: &mut Violations) -> Vec<(String, Cursor)> {
    let mut cursors: Vec<(String, Cursor)> = Vec::new();
    let mut given = BTreeSet::new();
    for (place, text) in texts.into_iter().enumerate() {
        let field = format!("cursors[{place}]");
        match Cursor::decode(&text) {
            Err(error) => found.add(Reason::CursorInvalid, field, error.to_string()),
            Ok(cursor) if !given.insert(cursor.container) => {
                found.add(
                    Reason::CursorDuplicate,
                    field,
                    "a second cursor of its container",
                );
            }
            Ok(cursor) => cursors.push((text, cursor)),
        }
    }
    cursors
}

pub(crate) fn streams(values: &[i32], found: &mut Violations) -> Vec<Stream> {
    let mut streams = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let field = format!("streams[{place}]");
        match proto::Stream::try_from(*value) {
            Ok(proto::Stream::Stdout) => streams.push(Stream::Stdout),
            Ok(proto::Stream::Stderr) => streams.push(Stream::Stderr),
            Ok(proto::Stream::Tty) => streams.push(Stream::Tty),
            Ok(proto::Stream::Unspecified) => {
                found.add(Reason::FieldInvalid, field, "must be a stream");
            }
            Err(_) => found.add(Reason::NotImplemented, field, "not known to this release"),
        }
    }
    streams
}

fn start(
    request: &proto::StreamLogsRequest,
    newest: Option<i64>,
    found: &mut Violations,
) -> Option<From> {
    let mut must_be_true = |value: bool, field: &str| {
        found.require(
            value,
            Reason::FieldInvalid,
            field,
            "must be true when it is set",
        );
    };
    match &request.start {
        Some(Start::Since(time)) => instant(time, "since", found).map(From::Since),
        Some(Start::SinceAgo(ago)) => since_ago(ago, found).map(From::Since),
        Some(Start::TailLines(0)) => None,
        Some(Start::TailLines(lines)) => Some(From::Lines(*lines)),
        Some(Start::FromNow(value)) => {
            must_be_true(*value, "from_now");
            None
        }
        Some(Start::FromBeginning(value)) => {
            must_be_true(*value, "from_beginning");
            Some(From::Beginning)
        }
        None => match newest {
            Some(issued) => Some(From::Since(issued)),
            None if request.follow => None,
            None => Some(From::Beginning),
        },
    }
}

pub(crate) fn instant(time: &Timestamp, field: &str, found: &mut Violations) -> Option<i64> {
    let instant = nanos(time);
    let what = "outside the range of google.protobuf.Timestamp";
    found.require(instant.is_some(), Reason::FieldInvalid, field, what);
    instant
}

fn since_ago(ago: &Duration, found: &mut Violations) -> Option<i64> {
    let right = ago.seconds >= 0 && (0..1_000_000_000).contains(&ago.nanos);
    let what = "must not be negative, nor its nanoseconds 10^9 or more";
    found.require(right, Reason::FieldInvalid, "since_ago", what);
    let ns = ago.seconds.saturating_mul(1_000_000_000);
    right.then(|| now().saturating_sub(ns.saturating_add(i64::from(ago.nanos))))
}

/// The container that `name` names; its text goes no further.
pub(crate) fn resolve<'a>(
    inventory: &'a Inventory,
    name: &str,
) -> Result<&'a Arc<Container>, Status> {
    let found = inventory.find(name);
    found.map_err(|error| selector::not_found(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::StatusExt;

    fn named(name: &str) -> proto::StreamLogsRequest {
        let selector = proto::Selector {
            names: vec![name.to_owned()],
            ..proto::Selector::default()
        };
        proto::StreamLogsRequest {
            selector: Some(selector),
            ..proto::StreamLogsRequest::default()
        }
    }

    fn refused(request: proto::StreamLogsRequest) -> (Code, String) {
        let status = plan(request).unwrap_err();
        let details = status.get_error_details();
        (status.code(), details.error_info().unwrap().reason.clone())
    }

    #[test]
    fn without_follow_a_request_starts_at_the_beginning_and_with_it_now() {
        let mut request = named("web");
        assert_eq!(plan(request.clone()).unwrap().from, Some(From::Beginning));
        request.follow = true;
        let plan = plan(request).unwrap();
        assert_eq!(plan.from, None);
        assert_eq!(plan.effective.start, Some(Start::FromNow(true)));
    }

    #[test]
    fn names_that_are_none_are_refused_before_anything_is_looked_up() {
        let long = "x".repeat(1 << 20);
        for name in ["", "x/export?", "../info", "web#", "a\r\nb", "%2f", &long] {
            assert_eq!(
                refused(named(name)),
                (Code::InvalidArgument, "FIELD_INVALID".into())
            );
        }
        assert!(plan(named("web-*")).is_ok());
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        let nothing = proto::StreamLogsRequest::default();
        assert_eq!(
            refused(nothing.clone()),
            (Code::InvalidArgument, "SELECTOR_EMPTY".into())
        );
        let empty = proto::StreamLogsRequest {
            selector: Some(proto::Selector::default()),
            ..nothing
        };
        assert_eq!(
            refused(empty),
            (Code::InvalidArgument, "SELECTOR_EMPTY".into())
        );
    }

    #[test]
    fn a_start_that_is_set_must_mean_it() {
        let mut request = named("web");
        request.start = Some(Start::FromNow(false));
        assert_eq!(refused(request.clone()).1, "FIELD_INVALID");
        request.start = Some(Start::SinceAgo(Duration {
            seconds: -1,
            nanos: 0,
        }));
        assert_eq!(refused(request.clone()).1, "FIELD_INVALID");
        request.start = Some(Start::Since(Timestamp {
            seconds: 20,
            nanos: 0,
        }));
        request.until = Some(Timestamp {
            seconds: 10,
            nanos: 0,
        });
        assert_eq!(refused(request).1, "TIME_RANGE_INVALID");
    }

    #[test]
    fn fields_of_later_releases_are_refused_by_name() {
        let mut request = named("web");
        request.streams = vec![99];
        let status = plan(request).unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(
            status.message().starts_with("streams[0]:"),
            "{}",
            status.message()
        );
    }

    #[test]
    fn a_garbled_cursor_is_refused_by_its_place() {
        let mut request = named("web");
        request.cursors = vec!["garbage".to_owned()];
        let status = plan(request).unwrap_err();
        assert!(
            status.message().starts_with("cursors[0]:"),
            "{}",
            status.message()
        );
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "CURSOR_INVALID"
        );
    }
}
