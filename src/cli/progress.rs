//! Progress of what takes longer than a second: a bar on one line of a terminal, or else a plain line every few seconds.
//! On stderr, so that what a command prints is its result alone.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use crate::clock::{Timestamp, boot_time};

/// What is done sooner is worth no line.
const AT_ONCE: Duration = Duration::from_secs(1);
const BETWEEN_FRAMES: Duration = Duration::from_millis(100);
/// How soon it is seen that the work is done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The progress of one piece of work. Dropping it clears the terminal's line.
pub(super) struct Progress {
    is_terminal: bool,
    /// Before this, nothing is shown.
    next: Cell<Timestamp>,
    is_shown: Cell<bool>,
}

impl Progress {
    /// Begins now.
    pub(super) fn begin() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { is_terminal, next: Cell::new(boot_time() + AT_ONCE), is_shown: Cell::new(false) }
    }

    /// Shows how far it has come, if it is time for that. `done` is a part of 1, where that is known.
    pub(super) fn show(&self, text: &str, done: Option<f64>) {
        let now = boot_time();
        if now < self.next.get() {
            return;
        }
        if self.is_terminal {
            self.next.set(now + BETWEEN_FRAMES);
            self.is_shown.set(true);
            let bar = done.map(|done| format!("{} ", bar(done))).unwrap_or_default();
            anstream::eprint!("\r\x1b[K{bar}{text}");
        } else {
            self.next.set(now + BETWEEN_LINES);
            let percent = done.map(|done| format!(", {:.0} %", done.clamp(0.0, 1.0) * 100.0)).unwrap_or_default();
            anstream::eprintln!("{text}{percent}");
        }
    }

    /// Does the work, and shows for how long it has been at it.
    pub(super) fn during<T: Send>(what: &str, work: impl FnOnce() -> T + Send) -> T {
        let (progress, began) = (Self::begin(), boot_time());
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            while !work.is_finished() {
                let seconds = boot_time().saturating_since(began).as_secs();
                progress.show(&format!("{what}, {seconds} s"), None);
                std::thread::sleep(BETWEEN_LOOKS);
            }
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Shows how many bytes, or whatever else is counted, are done.
    pub(super) fn count(&self, what: &str, done: u64, whole: u64) {
        self.show(what, (whole > 0).then(|| done as f64 / whole as f64));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown.get() {
            anstream::eprint!("\r\x1b[K");
        }
    }
}

fn bar(done: f64) -> String {
    const WIDTH: usize = 20;
    let filled = (0..WIDTH).filter(|cell| (*cell as f64) < done * WIDTH as f64).count();
    format!("[{}{}]", "=".repeat(filled), " ".repeat(WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_from_nothing_to_its_whole_width() {
        assert_eq!(bar(0.0), format!("[{}]", " ".repeat(20)));
        assert_eq!(bar(0.5), format!("[{}{}]", "=".repeat(10), " ".repeat(10)));
        assert_eq!(bar(1.0), format!("[{}]", "=".repeat(20)));
        assert_eq!(bar(2.0), format!("[{}]", "=".repeat(20)));
    }

    #[test]
    fn what_the_work_gives_is_handed_on() {
        assert_eq!(Progress::during("adding", || 1 + 1), 2);
    }

    #[test]
    fn what_is_done_at_once_is_not_shown() {
        let progress = Progress::begin();
        progress.show("soon", None);
        assert!(!progress.is_shown.get());
    }
}
