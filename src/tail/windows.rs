//! The largest end of a log that can be read whole.

use super::WIDEN;

/// Windows tried at most for one record that cannot be decoded.
pub(crate) const MOST_WINDOWS: u32 = 48;

/// Looks for the largest number of last records that come in full: none among
/// them hides others. A window that came in full does so for ever, whatever is
/// stored later, as long as that can be decoded; one that did not reaches over a
/// bad record, or behind the log's beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Windows {
    full: u32,
    broken: Option<u32>,
    tried: u32,
    /// One record more was too many a moment ago.
    is_tight: bool,
    /// The next is one record wider than the largest that came in full.
    is_near: bool,
}

impl Windows {
    /// `guess` may be the largest; 0: nothing is known of it.
    pub(crate) fn first(guess: u32) -> (Self, u32) {
        let windows = Self {
            tried: 1,
            is_near: guess > 0,
            ..Self::default()
        };
        (windows, guess.max(1))
    }

    /// The largest that came in full; 0: none did.
    pub(crate) fn full(&self) -> u32 {
        self.full
    }

    /// A window of `want` brought `seen` records.
    pub(crate) fn note(&mut self, want: u32, seen: u32) {
        match seen < want {
            true => self.broken = Some(self.broken.map_or(want, |known| known.min(want))),
            false => self.full = self.full.max(want),
        }
        // More was stored meanwhile.
        self.broken = self.broken.filter(|broken| *broken > self.full);
        self.is_tight = seen < want && want == self.full + 1;
    }

    /// The next to try; `None`: the largest is known, or enough were tried.
    pub(crate) fn next(&mut self) -> Option<u32> {
        self.tried += 1;
        let is_near = std::mem::take(&mut self.is_near) && self.full > 0;
        let next = match self.broken {
            _ if self.is_tight => return None,
            _ if is_near => self.full + 1,
            None => self.full.saturating_mul(WIDEN).max(1),
            Some(broken) => self.full + (broken - self.full).div_ceil(2),
        };
        (self.tried <= MOST_WINDOWS).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest readable end of a log whose `hidden`-th last record cannot be
    /// decoded, and the windows it took.
    fn largest(hidden: u32, guess: u32) -> (u32, u32) {
        let (mut windows, first) = Windows::first(guess);
        let mut want = Some(first);
        while let Some(window) = want {
            let seen = if window < hidden {
                window
            } else {
                window - hidden
            };
            windows.note(window, seen);
            want = windows.next();
        }
        (windows.full(), windows.tried)
    }

    #[test]
    fn the_largest_readable_end_is_found_wherever_the_bad_record_is() {
        for hidden in [1, 2, 3, 63, 64, 65, 4_097, 2_000_000, 1 << 28] {
            for guess in [0, 1, 64, hidden - 1] {
                let (full, tried) = largest(hidden, guess);
                assert_eq!(full, hidden - 1);
                assert!(tried <= MOST_WINDOWS, "{tried} for {hidden}");
            }
            assert!(hidden == 1 || largest(hidden, hidden - 1).1 == 3);
        }
    }

    #[test]
    fn a_window_that_grew_full_meanwhile_bounds_nothing() {
        let (mut windows, _) = Windows::first(0);
        windows.note(64, 10);
        windows.note(64, 64);
        assert_eq!(windows.next(), Some(512));
    }
}
