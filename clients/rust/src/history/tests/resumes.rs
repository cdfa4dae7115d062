//! What resumes promise: a cursor goes on exactly behind it.

use super::super::{Chain, Gap, Rule, Rules, UnknownCursor};
use super::script::{
    LINES, Owned, Script, Step, broken, chain_of, faithful, is_violated, judged, line, truth,
};

/// Delivers ten lines with a cursor in their middle, and resumes there.
fn resumed() -> Vec<Step> {
    let mut script = Script::default();
    script.deliver(5);
    script.deliver(5);
    script.resume(|_| 0);
    script.finish(LINES);
    script.steps
}

/// The place of the first entry behind the resume.
fn behind_resume(steps: &[Step]) -> usize {
    let resumes = |step: &Step| matches!(step, Step::Resume(_));
    steps.iter().position(resumes).expect("it resumes") + 1
}

#[test]
fn a_cursor_that_skips_is_not_resumable() {
    let mut steps = resumed();
    assert!(!is_violated(&judged(&steps, None)));
    steps.remove(behind_resume(&steps));
    broken(&judged(&steps, None), Rule::Resumable);
    // A gap at the same place would have said so.
    let at = behind_resume(&steps);
    steps.insert(at, Step::Gap(Gap::default()));
    assert!(!is_violated(&judged(&steps, None)));
}

#[test]
fn what_a_resume_passes_over_may_come_late() {
    let mut steps = resumed();
    let at = behind_resume(&steps);
    let Step::Entry(passed) = steps.remove(at) else {
        panic!("an entry");
    };
    let late = Owned {
        late: true,
        ..passed.clone()
    };
    steps.insert(at + 2, Step::Entry(late));
    assert!(!is_violated(&judged(&steps, None)));
    // Not in time.
    steps[at + 2] = Step::Entry(passed);
    broken(&judged(&steps, None), Rule::Ordered);
}

#[test]
fn a_cursor_that_repeats_is_not_unique() {
    let mut steps = resumed();
    let at = behind_resume(&steps);
    steps.insert(at, Step::Entry(line(4)));
    broken(&judged(&steps, None), Rule::Unique);
}

#[test]
fn what_was_passed_over_is_due_after_the_next_resume_too() {
    let mut steps = resumed();
    let at = behind_resume(&steps);
    let passed = steps.remove(at);
    // At the cursor behind it, where it is still due; at the one before, where it comes.
    steps.insert(at + 2, Step::Cursor("behind".into()));
    steps.insert(at + 3, Step::Resume("behind".into()));
    broken(&judged(&steps, None), Rule::Resumable);
    steps[at + 3] = Step::Resume("cursor 0".into());
    let again = [vec![passed], steps[at..at + 2].to_vec()].concat();
    steps.splice(at + 4..at + 4, again);
    let report = judged(&steps, Some(&truth(LINES)));
    assert!(!is_violated(&report), "{report}");
}

#[test]
fn what_does_not_come_again_is_lost_once_it_is_verified() {
    let mut steps = resumed();
    steps.truncate(behind_resume(&steps) + 2);
    let mut chain = chain_of(&steps, Rules::default());
    assert!(!is_violated(&chain.judge(None)));
    chain.verified(line(9).time);
    broken(&chain.judge(None), Rule::Resumable);
}

#[test]
fn a_cursor_of_two_places_is_not_resumable_and_an_unknown_one_is_refused() {
    let mut steps = faithful().steps;
    steps.insert(5, Step::Cursor("same".into()));
    steps.insert(7, Step::Cursor("same".into()));
    broken(&judged(&steps, None), Rule::Resumable);
    let mut chain = Chain::new(Rules::default());
    assert_eq!(chain.resume("never given"), Err(UnknownCursor));
}
