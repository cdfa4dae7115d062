//! Requests, checked whole before anything is done for them.

use prost_types::{Duration, Timestamp};
use tonic::Status;

use super::convert::nanos;
use super::filter::filter;
use super::status::{Reason, Violations, quote};
use super::terms::Delivery;
use crate::docker::{Container, FindError, Inventory, Stream, now};
use crate::proto::{self, stream_logs_request::Start};
use crate::tail::{Cursor, Filter, From};
use std::sync::Arc;

/// Most members of one subscription.
pub(crate) const MAX_CONTAINERS: usize = 4_096;
const MAX_NAME: usize = 255;

/// What a `StreamLogs` request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) names: Vec<String>,
    pub(crate) cursors: Vec<(String, Cursor)>,
    pub(crate) follow: bool,
    /// Where members without a cursor start; `None`: from now.
    pub(crate) from: Option<From>,
    /// ns since the Unix epoch.
    pub(crate) until: Option<i64>,
    /// Empty: all.
    pub(crate) streams: Vec<Stream>,
    pub(crate) filter: Option<Filter>,
    pub(crate) delivery: Delivery,
    pub(crate) until_exit: bool,
    pub(crate) effective: proto::StreamLogsRequest,
}

/// Checks a request by itself.
pub(crate) fn plan(mut request: proto::StreamLogsRequest) -> Result<Plan, Status> {
    let mut found = Violations::default();
    let cursors = cursors(std::mem::take(&mut request.cursors), &mut found);
    let names = names(request.selector.as_ref(), cursors.is_empty(), &mut found);
    let filter = filter(request.filter.as_ref(), &mut found);
    let delivery = Delivery::of(&request, &mut found);
    let streams = streams(&request.streams, &mut found);
    let from = start(&request, &cursors, &mut found);
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
        names,
        cursors,
        follow: request.follow,
        from,
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

/// The names of a selector; the other groups come with live selectors.
pub(crate) fn names(
    selector: Option<&proto::Selector>,
    required: bool,
    found: &mut Violations,
) -> Vec<String> {
    let Some(selector) = selector else {
        let what = "names nothing; set selector.names, or give cursors";
        found.require(!required, Reason::SelectorEmpty, "selector", what);
        return Vec::new();
    };
    let sets = [
        (!selector.labels.is_empty(), "selector.labels"),
        (
            !selector.label_requirements.is_empty(),
            "selector.label_requirements",
        ),
        (
            !selector.compose_project.is_empty(),
            "selector.compose_project",
        ),
        (
            !selector.compose_services.is_empty(),
            "selector.compose_services",
        ),
        (!selector.images.is_empty(), "selector.images"),
        (selector.all, "selector.all"),
        (!selector.exclude.is_empty(), "selector.exclude"),
        (selector.include_stopped, "selector.include_stopped"),
        (selector.allow_missing, "selector.allow_missing"),
    ];
    for (set, field) in sets {
        found.not_implemented(set, field);
    }
    let others = sets[..6].iter().any(|(set, _)| *set);
    let empty = selector.names.is_empty() && !others;
    let what = "names nothing; set selector.names";
    found.require(!empty, Reason::SelectorEmpty, "selector", what);
    for (place, name) in selector.names.iter().enumerate() {
        check_name(name, &format!("selector.names[{place}]"), found);
    }
    selector.names.clone()
}

/// Checks the form of a container's name, id or prefix.
pub(crate) fn check_name(name: &str, field: &str, found: &mut Violations) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-*?".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        let what = format!("{} is no container's name, id or prefix", quote(name));
        found.add(Reason::FieldInvalid, field, what);
    } else if name.contains(['*', '?']) {
        found.add(
            Reason::NotImplemented,
            field,
            "globs are not implemented by this release",
        );
    }
}

fn cursors(texts: Vec<String>, found: &mut Violations) -> Vec<(String, Cursor)> {
    let mut cursors: Vec<(String, Cursor)> = Vec::new();
    for (place, text) in texts.into_iter().enumerate() {
        let field = format!("cursors[{place}]");
        match Cursor::decode(&text) {
            Err(error) => found.add(Reason::CursorInvalid, field, error.to_string()),
            Ok(cursor) if cursors.iter().any(|(_, c)| c.container == cursor.container) => {
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
    cursors: &[(String, Cursor)],
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
        None => match cursors.iter().map(|(_, cursor)| cursor.issued).max() {
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
    inventory.find(name).map_err(|error| match error {
        FindError::Missing => {
            Reason::ContainerNotFound.status(format!("no container {}", quote(name)))
        }
        FindError::Ambiguous(some) => Reason::ContainerAmbiguous.status(format!(
            "{} begins the ids of several containers, {} among them",
            quote(name),
            some.join(" and ")
        )),
    })
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
        assert_eq!(
            refused(named("web-*")),
            (Code::Unimplemented, "NOT_IMPLEMENTED".into())
        );
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
