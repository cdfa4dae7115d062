//! Which engine is played: its version, the API versions it takes, and the habits that changed between releases.

use std::fmt;

use crate::timestamp::Grammar;

/// An API version such as 1.41.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Api {
    major: u16,
    minor: u16,
}

impl Api {
    /// The first version in which an error is a JSON document.
    pub(crate) const JSON_ERRORS: Self = Self::v1(24);
    /// The first version in which the Content-Type tells multiplexed log bodies from raw ones.
    pub(crate) const MULTIPLEXED: Self = Self::v1(42);
    /// The first version in which events have no legacy fields, and a Content-Type for lines of JSON.
    pub(crate) const NO_LEGACY_EVENTS: Self = Self::v1(52);

    const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Api {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

/// A Docker Engine release, and the host it claims to run on.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) version: &'static str,
    pub(crate) host: String,
    pub(crate) api_min: Api,
    pub(crate) api_max: Api,
    pub(crate) habits: Habits,
}

/// What releases do differently with the same log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// From 23.0 log bodies have a Content-Type; it is the raw one where the API does not know the other.
    pub(crate) logs_have_content_type: bool,
    /// From 23.0 the `local` driver ends the last part of a long line with a newline.
    pub(crate) local_ends_long_lines: bool,
    /// From 23.0 a follow stream is deaf, and `tail=N` spins, once the file was truncated from outside.
    pub(crate) deaf_after_truncation: bool,
    /// Until 23.0 `since` stops opening rotated files at the first compressed one that is too old.
    pub(crate) since_loses_compressed_files: bool,
    /// From 24.0 `since` skips to the first record that is new enough and returns everything after it.
    pub(crate) since_seeks: bool,
    /// From 24.0 the event of a death tells how long the process ran.
    pub(crate) deaths_tell_duration: bool,
    /// 20.10 answers a malformed `since` with 500, later releases with 400.
    pub(crate) bad_time_status: u16,
    /// What a time may look like; seen on 20.10 and on the newest, and taken to have changed with 29.
    pub(crate) time_grammar: Grammar,
    /// Podman's answers: no log has a head before its first line, none is refused with 501, and the version names it.
    pub(crate) is_podman: bool,
    /// The newest judges a log's `since` and `until` before it looks for the container; since 29, as far as is known.
    pub(crate) judges_times_first: bool,
}

impl Engine {
    /// 20.10.24, API 1.12 to 1.41.
    #[must_use]
    pub fn docker_20_10() -> Self {
        Self::release("20.10.24", 20, Api::v1(12), Api::v1(41))
    }

    /// 23.0.6, API 1.12 to 1.42: the first with the rewritten follow.
    #[must_use]
    pub fn docker_23() -> Self {
        Self::release("23.0.6", 23, Api::v1(12), Api::v1(42))
    }

    /// 24.0.9, API 1.12 to 1.43: the first whose `since` seeks.
    #[must_use]
    pub fn docker_24() -> Self {
        Self::release("24.0.9", 24, Api::v1(12), Api::v1(43))
    }

    /// 28.5.1, API 1.24 to 1.51.
    #[must_use]
    pub fn docker_28() -> Self {
        Self::release("28.5.1", 28, Api::v1(24), Api::v1(51))
    }

    /// 29.6.0, API 1.40 to 1.55.
    #[must_use]
    pub fn docker_29() -> Self {
        Self::release("29.6.0", 29, Api::v1(40), Api::v1(55))
    }

    /// Podman 5.4, as seen through the API of Docker.
    #[must_use]
    pub fn podman() -> Self {
        let mut podman = Self::release("5.4.0", 20, Api::v1(24), Api::v1(41));
        podman.habits.is_podman = true;
        podman.habits.deaf_after_truncation = false;
        podman
    }

    /// The newest release that is played.
    #[must_use]
    pub fn current() -> Self {
        Self::docker_29()
    }

    /// The host's name; the engine's id follows from it.
    #[must_use]
    pub fn named(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Takes only API versions 1.`min` to 1.`max`.
    #[must_use]
    pub fn api(mut self, min: u16, max: u16) -> Self {
        (self.api_min, self.api_max) = (Api::v1(min), Api::v1(max));
        self
    }

    /// The id that `GET /info` tells.
    #[must_use]
    pub fn id(&self) -> String {
        let digits = hex_id(&self.host, 0);
        [0..8, 8..12, 12..16, 16..20, 20..32]
            .map(|part| &digits[part])
            .join("-")
    }

    fn release(version: &'static str, major: u16, api_min: Api, api_max: Api) -> Self {
        let habits = Habits {
            logs_have_content_type: major >= 23,
            local_ends_long_lines: major >= 23,
            deaf_after_truncation: major >= 23,
            since_loses_compressed_files: major < 23,
            since_seeks: major >= 24,
            deaths_tell_duration: major >= 24,
            bad_time_status: if major < 23 { 500 } else { 400 },
            time_grammar: if major < 29 {
                Grammar::Number
            } else {
                Grammar::Digits
            },
            judges_times_first: major >= 29,
            is_podman: false,
        };
        Self {
            version,
            host: "sim".to_owned(),
            api_min,
            api_max,
            habits,
        }
    }
}

/// 64 hex digits that depend on nothing but `name` and `number`.
pub(crate) fn hex_id(name: &str, number: u64) -> String {
    let mut state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ number, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut word = || {
        // The splitmix64 sequence: neighbouring seeds give unrelated digits.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", mixed ^ (mixed >> 31))
    };
    [word(), word(), word(), word()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_hex_digits_and_depends_only_on_its_seed() {
        let id = hex_id("web", 1);
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(id, hex_id("web", 1));
        assert_ne!(id[..12], hex_id("web", 2)[..12]);
        assert_ne!(id[..12], hex_id("wec", 1)[..12]);
    }

    #[test]
    fn api_versions_are_compared_as_numbers() {
        assert!(Api::parse("1.9") < Api::parse("1.41"));
        assert_eq!(Api::parse("1"), None);
    }
}
