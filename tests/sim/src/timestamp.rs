//! Points in wall-clock time, as the engine prints and parses them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

const NANOS: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

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

    /// Reads the engine's `seconds[.fraction]`; a fraction is padded or cut to nine digits.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("failed to parse value as time or duration: {text:?}");
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits_only = fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !digits_only || !(1..=20).contains(&fraction.len()) {
            return Err(invalid());
        }
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        let nanos: i64 = format!("{fraction:0<9.9}").parse().map_err(|_| invalid())?;
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
        let nanos = |text| Timestamp::parse(text).map(Timestamp::nanos);
        assert_eq!(nanos("5"), Ok(5_000_000_000));
        assert_eq!(nanos("5.1"), Ok(5_100_000_000));
        assert_eq!(nanos("5.0123456789"), Ok(5_012_345_678));
        assert_eq!(nanos("-5"), Ok(-5_000_000_000));
    }

    #[test]
    fn anything_but_seconds_and_digits_is_refused() {
        for text in [
            "",
            "now",
            "2026-01-01T00:00:00Z",
            "5.",
            "5.-1",
            "5.1.1",
            "5.123456789012345678901",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text:?} was taken");
        }
    }
}
