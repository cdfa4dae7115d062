//! Whole lines, and what is said of those that are cut.

use super::super::{Chain, Entry, Gap, Line, Report, Rule, Rules, Truth};
use super::script::{broken, is_violated};
use crate::proto::Stream;

fn long_truth(bytes: &[u8]) -> Truth {
    let mut truth = Truth::new().from_first().to_last();
    for bytes in [b"first", bytes, b"last"] {
        truth.push(&Line {
            stream: Stream::Stdout,
            time: Some(7),
            bytes,
            unterminated: false,
        });
    }
    truth
}

/// Feeds lines of one stamp, each with the bytes that were cut from it.
fn lines_of_one_stamp(lines: &[(&[u8], u64)], truth: Option<&Truth>) -> Report {
    let mut chain = Chain::new(Rules::default());
    for (ordinal, (bytes, truncated_bytes)) in lines.iter().enumerate() {
        chain.entry(&Entry {
            stream: Stream::Stdout,
            time: 7,
            ordinal: ordinal as u32,
            bytes,
            unterminated: false,
            truncated_bytes: *truncated_bytes,
            late: false,
        });
    }
    chain.judge(truth)
}

#[test]
fn a_part_as_a_line_is_not_whole() {
    let long = vec![b'x'; 40_000];
    let (head, tail) = long.split_at(16_384);
    let truth = long_truth(&long);
    let whole: [(&[u8], u64); 3] = [(b"first", 0), (&long, 0), (b"last", 0)];
    assert!(!is_violated(&lines_of_one_stamp(&whole, Some(&truth))));
    let parts: [(&[u8], u64); 4] = [(b"first", 0), (head, 0), (tail, 0), (b"last", 0)];
    broken(&lines_of_one_stamp(&parts, Some(&truth)), Rule::Whole);
    broken(&lines_of_one_stamp(&parts, None), Rule::Whole);
    broken(
        &lines_of_one_stamp(&[(b"two\nlines", 0)], None),
        Rule::Whole,
    );
}

#[test]
fn what_is_left_of_a_truncated_line_and_what_was_cut_are_the_line() {
    let long = vec![b'x'; 100_000];
    let truth = long_truth(&long);
    for (left, cut, whole) in [
        (90_000, 10_000, true),
        (90_000, 9_999, false),
        (0, 100_000, true),
    ] {
        let lines: [(&[u8], u64); 3] = [(b"first", 0), (&long[..left], cut), (b"last", 0)];
        let report = lines_of_one_stamp(&lines, Some(&truth));
        assert_eq!(is_violated(&report), !whole, "{report}");
    }
    let mut other = long[..90_000].to_vec();
    other[5] = b'y';
    broken(
        &lines_of_one_stamp(&[(&other, 10_000)], Some(&truth)),
        Rule::Whole,
    );
}

#[test]
fn an_end_without_its_beginning_comes_behind_a_gap_only() {
    let long = vec![b'x'; 40_000];
    let truth = long_truth(&long);
    let end = &long[32_768..];
    let mut chain = Chain::new(Rules::default());
    let entry = |bytes, ordinal| Entry {
        stream: Stream::Stdout,
        time: 7,
        ordinal,
        bytes,
        unterminated: false,
        truncated_bytes: 0,
        late: false,
    };
    chain.entry(&entry(b"first", 0));
    let mut silent = chain.clone();
    chain.gap(Gap::default());
    for chain in [&mut chain, &mut silent] {
        chain.entry(&entry(end, 1));
        chain.entry(&entry(b"last", 2));
    }
    assert!(!is_violated(&chain.judge(Some(&truth))));
    broken(&silent.judge(Some(&truth)), Rule::Whole);
}
