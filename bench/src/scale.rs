//! How much is measured: all of it, or so little that only the measuring is shown to work.

use std::time::Duration;

/// Sizes of every figure.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Live sessions in the store.
    pub sessions: u64,
    /// Customers of the embedded credential server.
    pub customers: u64,
    /// Customers who sign in for the first time in one turn.
    pub sign_ins: u64,
    /// One turn of a closed loop.
    pub turn: Duration,
    /// Turns of floor and server each.
    pub repeats: usize,
    /// Agents started one by one, and in each round at sixteen at once.
    pub starts: (usize, usize),
    /// Agents to adopt, and how often.
    pub adopted: (usize, usize),
    /// Agents to relay to.
    pub agents: usize,
    /// Running sessions whose memory is looked at.
    pub running: usize,
    /// Connections whose memory is looked at.
    pub idle: usize,
    /// Readers of events.
    pub readers: usize,
    /// For how long an agent talks.
    pub talk: Duration,
}

impl Scale {
    /// What the table is made of.
    pub fn full() -> Self {
        Self {
            sessions: 1_000_000,
            customers: 4_096,
            sign_ins: 512,
            turn: Duration::from_millis(1_500),
            repeats: 5,
            starts: (300, 200),
            adopted: (1_000, 5),
            agents: 100,
            running: 500,
            idle: 5_000,
            readers: 100,
            talk: Duration::from_secs(10),
        }
    }

    /// Seconds for each figure; what it says means nothing.
    pub fn quick() -> Self {
        Self {
            sessions: 1_000,
            customers: 24,
            sign_ins: 8,
            turn: Duration::from_millis(500),
            repeats: 1,
            starts: (3, 16),
            adopted: (10, 1),
            agents: 4,
            running: 8,
            idle: 50,
            readers: 40,
            talk: Duration::from_secs(1),
        }
    }
}
