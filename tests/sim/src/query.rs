//! Query strings, and the reading rules they ask for: tail, since and until.

use crate::timestamp::Grammar;
use crate::{Record, Stream, Timestamp};

/// The decoded parameters of a request.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(decode_pair)
                .collect(),
        )
    }

    /// The first value of that name; an empty one counts as absent, as it does for the engine.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// The engine takes anything for true that is not one of these.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !["0", "no", "false", "none"].contains(&value.to_lowercase().trim())
        })
    }

    /// A time. Zero is one, too.
    pub(crate) fn time(&self, name: &str, grammar: Grammar) -> Result<Option<Timestamp>, String> {
        let parse = |text| Timestamp::parse(text, grammar);
        self.get(name).map(parse).transpose()
    }
}

fn decode_pair((name, value): (&str, &str)) -> (String, String) {
    (
        percent_decode(&name.replace('+', " ")),
        percent_decode(&value.replace('+', " ")),
    )
}

/// Replaces `%XX`; a `%` without two digits stands for itself.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = escaped
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many stored records, of both streams, a read begins before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    All,
    Last(usize),
}

impl Tail {
    /// Negative or no number at all means everything.
    pub(crate) fn parse(text: &str) -> Self {
        text.parse().map_or(Self::All, Self::Last)
    }
}

/// What one request for logs lets through, record by record.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) since: Since,
    pub(crate) until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Since {
    /// Everything passes.
    Open,
    /// Until 23.0: each record is held against the time.
    Each(Timestamp),
    /// From 24.0: the first record that is new enough opens the gate for good.
    First(Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Skip,
    /// The whole stream ends before this record.
    End,
}

impl Filter {
    pub(crate) fn judge(&mut self, record: &Record) -> Verdict {
        match self.since {
            Since::Each(since) | Since::First(since) if record.time < since => {
                return Verdict::Skip;
            }
            Since::First(_) => self.since = Since::Open,
            Since::Each(_) | Since::Open => (),
        }
        if self.until.is_some_and(|until| record.time > until) {
            return Verdict::End;
        }
        let wanted = match record.stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        if wanted { Verdict::Pass } else { Verdict::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_percent_decoded() {
        let query = Query::parse("filters=%7B%22type%22%3A%5B%22container%22%5D%7D&a+b=1%&empty=");
        assert_eq!(query.get("filters"), Some(r#"{"type":["container"]}"#));
        assert_eq!(query.get("a b"), Some("1%"));
        assert_eq!(query.get("empty"), None);
    }

    #[test]
    fn flags_are_true_unless_they_say_no() {
        let query = Query::parse("a=1&b=true&c=0&d=False&e=none&f=&g=no&h=yes");
        let set: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
            .into_iter()
            .filter(|flag| query.flag(flag))
            .collect();
        assert_eq!(set, ["a", "b", "h"]);
    }

    #[test]
    fn a_tail_that_is_negative_or_no_number_means_all() {
        assert_eq!(
            ["all", "-1", "x", "", "0", "7"].map(Tail::parse),
            [
                Tail::All,
                Tail::All,
                Tail::All,
                Tail::All,
                Tail::Last(0),
                Tail::Last(7)
            ]
        );
    }
}
