//! The server of a run, in a directory of its own; and the end of every process that the run has started.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::boot_time;
use crate::store::sqlite;

use super::connection::Address;
use super::credential;
use super::processes::{Handle, Marks, RUN_VARIABLE, new_run};
use super::{Plan, customer};

/// How long a start may take on a machine that is busy.
const TO_START: Duration = Duration::from_secs(60);
/// How long a stop of the server with all its agents may take.
const TO_STOP: Duration = Duration::from_secs(60);

/// The server, and what is needed to start it again.
#[derive(Debug)]
pub(super) struct Desk {
    directory: PathBuf,
    marks: Marks,
    address: Address,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    process: Child,
    ready: Receiver<SocketAddr>,
}

impl Desk {
    /// Writes the configuration and starts the server for the first time.
    ///
    /// # Errors
    /// What the system said, or that the server ended.
    pub(super) fn start(plan: &Plan, directory: &Path) -> io::Result<Self> {
        let credential = credential::serve()?;
        fs::write(directory.join("frontdesk.toml"), configuration(plan))?;
        let mapping = json!({"CREDENTIAL_SERVER": credential.to_string()});
        fs::write(directory.join("ServiceURLMapping.json"), mapping.to_string())?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let marks = Marks { run: new_run(), desk: None };
        let mut desk = Self { directory: directory.to_owned(), marks, address: Address::new(nowhere), server: None };
        desk.spawn()?;
        desk.await_ready()?;
        let id = sqlite::desk_id(&desk.data()).map_err(io::Error::other)?;
        desk.marks.desk = Some(id);
        Ok(desk)
    }

    /// Where the server listens, at any time.
    pub(super) fn address(&self) -> Address {
        self.address.clone()
    }

    /// How the run's processes are known.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("frontdesk-data")
    }

    /// The server's process, to hold it.
    pub(super) fn handle(&self) -> Option<Handle> {
        Handle::open(self.server.as_ref()?.process.id())
    }

    /// Ends the server as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
    }

    /// Starts the server, without waiting until it is ready.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn spawn(&mut self) -> io::Result<()> {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let log = OpenOptions::new().create(true).append(true).open(self.directory.join("server.log"))?;
        let (tell, ready) = channel();
        if let Some(stderr) = process.stderr.take() {
            std::thread::spawn(move || follow(stderr, log, &tell));
        }
        self.server = Some(Server { process, ready });
        Ok(())
    }

    /// Waits until the server that was started is ready.
    ///
    /// # Errors
    /// That it ended instead, or took longer than a minute.
    pub(super) fn await_ready(&mut self) -> io::Result<()> {
        let Some(server) = &mut self.server else { return Err(io::ErrorKind::NotFound.into()) };
        match server.ready.recv_timeout(TO_START) {
            Ok(address) => {
                self.address.set(address);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err(io::Error::other("it was not ready within a minute")),
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.process.wait()?;
                Err(io::Error::other(format!("it ended before it was ready ({status}); its log is server.log")))
            }
        }
    }

    /// Whether the server has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| matches!(server.process.try_wait(), Ok(Some(_))))
    }

    /// Stops the server with its agents as an operator would; says what of it went wrong.
    pub(super) fn end_in_order(&mut self) -> Option<String> {
        let data = self.data();
        let stop = self.command().args(["stop", "--agents", "--data-dir"]).arg(data).stderr(Stdio::null()).status();
        if !stop.is_ok_and(|status| status.success()) {
            return Some("`frontdesk stop --agents` failed".to_owned());
        }
        let deadline = boot_time() + TO_STOP;
        while boot_time() < deadline {
            if self.has_ended() {
                self.server = None;
            }
            if self.server.is_none() && self.marks.look().is_empty() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(format!("a minute after `frontdesk stop --agents` these run: {:?}", self.marks.look()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FRONTDESK_")) {
            command.env_remove(name);
        }
        // A terminal's Ctrl-C is for the torture, which then ends everything itself.
        command.arg0("frontdesk").current_dir(&self.directory).process_group(0).env(RUN_VARIABLE, &self.marks.run);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.kill();
        self.marks.end_all();
    }
}

/// Agents that are lost are started again however often chaos strikes, and nothing ends by itself.
fn configuration(plan: &Plan) -> String {
    format!(
        "[limits]\nmax_running = {}\n\n[throttle]\nenabled = false\n\n[personas.{}]\ncommand = {}\n\
         pending_timeout = \"30d\"\nstart_attempts = 100\nrequest_timeout = \"2s\"\nstop_grace = \"5s\"\n",
        plan.running,
        customer::PERSONA,
        json!(plan.agents),
    )
}

/// Writes the server's log down, and tells where it listens once it says so.
fn follow(stderr: ChildStderr, mut log: fs::File, tell: &std::sync::mpsc::Sender<SocketAddr>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        if value["message"] == "ready"
            && let Some(address) = value["listen"].as_str().and_then(|text| text.parse().ok())
        {
            // A server that was killed meanwhile has nobody waiting for it.
            let _ = tell.send(address);
        }
        // What can't be kept is no reason to let the server wait.
        let _ = writeln!(log, "{line}");
    }
}
