//! Judges what a client received: in order, once, nothing silently missing, whole
//! lines, and every cursor good for exactly its place. No IO.
//!
//! A [`Chain`] is fed with what came of one container, over a subscription and
//! its resumes; [`Chain::judge`] says what was wrong. Alone it knows what the
//! stream says of itself: stamps of a stream never go back, nothing comes twice,
//! a resume repeats exactly what followed its cursor. Against a [`Truth`], the
//! lines that were written or are stored, it knows everything: the order of the
//! log, every line delivered or inside a gap, gaps that count right. [`History`]
//! feeds chains from the contract's messages and checks the counts in them.
//!
//! Memory: about 50 bytes per entry of a chain and 30 per cursor, up to
//! [`Rules::most_entries`]; a truth takes 40 bytes per line, and the bytes of
//! lines over 64 KiB, which may come truncated.

mod chain;
mod compare;
mod entry;
mod report;
mod resume;
mod subscription;
#[cfg(test)]
mod tests;
mod truth;

use xxhash_rust::xxh3::Xxh3;

pub use chain::{Chain, UnknownCursor};
pub use entry::{Entry, Gap};
pub use report::{Least, Report, Rule, Traffic, Verdict, Violation};
pub use subscription::History;
pub use truth::{Line, Truth};

/// What is held against a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Only a part of the lines was asked for: by stream or by a filter.
    pub filtered: bool,
    /// The engine's clock may be set while it writes: stamps then say nothing
    /// about order, nor about where a gap that comes late belongs.
    pub clock_steps: bool,
    /// What is missing behind the last verified instant may still come late, and
    /// is not held against the chain; as for a live stream that was cut.
    pub provisional: bool,
    /// Entries of one chain that are remembered. Behind them nothing is judged,
    /// and the verdict is void unless something was wrong before.
    pub most_entries: usize,
    /// Violations that are kept with their words; the others are counted.
    pub most_violations: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            filtered: false,
            clock_steps: false,
            provisional: false,
            most_entries: 50_000_000,
            most_violations: 20,
        }
    }
}

/// What of a line's identity does not depend on when it came. Its low bits are
/// free for marks.
fn digest(stream: i32, bytes: &[u8], unterminated: bool) -> u64 {
    let mut hasher =
        Xxh3::with_seed(u64::from(stream.unsigned_abs()) << 1 | u64::from(unterminated));
    hasher.update(bytes);
    hasher.digest() & !MARKS
}

/// Bits of a digest that hold what an entry was: late, its stream, unterminated.
const MARKS: u64 = 0b1111;

/// One number out of two.
fn mix(a: u64, b: u64) -> u64 {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&a.to_le_bytes());
    both[8..].copy_from_slice(&b.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&both)
}
