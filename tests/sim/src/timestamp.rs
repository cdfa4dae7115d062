//! Points in wall-clock time, as the engine prints and parses them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

const NANOS: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// What an engine takes for a fraction of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Any whole number: it may have a sign, and more digits than a nanosecond needs, but not none.
    Number,
    /// No, or up to twenty, digits, of which the first nine count.
    Digits,
}

impl Grammar {
    fn nanos(self, fraction: &str) -> Option<i64> {
        match self {
            Self::Number => {
                let number: i64 = fraction.parse().ok()?;
                let missing = 9 - i32::try_from(fraction.len()).ok()?;
                // As coarse as the engine's own arithmetic.
                Some((number as f64 * 10_f64.powi(missing)) as i64)
            }
            Self::Digits => {
                let digits_only = fraction.bytes().all(|byte| byte.is_ascii_digit());
                let fits = digits_only && fraction.len() <= 20;
                fits.then(|| format!("{fraction:0<9.9}").parse().ok())?
            }
        }
    }
}

/// Nanoseconds since the Unix epoch, from 1677 to 2262.
///
/// Displays as RFC 3339 with nine fraction digits and `Z`: the fixed width the engine puts before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// So many nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// So many seconds after the epoch.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS))
    }

    /// What the machine's own clock says.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(Self(0), |since_epoch| Self(0) + since_epoch)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// Reads the engine's `seconds[.fraction]`.
    pub(crate) fn parse(text: &str, grammar: Grammar) -> Result<Self, String> {
        let invalid = || format!("failed to parse value as time or duration: {text:?}");
        let (seconds, fraction) = match text.split_once('.') {
            None => (text, Some(0)),
            Some((seconds, fraction)) => (seconds, grammar.nanos(fraction)),
        };
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        let nanos = fraction.ok_or_else(invalid)?;
        Ok(Self(seconds.saturating_mul(NANOS).saturating_add(nanos)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(in_nanos(later)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(in_nanos(earlier)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.secs().div_euclid(SECONDS_PER_DAY));
        let of_day = self.secs().rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let nanos = self.0.rem_euclid(NANOS);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
        )
    }
}

fn in_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Year, month and day of a day counted from the epoch, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // The year is taken to begin in March, so that a leap day is the last one of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_printed_with_nine_digits_and_z() {
        let printed = |nanos| Timestamp::from_nanos(nanos).to_string();
        assert_eq!(printed(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(printed(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(
            printed(1_709_164_800_000_000_001),
            "2024-02-29T00:00:00.000000001Z"
        );
        assert_eq!(
            printed(1_767_225_599_120_000_000),
            "2025-12-31T23:59:59.120000000Z"
        );
    }

    #[test]
    fn a_fraction_is_padded_or_cut_to_nanoseconds() {
        for grammar in [Grammar::Number, Grammar::Digits] {
            let nanos = |text| Timestamp::parse(text, grammar).map(Timestamp::nanos);
            assert_eq!(nanos("5"), Ok(5_000_000_000));
            assert_eq!(nanos("5.1"), Ok(5_100_000_000));
            assert_eq!(nanos("5.0123456789"), Ok(5_012_345_678));
            assert_eq!(nanos("5.123456789"), Ok(5_123_456_789));
            assert_eq!(nanos("-5"), Ok(-5_000_000_000));
        }
    }

    #[test]
    fn anything_but_seconds_and_a_fraction_is_refused() {
        for text in ["", "now", "2026-01-01T00:00:00Z", "5.x", "5.1.1"] {
            for grammar in [Grammar::Number, Grammar::Digits] {
                let parsed = Timestamp::parse(text, grammar);
                assert!(parsed.is_err(), "{text:?} was taken by {grammar:?}");
            }
        }
    }

    #[test]
    fn grammars_differ_in_signs_and_in_how_many_digits_they_take() {
        let taken = |text| {
            [Grammar::Number, Grammar::Digits]
                .map(|grammar| Timestamp::parse(text, grammar).is_ok())
        };
        assert_eq!(taken("5."), [false, true]);
        assert_eq!(taken("5.-1"), [true, false]);
        assert_eq!(taken("5.000000000000000000001"), [true, false]);
        assert_eq!(taken("5.12345678901234567890"), [false, true]);
    }
}
