//! Each rule once: what keeps it passes, what breaks it is told.

use super::super::{Chain, Gap, Least, Line, Report, Rule, Rules, Truth, Verdict};
use super::script::{LINES, Step, broken, chain_of, faithful, is_violated, judged, line, truth};

fn against_truth(steps: &[Step]) -> Report {
    judged(steps, Some(&truth(LINES)))
}

fn place_of(steps: &[Step], text: &str) -> usize {
    let is_it = |step: &Step| matches!(step, Step::Entry(entry) if entry.bytes == text.as_bytes());
    steps.iter().position(is_it).expect("it was delivered")
}

#[test]
fn a_faithful_history_is_valid_with_and_without_the_truth() {
    let steps = faithful().steps;
    let least = Least {
        entries: 35,
        gaps: 2,
        resumes: 1,
        compared: LINES as u64,
    };
    against_truth(&steps).assert_valid(&least);
    let least = Least {
        compared: 0,
        ..least
    };
    judged(&steps, None).assert_valid(&least);
}

#[test]
fn swapped_entries_are_not_ordered() {
    let mut steps = faithful().steps;
    steps.swap(0, 1);
    broken(&against_truth(&steps), Rule::Ordered);
    broken(&judged(&steps, None), Rule::Ordered);
}

#[test]
fn entries_of_two_streams_are_in_the_order_of_the_log_whatever_their_stamps() {
    let mut steps = faithful().steps;
    let err = place_of(&steps, "line 3");
    steps.swap(err, err + 1);
    broken(&against_truth(&steps), Rule::Ordered);
    // Nothing but the log tells.
    assert!(!is_violated(&judged(&steps, None)));
}

#[test]
fn a_late_entry_that_is_not_marked_is_not_ordered() {
    let mut steps = faithful().steps;
    for step in &mut steps {
        if let Step::Entry(entry) = step {
            entry.late = false;
        }
    }
    broken(&against_truth(&steps), Rule::Ordered);
    broken(&judged(&steps, None), Rule::Ordered);
}

#[test]
fn an_entry_that_comes_twice_is_not_unique_wherever_it_comes_again() {
    let steps = faithful().steps;
    for (from, to) in [(0, 1), (0, 9), (5, steps.len())] {
        let mut steps = steps.clone();
        steps.insert(to, steps[from].clone());
        broken(&against_truth(&steps), Rule::Unique);
        broken(&judged(&steps, None), Rule::Unique);
    }
}

#[test]
fn a_line_that_was_written_once_cannot_come_at_two_times() {
    let mut steps = faithful().steps;
    let mut again = line(2);
    again.time += 1;
    steps.insert(3, Step::Entry(again));
    broken(&against_truth(&steps), Rule::Whole);
    let mut untimed = Truth::new();
    for nth in 0..LINES {
        let line = line(nth);
        untimed.push(&Line {
            stream: line.stream,
            time: None,
            bytes: &line.bytes,
            unterminated: false,
        });
    }
    assert!(!is_violated(&judged(&faithful().steps, Some(&untimed))));
    broken(&judged(&steps, Some(&untimed)), Rule::Unique);
}

#[test]
fn a_dropped_entry_is_not_covered_first_last_and_in_the_middle() {
    for text in ["line 0", "line 5", "line 39"] {
        let mut steps = faithful().steps;
        steps.remove(place_of(&steps, text));
        broken(&against_truth(&steps), Rule::Covered);
    }
}

#[test]
fn what_is_missing_at_the_ends_counts_only_if_it_was_asked_for() {
    let mut steps = faithful().steps;
    steps.remove(place_of(&steps, "line 39"));
    steps.remove(0);
    let mut anywhere = Truth::new();
    for nth in 0..LINES {
        let line = line(nth);
        anywhere.push(&Line {
            stream: line.stream,
            time: Some(line.time),
            bytes: &line.bytes,
            unterminated: false,
        });
    }
    assert!(!is_violated(&judged(&steps, Some(&anywhere))));
    broken(&judged(&steps, Some(&anywhere.from_first())), Rule::Covered);
}

#[test]
fn a_gap_that_is_not_told_is_not_covered_and_neither_is_one_in_a_wrong_place() {
    let is_gap = |step: &Step| matches!(step, Step::Gap(_));
    let steps = faithful().steps;
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| is_gap(step)) {
        let mut without = steps.clone();
        without.remove(at);
        broken(&against_truth(&without), Rule::Covered);
        without.insert(2, step.clone());
        broken(&against_truth(&without), Rule::Covered);
    }
}

#[test]
fn a_gap_that_counts_wrong_is_not_covered() {
    let steps = faithful().steps;
    for wrong in [1, 2, 4, 100] {
        let mut steps = steps.clone();
        let gap = steps.iter_mut().find_map(|step| match step {
            Step::Gap(gap) => Some(gap),
            _ => None,
        });
        gap.expect("there is one").missing_entries = Some(wrong);
        broken(&against_truth(&steps), Rule::Covered);
    }
}

#[test]
fn a_certain_gap_in_which_nothing_is_missing_and_one_that_contradicts_itself_are_told() {
    let certain = Gap {
        certain: true,
        ..Gap::default()
    };
    let mut steps = faithful().steps;
    steps.insert(2, Step::Gap(certain));
    broken(&against_truth(&steps), Rule::Covered);
    for contradiction in [
        Gap {
            missing_entries: Some(0),
            ..certain
        },
        Gap {
            missing_entries: Some(1),
            certain: false,
            ..certain
        },
        Gap {
            after_time: Some(2),
            before_time: Some(1),
            ..Gap::default()
        },
    ] {
        let mut steps = faithful().steps;
        steps.insert(2, Step::Gap(contradiction));
        broken(&judged(&steps, None), Rule::Covered);
    }
}

#[test]
fn a_gap_without_a_beginning_counts_where_its_times_are_only_if_it_is_a_skip() {
    let mut steps = faithful().steps;
    for step in &mut steps {
        if let Step::Gap(gap) = step {
            gap.skip = false;
            gap.after_time = None;
        }
    }
    broken(&against_truth(&steps), Rule::Covered);
}

#[test]
fn what_is_behind_the_verified_instant_may_still_come() {
    let mut steps = faithful().steps;
    steps.remove(5);
    let provisional = Rules {
        provisional: true,
        ..Rules::default()
    };
    let mut chain = chain_of(&steps, provisional);
    let judged = |chain: &Chain| is_violated(&chain.judge(Some(&truth(LINES))));
    assert!(!judged(&chain));
    chain.verified(line(5).time - 1);
    assert!(!judged(&chain));
    chain.verified(line(5).time);
    assert!(judged(&chain));
}

#[test]
fn too_little_and_too_much_are_void() {
    let steps = faithful().steps;
    let report = judged(&steps, None);
    for least in [
        Least {
            entries: 1_000,
            ..Least::default()
        },
        Least {
            gaps: 3,
            ..Least::default()
        },
        Least {
            resumes: 2,
            ..Least::default()
        },
        Least {
            compared: 1,
            ..Least::default()
        },
    ] {
        assert_eq!(report.verdict(&least), Verdict::Void);
        assert_eq!(report.short_of(&least).len(), 1);
    }
    assert_eq!(Report::default().verdict(&Least::default()), Verdict::Void);
    let few = Rules {
        most_entries: 5,
        ..Rules::default()
    };
    let report = chain_of(&steps[..9], few).judge(None);
    assert_eq!(report.verdict(&Least::default()), Verdict::Void);
}

#[test]
fn the_first_violations_have_words_and_the_others_are_counted() {
    let rules = Rules {
        most_violations: 3,
        ..Rules::default()
    };
    let mut steps = faithful().steps;
    let again: Vec<_> = steps[..10].to_vec();
    steps.splice(10..10, again);
    let report = chain_of(&steps, rules).judge(None);
    assert_eq!(report.violations.len(), 3);
    assert!(report.more_violations >= 7, "{report}");
    assert!(report.violations[0].what.contains("\"line 0\""), "{report}");
}

#[test]
fn stamps_that_go_back_are_no_disorder_where_the_clock_was_set() {
    let mut steps = faithful().steps;
    steps.swap(0, 1);
    let mut chain = Chain::new(Rules::default());
    chain.clock_stepped();
    assert!(!is_violated(&chain.judge(None)));
    let rules = Rules {
        clock_steps: true,
        ..Rules::default()
    };
    assert!(!is_violated(&chain_of(&steps, rules).judge(None)));
}
