//! A request's `filter`, checked.

use super::status::{Reason, Violations};
use crate::proto;
use crate::tail::{Criteria, Filter, Level, MAX_PATTERN};

/// The filter that a request asks for; `None`: every entry passes.
pub(crate) fn filter(asked: Option<&proto::LogFilter>, found: &mut Violations) -> Option<Filter> {
    let asked = asked?;
    for (text, field) in [
        (&asked.contains, "filter.contains"),
        (&asked.regex, "filter.regex"),
    ] {
        let right = text.len() <= MAX_PATTERN;
        let what = "longer than 1,024 bytes";
        found.require(right, Reason::FieldInvalid, field, what);
    }
    let texts = !asked.contains.is_empty() || !asked.regex.is_empty();
    let right = !asked.invert || texts;
    let what = "inverts contains and regex, of which neither is set";
    found.require(right, Reason::FieldInvalid, "filter.invert", what);
    let min_level = match proto::Level::try_from(asked.min_level) {
        Ok(level) => level_of(level),
        Err(_) => {
            let what = "not known to this release";
            found.add(Reason::NotImplemented, "filter.min_level", what);
            None
        }
    };
    if asked.regex.len() > MAX_PATTERN || asked.contains.len() > MAX_PATTERN {
        return None;
    }
    let criteria = Criteria {
        contains: &asked.contains,
        regex: &asked.regex,
        ignore_case: asked.ignore_case,
        invert: asked.invert,
        min_level,
    };
    let filter = Filter::new(&criteria);
    let filter = filter.map_err(|what| found.add(Reason::RegexInvalid, "filter.regex", what));
    filter.ok().filter(|_| texts || min_level.is_some())
}

fn level_of(level: proto::Level) -> Option<Level> {
    Some(match level {
        proto::Level::Unspecified => return None,
        proto::Level::Trace => Level::Trace,
        proto::Level::Debug => Level::Debug,
        proto::Level::Info => Level::Info,
        proto::Level::Warn => Level::Warn,
        proto::Level::Error => Level::Error,
        proto::Level::Fatal => Level::Fatal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    fn refused(asked: proto::LogFilter) -> (String, Vec<String>) {
        let mut found = Violations::default();
        let _rest = filter(Some(&asked), &mut found);
        let details = found.check().unwrap_err().get_error_details();
        let fields = details.bad_request().unwrap().field_violations.iter();
        let fields = fields.map(|violation| violation.field.clone()).collect();
        (details.error_info().unwrap().reason.clone(), fields)
    }

    #[test]
    fn what_is_wrong_with_a_filter_is_named_by_its_field() {
        let wrong = |reason: &str, fields: &[&str], set: fn(&mut proto::LogFilter)| {
            let mut asked = proto::LogFilter::default();
            set(&mut asked);
            let (told, named) = refused(asked);
            assert_eq!(
                (&*told, named),
                (reason, fields.iter().map(ToString::to_string).collect())
            );
        };
        wrong("REGEX_INVALID", &["filter.regex"], |f| f.regex = "(".into());
        wrong("REGEX_INVALID", &["filter.regex"], |f| {
            f.regex = r"(\w{99}){99}".into();
        });
        wrong("FIELD_INVALID", &["filter.contains", "filter.regex"], |f| {
            f.contains = "x".repeat(MAX_PATTERN + 1);
            f.regex = f.contains.clone();
        });
        wrong("FIELD_INVALID", &["filter.invert"], |f| {
            f.invert = true;
            f.min_level = proto::Level::Warn.into();
        });
        wrong("NOT_IMPLEMENTED", &["filter.min_level"], |f| {
            f.min_level = 99;
        });
    }

    #[test]
    fn a_filter_that_asks_for_nothing_is_none() {
        let mut found = Violations::default();
        let nothing = proto::LogFilter {
            ignore_case: true,
            ..proto::LogFilter::default()
        };
        assert!(filter(Some(&nothing), &mut found).is_none());
        assert!(found.check().is_ok());
    }
}
