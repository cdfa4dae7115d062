//! The timestamp prefix the engine puts before each record.
//!
//! Docker writes 30 bytes of RFC 3339 with nine digits and `Z`; Podman trims
//! zeros and may write an offset. Both are read; nothing else is guessed.

use std::time::SystemTime;

/// Longest prefix: date, time, nine digits, offset and the space behind it.
pub(crate) const MAX_PREFIX: usize = 36;

/// Docker's: nine digits, `Z` and the space.
const DOCKERS: usize = 31;

/// Bytes of it up to the digits of a second's fraction, and up to their end.
const SECOND: usize = 20;
const FRACTION: usize = 29;

/// What the start of some bytes is.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Prefix {
    /// A timestamp in ns since the Unix epoch; `len` counts its space.
    Complete { time: i64, len: usize },
    /// May become one when more bytes come.
    Incomplete,
    /// Never becomes one.
    Invalid,
}

impl Prefix {
    /// Reads the prefix at the start of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Prefix {
        if let Some(time) = bytes.first_chunk().and_then(of_docker) {
            return Prefix::Complete { time, len: DOCKERS };
        }
        let window = &bytes[..bytes.len().min(MAX_PREFIX)];
        match window.iter().position(|b| *b == b' ') {
            Some(end) => parse(&window[..end]).map_or(Prefix::Invalid, |time| Prefix::Complete {
                time,
                len: end + 1,
            }),
            None if window.len() < MAX_PREFIX && window.iter().all(|b| is_stamp_byte(*b)) => {
                Prefix::Incomplete
            }
            None => Prefix::Invalid,
        }
    }
}

/// Reads the prefixes of a log's records, most of which share a second with the one
/// before: that is read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefixes {
    /// What Docker wrote of a second, and its beginning in ns since the Unix epoch.
    second: Option<([u8; SECOND], i64)>,
}

impl Prefixes {
    /// [`Prefix::of`].
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Prefix {
        let Some(text) = bytes.first_chunk::<DOCKERS>() else {
            return Prefix::of(bytes);
        };
        if let Some((second, begin)) = &self.second
            && text.starts_with(second)
            && text.ends_with(b"Z ")
            && let Some(nanos) = digits(&text[SECOND..FRACTION])
            && let Some(time) = begin.checked_add(nanos)
        {
            return Prefix::Complete { time, len: DOCKERS };
        }
        let prefix = Prefix::of(bytes);
        self.second = match (prefix, text.first_chunk()) {
            (Prefix::Complete { time, len: DOCKERS }, Some(second)) => {
                let nanos = digits(&text[SECOND..FRACTION]);
                nanos.and_then(|nanos| Some((*second, time.checked_sub(nanos)?)))
            }
            _ => None,
        };
        prefix
    }
}

fn is_stamp_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b':' | b'T' | b'Z' | b'.' | b'+')
}

/// What Docker writes, where every byte has its place; `None`: anything else.
fn of_docker(text: &[u8; DOCKERS]) -> Option<i64> {
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (29, b'Z'),
        (30, b' '),
    ];
    if marks.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let mut strange = false;
    let mut field = |from: usize, to: usize| {
        text[from..to].iter().fold(0, |value: i64, byte| {
            strange |= !byte.is_ascii_digit();
            value * 10 + i64::from(byte.wrapping_sub(b'0'))
        })
    };
    let (year, month, day) = (field(0, 4), field(5, 7), field(8, 10));
    let time = (field(11, 13), field(14, 16), field(17, 19));
    let nanos = field(SECOND, FRACTION);
    if strange {
        return None;
    }
    let seconds = seconds((year, month, day), time)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Seconds since the Unix epoch of a date and a time of day.
fn seconds((year, month, day): (i64, i64, i64), time: (i64, i64, i64)) -> Option<i64> {
    let days = days_from_civil(year, month, day)?;
    let (hour, minute, second) = time;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// RFC 3339 to ns since the Unix epoch; `None` for anything else, and for
/// instants that an `i64` of ns cannot hold (before 1678, after 2261).
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| head[*at] != *byte) {
        return None;
    }
    let field = |from: usize, to: usize| digits(&head[from..to]);
    let date = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let time = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let (nanos, zone) = fraction(rest)?;
    let seconds = seconds(date, time)? - offset(zone)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value: i64, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let scale = 9_usize.checked_sub(len).filter(|_| len > 0)?;
    let value = digits(&rest[..len])? * 10_i64.pow(u32::try_from(scale).ok()?);
    Some((value, &rest[len..]))
}

fn offset(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"Z" => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    Some(sign * (digits(&zone[1..3])? * 3_600 + digits(&zone[4..6])? * 60))
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // March first: the leap day is then the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Our own clock, ns since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_prefix_is_read_to_the_nanosecond() {
        let bytes = b"2026-11-23T20:19:57.012345678Z hello";
        let time = 1_795_465_197_012_345_678;
        assert_eq!(Prefix::of(bytes), Prefix::Complete { time, len: 31 });
    }

    #[test]
    fn trimmed_zeros_and_offsets_are_podmans_and_mean_the_same() {
        assert_eq!(
            parse(b"2026-11-23T21:19:57.5+01:00"),
            parse(b"2026-11-23T20:19:57.500000000Z")
        );
        assert_eq!(
            parse(b"1970-01-01T00:00:00-00:30"),
            Some(1_800 * 1_000_000_000)
        );
    }

    #[test]
    fn leap_days_and_the_epoch_are_where_the_calendar_has_them() {
        assert_eq!(parse(b"1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse(b"2000-03-01T00:00:00Z"),
            parse(b"2000-02-29T00:00:00Z").map(|t| t + 86_400_000_000_000)
        );
        assert_eq!(parse(b"1969-12-31T23:59:59.999999999Z"), Some(-1));
    }

    #[test]
    fn what_docker_writes_is_read_as_anything_else_would_be() {
        let stamp = *b"2026-11-23T20:19:57.012345678Z ";
        for (at, byte) in (0..stamp.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut text = stamp;
            text[at] = byte;
            let quick = of_docker(&text);
            assert!(quick.is_none() || quick == parse(&text[..30]), "{text:?}");
            let is_digit = stamp[at].is_ascii_digit();
            let read = parse(&text[..30]).is_some() && text[30] == b' ';
            assert!(!is_digit || quick.is_some() == read, "{text:?}");
        }
        assert!(of_docker(&stamp).is_some());
    }

    #[test]
    fn a_second_that_was_read_before_changes_nothing() {
        let stamp = *b"2026-11-23T20:19:57.012345678Z ";
        for (at, byte) in (0..stamp.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut text = stamp;
            text[at] = byte;
            let mut prefixes = Prefixes::default();
            for bytes in [&stamp[..], &text, &text, &stamp, &text[..20]] {
                assert_eq!(prefixes.read(bytes), Prefix::of(bytes), "{text:?}");
            }
        }
        // Podman's may be as long, and its offset is no part of a second's fraction.
        let podmans = [
            "2026-11-23T20:19:57.123+01:00 x",
            "2026-11-23T20:19:57.12345678Z  ",
            "2026-11-23T20:19:57.123456+00:00 ",
        ];
        let mut prefixes = Prefixes::default();
        for bytes in podmans.iter().chain(&podmans).map(|text| text.as_bytes()) {
            assert_eq!(prefixes.read(bytes), Prefix::of(bytes));
        }
    }

    #[test]
    fn a_short_start_may_still_become_a_prefix_and_other_text_never_does() {
        assert_eq!(Prefix::of(b""), Prefix::Incomplete);
        assert_eq!(Prefix::of(b"2026-11-23T20:1"), Prefix::Incomplete);
        assert_eq!(Prefix::of(b"hello"), Prefix::Invalid);
        assert_eq!(Prefix::of(b"hello world"), Prefix::Invalid);
        assert_eq!(Prefix::of(b"2026-13-23T20:19:57Z x"), Prefix::Invalid);
        assert_eq!(Prefix::of(&[b'1'; 64]), Prefix::Invalid);
    }
}
