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
pub(super) mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// What the work came to, and how often others had their turn before it was done.
    pub(in crate::agent) async fn turns_of_others<T>(work: impl Future<Output = T>) -> (T, usize) {
        let turns = Cell::new(0);
        let others = poll_fn(|context| {
            turns.set(turns.get() + 1);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let done = tokio::select! {
            biased;
            done = work => done,
            () = others => unreachable!("it is never done"),
        };
        (done, turns.get())
    }

    #[tokio::test]
    async fn others_go_on_while_somebody_reads_many_lines() {
        let reading = async {
            let mut budget = LineBudget::default();
            for _ in 0..10 * LINES_IN_A_ROW {
                budget.spend().await;
            }
        };
        assert_eq!(turns_of_others(reading).await.1, 10);
    }
}
