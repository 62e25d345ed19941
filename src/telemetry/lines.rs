//! Lines on their way to the log: whoever logs leaves them here, and one thread writes what has gathered.
//!
//! So nobody waits for a terminal or a collector that is slow, and a burst of lines is a few writes. What nobody takes
//! is bounded; lines above that are counted and lost, and the log says so once it moves again.

use std::io::{self, Write};
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing_subscriber::fmt::MakeWriter;

/// How much may wait.
const MOST_BYTES: usize = 4 << 20;
/// How long lines wait for others: less than anybody sees, and enough for a burst to be one write.
const GATHERING: Duration = Duration::from_millis(1);
/// How long the end of a program waits for its last lines to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

/// The lines that wait. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    some: Condvar,
    /// Everything is written.
    none: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    is_being_written: bool,
}

impl Lines {
    /// Starts the thread that writes them.
    ///
    /// # Errors
    /// What the system said when it gave no thread.
    pub(super) fn start(log: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        let shared = Arc::clone(&lines.0);
        std::thread::Builder::new().name("log".into()).spawn(move || shared.write_to(log))?;
        Ok(lines)
    }

    /// Waits until all that waits is written, or nobody has taken it for a while.
    pub(super) fn flush(&self) {
        let mut waiting = self.0.lock();
        let is_busy = |waiting: &mut Waiting| waiting.is_being_written || !waiting.text.is_empty();
        let _ = self.0.none.wait_while_for(&mut waiting, is_busy, PATIENCE);
    }

    fn add(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.text.len() + line.len() > MOST_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.text.extend_from_slice(line);
        let is_first = waiting.text.len() == line.len();
        drop(waiting);
        if is_first {
            self.0.some.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    fn write_to(&self, mut log: impl Write) {
        let mut text = Vec::new();
        loop {
            self.some.wait_while(&mut self.lock(), |waiting| waiting.text.is_empty());
            // Others may come close behind.
            std::thread::sleep(GATHERING);
            let mut waiting = self.lock();
            std::mem::swap(&mut waiting.text, &mut text);
            let lost = take(&mut waiting.lost);
            waiting.is_being_written = true;
            drop(waiting);
            // A log that can't be written has nowhere to say so.
            let _ = log.write_all(&text);
            text.clear();
            if lost > 0 {
                tracing::warn!(lines = lost, "lines of the log were lost: their reader was too slow");
            }
            self.lock().is_being_written = false;
            self.none.notify_all();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one line, which comes whole.
pub(super) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A log that takes each write when it is let.
    struct Slow {
        may: Receiver<()>,
        took: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.may.recv();
            let _ = self.took.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Lines, Sender<()>, Receiver<Vec<u8>>) {
        let ((let_go, may), (took, taken)) = (channel(), channel());
        (Lines::start(Slow { may, took }).unwrap(), let_go, taken)
    }

    #[test]
    fn what_gathers_while_a_line_is_written_is_written_at_once_and_in_order() {
        let (lines, let_go, taken) = slow();
        lines.add(b"first\n");
        // The writer has taken it, and waits for the log.
        while !lines.0.lock().is_being_written {
            std::thread::yield_now();
        }
        lines.add(b"second\n");
        lines.add(b"third\n");
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        assert_eq!(taken.recv().unwrap(), b"first\n");
        assert_eq!(taken.recv().unwrap(), b"second\nthird\n");
        lines.flush();
        assert!(lines.0.lock().text.is_empty());
    }

    #[test]
    fn a_log_that_nobody_takes_holds_nobody_up_and_what_is_lost_is_counted() {
        let (lines, _let_go, _taken) = slow();
        let line = [b'x'; 1 << 10];
        for _ in 0..3 * MOST_BYTES / line.len() {
            lines.add(&line);
        }
        let waiting = lines.0.lock();
        assert!(waiting.text.len() <= MOST_BYTES);
        assert!(waiting.lost > 0);
    }
}
