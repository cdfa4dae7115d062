//! The one table of statuses and reasons, and the only place that makes a
//! `Status`. The list stands in `proto/pulsetail/v1/log_service.proto`.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

const DOMAIN: &str = "pulsetail.v1";
const RETRY: Duration = Duration::from_secs(1);
/// Longest part of a client's text that is repeated to it.
const QUOTED: usize = 64;

/// Why a call is refused or a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    SelectorEmpty,
    TimeRangeInvalid,
    RegexInvalid,
    CursorInvalid,
    CursorWrongHost,
    CursorDuplicate,
    PageTokenInvalid,
    FieldInvalid,
    NotImplemented,
    ContainerNotFound,
    TaskNotFound,
    ContainerAmbiguous,
    ContainerRemoving,
    LogDriverUnreadable,
    SubscriptionLimit,
    ContainerLimit,
    SlowConsumer,
    EngineUnavailable,
    EngineLost,
    Draining,
    DeadlineExceeded,
    Fault,
}

impl Reason {
    fn row(self) -> (Code, &'static str) {
        match self {
            Reason::SelectorEmpty => (Code::InvalidArgument, "SELECTOR_EMPTY"),
            Reason::TimeRangeInvalid => (Code::InvalidArgument, "TIME_RANGE_INVALID"),
            Reason::RegexInvalid => (Code::InvalidArgument, "REGEX_INVALID"),
            Reason::CursorInvalid => (Code::InvalidArgument, "CURSOR_INVALID"),
            Reason::CursorWrongHost => (Code::InvalidArgument, "CURSOR_WRONG_HOST"),
            Reason::CursorDuplicate => (Code::InvalidArgument, "CURSOR_DUPLICATE"),
            Reason::PageTokenInvalid => (Code::InvalidArgument, "PAGE_TOKEN_INVALID"),
            Reason::FieldInvalid => (Code::InvalidArgument, "FIELD_INVALID"),
            Reason::NotImplemented => (Code::Unimplemented, "NOT_IMPLEMENTED"),
            Reason::ContainerNotFound => (Code::NotFound, "CONTAINER_NOT_FOUND"),
            Reason::TaskNotFound => (Code::NotFound, "TASK_NOT_FOUND"),
            Reason::ContainerAmbiguous => (Code::FailedPrecondition, "CONTAINER_AMBIGUOUS"),
            Reason::ContainerRemoving => (Code::FailedPrecondition, "CONTAINER_REMOVING"),
            Reason::LogDriverUnreadable => (Code::FailedPrecondition, "LOG_DRIVER_UNREADABLE"),
            Reason::SubscriptionLimit => (Code::ResourceExhausted, "SUBSCRIPTION_LIMIT"),
            Reason::ContainerLimit => (Code::ResourceExhausted, "CONTAINER_LIMIT"),
            Reason::SlowConsumer => (Code::ResourceExhausted, "SLOW_CONSUMER"),
            Reason::EngineUnavailable => (Code::Unavailable, "ENGINE_UNAVAILABLE"),
            Reason::EngineLost => (Code::Unavailable, "ENGINE_LOST"),
            Reason::Draining => (Code::Unavailable, "DRAINING"),
            Reason::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Reason::Fault => (Code::Internal, "FAULT"),
        }
    }

    /// How long a client should wait before it tries again, if it should.
    pub(crate) fn retry_delay(self) -> Option<Duration> {
        match self {
            Reason::ContainerLimit => None,
            _ => {
                matches!(self.row().0, Code::Unavailable | Code::ResourceExhausted).then_some(RETRY)
            }
        }
    }

    /// The status, in words for people.
    pub(crate) fn status(self, message: impl Into<String>) -> Status {
        self.with_violations(message.into(), Vec::new())
    }

    fn with_violations(self, message: String, violations: Vec<FieldViolation>) -> Status {
        let (code, reason) = self.row();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        if !violations.is_empty() {
            details.set_bad_request(violations);
        }
        if let Some(delay) = self.retry_delay() {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(code, message, details)
    }
}

/// Everything wrong with a request, gathered before it is refused.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<(Reason, FieldViolation)>,
}

impl Violations {
    /// Notes that `field` is wrong.
    pub(crate) fn add(
        &mut self,
        reason: Reason,
        field: impl Into<String>,
        what: impl Into<String>,
    ) {
        let violation = FieldViolation::new(field, what);
        self.found.push((reason, violation));
    }

    /// Notes a field that is wrong unless `right`.
    pub(crate) fn require(&mut self, right: bool, reason: Reason, field: &str, what: &str) {
        if !right {
            self.add(reason, field, what);
        }
    }

    /// Notes a field that this release does not implement, if it is `set`.
    pub(crate) fn not_implemented(&mut self, set: bool, field: &str) {
        let what = "not implemented by this release";
        self.require(!set, Reason::NotImplemented, field, what);
    }

    /// The status of the first, naming all.
    pub(crate) fn check(self) -> Result<(), Status> {
        let Some((reason, _)) = self.found.first() else {
            return Ok(());
        };
        let reason = *reason;
        let all: Vec<_> = self
            .found
            .into_iter()
            .map(|(_, violation)| violation)
            .collect();
        let texts = all
            .iter()
            .map(|v| format!("{}: {}", v.field, v.description));
        let message = texts.collect::<Vec<_>>().join("; ");
        Err(reason.with_violations(message, all))
    }
}

/// A client's text, short and harmless enough to stand in a status message.
pub(crate) fn quote(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(QUOTED)
        .flat_map(char::escape_debug)
        .collect();
    let dots = if text.chars().nth(QUOTED).is_some() {
        "…"
    } else {
        ""
    };
    format!("\"{shown}\"{dots}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_are_named_and_the_first_decides() {
        let mut violations = Violations::default();
        violations.add(Reason::TimeRangeInvalid, "until", "before since");
        violations.add(Reason::FieldInvalid, "streams[0]", "unknown");
        let status = violations.check().unwrap_err();
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "TIME_RANGE_INVALID");
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 2);
    }

    #[test]
    fn what_can_be_retried_says_when() {
        let away = Reason::EngineUnavailable.status("away").get_error_details();
        assert_eq!(away.retry_info().unwrap().retry_delay, Some(RETRY));
        let many = Reason::ContainerLimit.status("many").get_error_details();
        assert!(many.retry_info().is_none());
    }

    #[test]
    fn a_quoted_text_is_short_and_escaped() {
        assert_eq!(quote("a\r\n\u{1b}[2J"), r#""a\r\n\u{1b}[2J""#);
        assert!(quote(&"x".repeat(1 << 20)).len() < 100);
    }
}
