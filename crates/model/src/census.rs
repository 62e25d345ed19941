//! How many live sessions there are in each phase. Pure.

use crate::phase::Phase;

/// Live sessions by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sessions that wait for initialise.
    pub pending: usize,
    /// Sessions whose agent is being started.
    pub starting: usize,
    /// Those among the starting ones that have had a running agent.
    pub restarting: usize,
    /// Sessions whose agent is ready.
    pub running: usize,
    /// Sessions whose agent is being ended.
    pub stopping: usize,
}

impl Census {
    /// All of them.
    pub fn live(&self) -> usize {
        self.pending + self.starting + self.running + self.stopping
    }

    /// Counts a session in.
    pub fn add(&mut self, phase: &Phase) {
        self.each_of(phase, |count| *count += 1);
    }

    /// Counts a session out that was counted in with this phase.
    pub fn remove(&mut self, phase: &Phase) {
        self.each_of(phase, |count| *count -= 1);
    }

    fn each_of(&mut self, phase: &Phase, change: impl Fn(&mut usize)) {
        match phase {
            Phase::Pending { .. } => change(&mut self.pending),
            Phase::Starting { start, .. } => {
                change(&mut self.starting);
                if start.is_again() {
                    change(&mut self.restarting);
                }
            }
            Phase::Running { .. } => change(&mut self.running),
            Phase::Stopping { .. } => change(&mut self.stopping),
            Phase::Ended { .. } => {}
        }
    }
}
