//! A run: each group of figures in a child with a bound on its time, and then the table.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::measure::{self, GROUPS, Said};
use crate::report::{self, Row};
use crate::{Words, desk, note, page, peer, target};

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

struct Run<'a> {
    words: &'a Words,
    interrupted: Arc<AtomicBool>,
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Run<'_> {
    /// Measures the figures of one group in a child, in a directory that is removed afterwards.
    fn group(&mut self, names: &[&str], limit: Duration) {
        let begun = Instant::now();
        eprintln!("{}", names.join(", "));
        let scratch = scratch();
        let mut command = self.command(names, &scratch);
        let mut child = command.spawn().expect("this program starts again");
        let group = Pid::from_child(&child);
        let input = child.stdin.take();
        let said = lines(child.stdout.take().expect("a pipe"));
        let is_whole = self.listen(&said, begun + limit);
        if !is_whole {
            let _ = kill_process_group(group, Signal::KILL);
            self.failed.push(format!("{} (not done after {} s)", names.join(", "), begun.elapsed().as_secs()));
        }
        let is_success = child.wait().is_ok_and(|status| status.success());
        if is_whole && !is_success {
            self.failed.push(names.join(", "));
        }
        drop(input);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = std::fs::remove_dir_all(&scratch);
        note(&format!("took {:.0} s", begun.elapsed().as_secs_f64()));
    }

    fn command(&self, names: &[&str], scratch: &Path) -> Command {
        let (words, (agents, rounds)) = (self.words, self.words.scale.adopted);
        let mut command = Command::new(std::env::current_exe().expect("a path of its own"));
        command.arg(measure::WORD).args(names);
        command.arg("--frontdesk").arg(&words.frontdesk).arg("--scratch").arg(scratch);
        command.args(words.is_quick.then_some("--quick"));
        command.args(["--agents", &agents.to_string(), "--rounds", &rounds.to_string()]);
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        command
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
        let json = serde_json::json!({"machine": page::machine(), "figures": self.rows, "failed": self.failed});
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

/// A directory for one group, or for the pictures of growth. What runs that were killed have left goes first.
pub fn scratch() -> PathBuf {
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
