//! Whose turn it is: somebody with much to do lets others go on in between.
//!
//! An agent may write millions of tiny lines a second. Each is soon dealt with and none of them waits for anything, so
//! that the task of such an agent would keep its thread while all the others of that thread wait.

/// How many lines one agent may have read before it is the others' turn: less than a tenth of a millisecond.
const LINES_A_TURN: u32 = 64;

/// Counts one task's lines.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: u32,
}

impl Turns {
    /// Counts one more line, and lets others go on if it is their turn.
    pub(super) async fn take(&mut self) {
        self.taken += 1;
        if self.taken >= LINES_A_TURN {
            self.taken = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn others_go_on_while_somebody_reads_many_lines() {
        let (read, others) = (Cell::new(0_u32), Cell::new(0_u32));
        let reading = async {
            let mut turns = Turns::default();
            for _ in 0..10 * LINES_A_TURN {
                turns.take().await;
                read.set(read.get() + 1);
            }
        };
        let waiting = async {
            while read.get() < 10 * LINES_A_TURN {
                others.set(others.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(reading, waiting);
        assert!(others.get() >= 10, "{}", others.get());
    }
}
