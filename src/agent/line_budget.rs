//! How many lines a task reads before it lets others go on.
//!
//! An agent may write millions of tiny lines a second. Each is soon dealt with and none of them waits for anything, so
//! that the task of such an agent would keep its thread while all the others of that thread wait.

/// Lines that one task reads in a row: less than a tenth of a millisecond.
const LINES_IN_A_ROW: u32 = 64;

/// Counts one task's lines.
#[derive(Debug, Default)]
pub(super) struct LineBudget {
    spent: u32,
}

impl LineBudget {
    /// Counts one more line, and lets other tasks go on once the budget is spent.
    pub(super) async fn spend(&mut self) {
        self.spent += 1;
        if self.spent >= LINES_IN_A_ROW {
            self.spent = 0;
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
            let mut budget = LineBudget::default();
            for _ in 0..10 * LINES_IN_A_ROW {
                budget.spend().await;
                read.set(read.get() + 1);
            }
        };
        let waiting = async {
            while read.get() < 10 * LINES_IN_A_ROW {
                others.set(others.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(reading, waiting);
        assert!(others.get() >= 10, "{}", others.get());
    }
}
