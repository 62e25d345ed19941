//! A run: each group of figures in a child with a bound on its time, and then the table.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::measure::{self, GROUPS, Said};
use crate::report::{self, Row};
use crate::{Words, desk, growth, note, page, peer, target};

/// Measures what was asked for, or everything, and prints one table.
pub fn figures(words: &Words) -> ExitCode {
    let is_wanted = |name: &str| words.names.is_empty() || words.names.iter().any(|wanted| wanted == name);
    let mut run = Run { words, interrupted: on_interrupt(), rows: Vec::new(), failed: Vec::new() };
    for (names, seconds) in GROUPS {
        let mut names: Vec<_> = names.iter().copied().filter(|name| is_wanted(name)).collect();
        if names.contains(&"peer")
            && let Err(why) = peer::install()
        {
            eprintln!("{why}");
            run.failed.push("peer".to_owned());
            names.retain(|name| *name != "peer");
        }
        if !names.is_empty() && !run.is_interrupted() {
            run.group(&names, Duration::from_secs(seconds));
        }
    }
    run.rows.sort_by_key(|row| GROUPS.iter().flat_map(|(names, _)| *names).position(|name| *name == row.figure));
    run.print()
}

/// Draws the pictures of growth.
pub fn growth(words: &Words) -> ExitCode {
    // So that a server that hangs is found in the morning.
    const AT_MOST: Duration = Duration::from_secs(3 * 3_600);
    let (interrupted, begun) = (on_interrupt(), Instant::now());
    let names: Vec<_> = words.names[1..].iter().map(String::as_str).collect();
    let mut measuring = Measuring::start(words, growth::WORD, &names);
    let said = lines(measuring.child.stdout.take().expect("a pipe"));
    while !matches!(said.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Disconnected)) {
        if interrupted.load(Ordering::SeqCst) || begun.elapsed() > AT_MOST {
            return ExitCode::from(130);
        }
    }
    let is_done = measuring.child.wait().is_ok_and(|status| status.success());
    if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A child that measures, in a process group and a directory of its own. Dropping it ends the group and removes the
/// directory.
struct Measuring {
    child: Child,
    scratch: PathBuf,
}

impl Measuring {
    fn start(words: &Words, word: &str, names: &[&str]) -> Self {
        let (scratch, (agents, rounds)) = (scratch(), words.scale.adopted);
        let mut command = Command::new(std::env::current_exe().expect("a path of its own"));
        command.arg(word).args(names);
        command.arg("--frontdesk").arg(&words.frontdesk).arg("--scratch").arg(&scratch);
        command.args(words.is_quick.then_some("--quick"));
        command.args(["--agents", &agents.to_string(), "--rounds", &rounds.to_string()]);
        command.args(["--sessions", &words.scale.sessions.to_string()]);
        command.env("RUST_BACKTRACE", "0");
        // It ends itself when its input is closed, as it is when this process is killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        Self { child: command.spawn().expect("this program starts again"), scratch }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

struct Run<'a> {
    words: &'a Words,
    interrupted: Arc<AtomicBool>,
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Run<'_> {
    /// Measures the figures of one group.
    fn group(&mut self, names: &[&str], limit: Duration) {
        let begun = Instant::now();
        eprintln!("{}", names.join(", "));
        let mut measuring = Measuring::start(self.words, measure::WORD, names);
        let said = lines(measuring.child.stdout.take().expect("a pipe"));
        let is_done = self.listen(&said, begun + limit);
        if !is_done {
            self.failed.push(format!("{} (not done after {} s)", names.join(", "), begun.elapsed().as_secs()));
        } else if !measuring.child.wait().is_ok_and(|status| status.success()) {
            self.failed.push(names.join(", "));
        }
        drop(measuring);
        note(&format!("took {:.0} s", begun.elapsed().as_secs_f64()));
    }

    /// Takes what the child says; whether it came to its end in time.
    fn listen(&mut self, said: &Receiver<Said>, deadline: Instant) -> bool {
        loop {
            match said.recv_timeout(Duration::from_millis(100)) {
                Ok(Said::Row(row)) => self.rows.push(row),
                Ok(Said::Failed(name)) => self.failed.push(name),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) if self.is_interrupted() || Instant::now() >= deadline => return false,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    fn print(&self) -> ExitCode {
        let figures: Vec<_> = self.rows.iter().map(Row::json).collect();
        let json = serde_json::json!({"machine": page::machine(), "figures": figures, "failed": self.failed});
        let json = serde_json::to_string_pretty(&json).expect("figures serialise");
        let _ = std::fs::write(target().join("results.json"), &json);
        println!("{}", if self.words.is_json { json } else { report::text(&self.rows) });
        for name in &self.failed {
            eprintln!("failed: {name}");
        }
        if self.is_interrupted() {
            return ExitCode::from(130);
        }
        if !self.failed.is_empty() {
            return ExitCode::FAILURE;
        }
        if self.words.is_written
            && let Err(error) = page::write(&self.rows)
        {
            eprintln!("the page was not written: {error}");
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// A new directory. What runs that were killed have left goes first.
fn scratch() -> PathBuf {
    let target = target();
    let _ = std::fs::create_dir_all(&target);
    for entry in std::fs::read_dir(&target).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix("scratch-")?.split('-').next());
        if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    desk::scratch(&target, &format!("scratch-{}", std::process::id()))
}

fn on_interrupt() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).expect("a signal that may be handled");
    }
    interrupted
}

fn lines(stdout: impl std::io::Read + Send + 'static) -> Receiver<Said> {
    let (say, said) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(line) = serde_json::from_str(&line)
                && say.send(line).is_err()
            {
                return;
            }
        }
    });
    said
}
