//! The agent as a process: its streams, each with a thread, and its end, all told through one channel.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::agent::leftovers::{DESK_VARIABLE, EPOCH_VARIABLE, SESSION_VARIABLE};
use crate::config::Persona;
use crate::id::Printable;

use super::peer::{Exit, Heard, Peer, Start};
use super::{Options, tree};

/// The session that the agent is told to serve.
pub(super) const SESSION: &str = "01a20453-8e6d-7019-9e00-8aab78ecf93d";
/// As `limits.message` has it without a word in the configuration.
const LONGEST_LINE_BYTES: u64 = 16 << 20;
const LONGEST_LOG_LINE_BYTES: u64 = 64 << 10;
/// Lines that may wait to be heard; then an agent that floods its streams has to wait.
const MOST_UNHEARD: usize = 64;

/// Starts the agent as a persona without further settings would.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    command: &'a [String],
}

impl<'a> Starter<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self { command: &options.command }
    }

    fn command(&self) -> Command {
        let persona = Persona { command: self.command.to_vec(), ..Persona::default() };
        let name = self.command.first().map_or("", String::as_str);
        let mut command = Command::new(if persona.runs_this_binary() { "/proc/self/exe" } else { name });
        let inherited = persona.inherit_environment.iter();
        command
            .arg0(name)
            .args(self.command.iter().skip(1))
            .env_clear()
            .envs(inherited.filter_map(|name| std::env::var_os(name).map(|value| (name, value))))
            .env(DESK_VARIABLE, "check")
            .env(SESSION_VARIABLE, SESSION)
            .env(EPOCH_VARIABLE, "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Start for Starter<'_> {
    fn start(&mut self) -> Result<Box<dyn Peer>, String> {
        let mut child = self.command().spawn().map_err(|error| error.to_string())?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (happened, events) = sync_channel(MOST_UNHEARD);
        let (lines, queue) = channel();
        if let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            std::thread::spawn(move || write_lines(stdin, &queue));
            let (output, log) = (happened.clone(), happened.clone());
            std::thread::spawn(move || read_output(stdout, &output));
            std::thread::spawn(move || read_log(stderr, &log));
        }
        std::thread::spawn(move || await_end(child, &happened));
        Ok(Box::new(AgentProcess { lines: Some(lines), events, group, has_ended: false }))
    }
}

#[derive(Debug)]
struct AgentProcess {
    lines: Option<Sender<Vec<u8>>>,
    events: Receiver<Heard>,
    group: Option<Pid>,
    has_ended: bool,
}

impl Peer for AgentProcess {
    fn send(&mut self, line: Vec<u8>) {
        // An agent that reads no more shows by giving no answer.
        let _ = self.lines.as_ref().map(|lines| lines.send(line));
    }

    fn close_input(&mut self) {
        self.lines = None;
    }

    fn terminate(&mut self) {
        if let (Some(group), false) = (self.group, self.has_ended) {
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
        }
    }

    fn hear(&mut self, within: Duration) -> Heard {
        let heard = self.events.recv_timeout(within).unwrap_or(Heard::Nothing);
        self.has_ended |= matches!(heard, Heard::Exited(_));
        heard
    }

    fn left_behind(&mut self) -> Vec<String> {
        const LOOKS: u32 = 25;
        const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
        for _ in 1..LOOKS {
            if tree::descendants().is_empty() {
                return Vec::new();
            }
            // What is about to end by itself was not left behind.
            std::thread::sleep(BETWEEN_LOOKS);
        }
        tree::descendants().iter().map(tree::Process::words).collect()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        tree::end_descendants();
    }
}

fn write_lines(mut stdin: ChildStdin, queue: &Receiver<Vec<u8>>) {
    for line in queue {
        if stdin.write_all(&line).is_err() {
            return;
        }
    }
}

fn read_output(stdout: impl Read, happened: &SyncSender<Heard>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = stdout.by_ref().take(LONGEST_LINE_BYTES + 1).read_until(b'\n', &mut line);
        let heard = match (read, line.pop()) {
            (Ok(_), Some(b'\n')) => {
                line.pop_if(|last| *last == b'\r');
                Heard::Line(line)
            }
            (Ok(_), Some(last)) => {
                line.push(last);
                let is_whole = line.len() as u64 <= LONGEST_LINE_BYTES;
                let _ = happened.send(if is_whole { Heard::OutputEnded(line) } else { Heard::TooLong });
                return;
            }
            (Ok(_), None) | (Err(_), _) => {
                let _ = happened.send(Heard::OutputEnded(Vec::new()));
                return;
            }
        };
        if happened.send(heard).is_err() {
            return;
        }
    }
}

fn read_log(stderr: impl Read, happened: &SyncSender<Heard>) {
    let mut stderr = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match stderr.by_ref().take(LONGEST_LOG_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = Printable(String::from_utf8_lossy(&line).trim_end()).to_string();
                if happened.send(Heard::Log(text)).is_err() {
                    return;
                }
            }
        }
    }
}

fn await_end(mut child: Child, happened: &SyncSender<Heard>) {
    let exit = match child.wait() {
        Ok(status) => Exit { words: words(status), is_success: status.success() },
        Err(error) => Exit { words: format!("ended, and how is not known: {error}"), is_success: false },
    };
    let _ = happened.send(Heard::Exited(exit));
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
