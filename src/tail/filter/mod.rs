//! Which lines a client wants, by what they say.

mod level;

use regex::bytes::{Regex, RegexBuilder};

use super::anchor::index;
use crate::docker::Stream;
pub use level::Level;

/// Bytes of `contains` and of `regex`.
pub const MAX_PATTERN: usize = 1_024;
/// Bytes of a compiled pattern; ten of the largest character classes fit.
const MAX_COMPILED: usize = 1024 * 1024;
/// Bytes of what a match remembers; without it, it is slower.
const MAX_CACHE: usize = 1024 * 1024;
const MAX_NESTING: u32 = 64;

/// What a filter is made of. Empty and `None`: every line passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Criteria<'a> {
    /// Bytes the line must hold.
    pub contains: &'a str,
    /// What the line must match.
    pub regex: &'a str,
    /// Whether both take upper and lower case as equal.
    pub ignore_case: bool,
    /// Pass the lines that do not pass both.
    pub invert: bool,
    /// The lowest level that passes.
    pub min_level: Option<Level>,
}

/// Chooses lines. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Filter {
    contains: Option<Regex>,
    regex: Option<Regex>,
    invert: bool,
    min_level: Option<Level>,
}

/// The level of the last line that had one, per stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels([Option<Level>; 3]);

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// What is wrong with `regex`, in words.
    pub fn new(criteria: &Criteria<'_>) -> Result<Self, String> {
        let compiled = |pattern: &str| {
            let regex = RegexBuilder::new(pattern)
                .case_insensitive(criteria.ignore_case)
                .size_limit(MAX_COMPILED)
                .dfa_size_limit(MAX_CACHE)
                .nest_limit(MAX_NESTING)
                .build();
            regex.map_err(|error| error.to_string())
        };
        let given = |pattern: &str| (!pattern.is_empty()).then(|| compiled(pattern)).transpose();
        Ok(Self {
            contains: given(&regex::escape(criteria.contains))?,
            regex: given(criteria.regex)?,
            invert: criteria.invert,
            min_level: criteria.min_level,
        })
    }

    /// Whether a line passes. `levels` are those of the lines before it, in file
    /// order.
    pub fn passes(&self, stream: Stream, line: &[u8], levels: &mut Levels) -> bool {
        if let Some(min_level) = self.min_level {
            let last = &mut levels.0[index(stream)];
            *last = level::detect(line).or(*last);
            if last.is_some_and(|level| level < min_level) {
                return false;
            }
        }
        let mut texts = [&self.contains, &self.regex].into_iter().flatten();
        texts.all(|text| text.is_match(line)) != self.invert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing<'a>(criteria: Criteria<'_>, lines: &[&'a str]) -> Vec<&'a str> {
        let filter = Filter::new(&criteria).unwrap();
        let mut levels = Levels::default();
        let passes = |line: &&&str| filter.passes(Stream::Stdout, line.as_bytes(), &mut levels);
        lines.iter().filter(passes).copied().collect()
    }

    #[test]
    fn all_criteria_must_let_a_line_pass() {
        let lines = ["GET /a 200", "GET /a 500", "PUT /a 500", "get /a 500", ""];
        let all = Criteria::default();
        assert_eq!(passing(all, &lines), lines);
        let contains = Criteria {
            contains: "GET",
            ..all
        };
        assert_eq!(passing(contains, &lines), lines[..2]);
        let both = Criteria {
            regex: " 5..$",
            ..contains
        };
        assert_eq!(passing(both, &lines), ["GET /a 500"]);
        let ignore_case = Criteria {
            ignore_case: true,
            ..both
        };
        assert_eq!(passing(ignore_case, &lines), ["GET /a 500", "get /a 500"]);
        let invert = Criteria {
            invert: true,
            ..both
        };
        assert_eq!(
            passing(invert, &lines),
            ["GET /a 200", "PUT /a 500", "get /a 500", ""]
        );
    }

    #[test]
    fn what_is_contained_is_taken_by_the_letter_and_case_by_unicode() {
        let lines = ["a.c", "abc", "ÀÉ", "àé"];
        let contains = |contains, ignore_case| Criteria {
            contains,
            ignore_case,
            ..Criteria::default()
        };
        assert_eq!(passing(contains("a.c", false), &lines), ["a.c"]);
        assert_eq!(passing(contains("àé", true), &lines), ["ÀÉ", "àé"]);
        let filter = Filter::new(&contains("b", false)).unwrap();
        assert!(filter.passes(Stream::Stdout, b"\xffb\xff", &mut Levels::default()));
    }

    #[test]
    fn a_line_without_a_level_has_that_of_the_line_before_in_its_stream() {
        let warn = Criteria {
            min_level: Some(Level::Warn),
            ..Criteria::default()
        };
        let lines = [
            "starting", "INFO a", "of a", "ERROR b", "  at b", "DEBUG c", "of c",
        ];
        assert_eq!(passing(warn, &lines), ["starting", "ERROR b", "  at b"]);
        let filter = Filter::new(&warn).unwrap();
        let mut levels = Levels::default();
        assert!(!filter.passes(Stream::Stdout, b"INFO a", &mut levels));
        assert!(filter.passes(Stream::Stderr, b"  at b", &mut levels));
        let inverted = Criteria {
            contains: "b",
            invert: true,
            ..warn
        };
        assert_eq!(passing(inverted, &lines), ["starting"]);
    }

    #[test]
    fn a_pattern_that_costs_too_much_is_refused() {
        let regex = |regex| {
            Filter::new(&Criteria {
                regex,
                ..Criteria::default()
            })
        };
        for fine in [
            r"\w+@\w+\.\w{2,8}",
            r"(?i)error|warn(ing)?",
            r"\p{L}{3}",
            "^x{500}$",
        ] {
            assert!(regex(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "(",
            r"(?=x)",
            r"(a)\1",
            r"(\w{100}){100}",
            &"(".repeat(1_000),
        ] {
            assert!(regex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_longest_text_is_found_in_every_case() {
        let longest = "é".repeat(MAX_PATTERN / 2);
        let criteria = Criteria {
            contains: &longest,
            ignore_case: true,
            ..Criteria::default()
        };
        assert_eq!(passing(criteria, &[&longest]), [&longest]);
        let dots = ".".repeat(MAX_PATTERN);
        let criteria = Criteria {
            contains: &dots,
            ..criteria
        };
        assert_eq!(passing(criteria, &[&dots]), [&dots]);
    }
}
