//! How often the machines went which way.

/// How often each path was taken.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Paths {
    pub(super) orientations_widened: u64,
    pub(super) resyncs: u64,
    pub(super) widened: u64,
    pub(super) gaps: u64,
    /// Of those, the ones that the engine's own words came before.
    pub(super) reported: u64,
    pub(super) replaced: u64,
    /// Of those, the ones whose stream repeated something or went back.
    pub(super) guarded: u64,
    pub(super) probes: u64,
    pub(super) rotations: u64,
    pub(super) rotations_in_a_line: u64,
    pub(super) runs_over: u64,
    pub(super) late: u64,
    /// Of those, the ones that a lease brought as it was opened.
    pub(super) late_by_lease: u64,
    pub(super) skip_gaps: u64,
    /// Reads of an end that was not found.
    pub(super) spins: u64,
}

impl Paths {
    fn each(&mut self) -> [&mut u64; 14] {
        [
            &mut self.orientations_widened,
            &mut self.resyncs,
            &mut self.widened,
            &mut self.gaps,
            &mut self.reported,
            &mut self.replaced,
            &mut self.guarded,
            &mut self.probes,
            &mut self.rotations,
            &mut self.rotations_in_a_line,
            &mut self.runs_over,
            &mut self.late,
            &mut self.skip_gaps,
            &mut self.spins,
        ]
    }

    pub(super) fn least(mut self) -> u64 {
        self.each()
            .into_iter()
            .map(|taken| *taken)
            .min()
            .unwrap_or(0)
    }
}

impl std::ops::Add for Paths {
    type Output = Self;

    fn add(mut self, mut other: Self) -> Self {
        for (taken, more) in self.each().into_iter().zip(other.each()) {
            *taken += *more;
        }
        self
    }
}
