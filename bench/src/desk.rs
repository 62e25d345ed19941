//! The server under measurement, in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::Setting;
use crate::program::{Program, beside};

/// A server. Dropping it ends it with its agents, and removes its directory.
pub struct Desk {
    /// Where it listens.
    pub address: SocketAddr,
    frontdesk: PathBuf,
    cores: Option<&'static str>,
    directory: PathBuf,
    process: Child,
    /// The credential server, if a remote one decides.
    credentials: Option<Program>,
}

impl Desk {
    /// Starts it with a credential server that knows everybody.
    pub fn start(setting: &Setting, configuration: &str) -> Self {
        let credentials = Program::bare(&["credentials"]);
        let mapping = format!("{{\"CREDENTIAL_SERVER\":\"{}\"}}", credentials.address());
        Self::start_in(setting, configuration, &mapping, Some(credentials))
    }

    /// Starts it with the embedded credential server.
    pub fn embedded(setting: &Setting, configuration: &str) -> Self {
        Self::start_in(setting, configuration, "{}", None)
    }

    fn start_in(setting: &Setting, configuration: &str, mapping: &str, credentials: Option<Program>) -> Self {
        let directory = scratch(&setting.scratch, "desk");
        fs::write(directory.join("frontdesk.toml"), configuration).expect("a file");
        fs::write(directory.join("ServiceURLMapping.json"), mapping).expect("a file");
        let (frontdesk, cores) = (setting.frontdesk.clone(), setting.cores);
        let (process, address) = spawn(&frontdesk, cores, &directory);
        Self { address, frontdesk, cores, directory, process, credentials }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its credential server listens.
    pub fn credentials(&self) -> SocketAddr {
        self.credentials.as_ref().expect("a remote credential server").address()
    }

    /// A directory that goes with the server, on the same disk as its store.
    pub fn scratch(&self) -> PathBuf {
        scratch(&self.directory, "floor")
    }

    /// Makes an operator's token.
    pub fn operator(&self) -> String {
        let scopes = ["customers:write", "sessions:read", "sessions:write"];
        let scopes = scopes.into_iter().flat_map(|scope| ["--scope", scope]);
        let mut command = Command::new(&self.frontdesk);
        command.args(["token", "create", "bench"]).args(scopes).current_dir(&self.directory);
        let output = command.output().expect("a command that runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a text").trim().to_owned()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().expect("a server that ends");
    }

    /// The same while others use it; [`Desk::kill`] then only waits for its end.
    pub fn kill_now(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }

    /// Starts it again and returns once it is ready.
    pub fn start_again(&mut self) {
        (self.process, self.address) = spawn(&self.frontdesk, self.cores, &self.directory);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let data = self.directory.join("frontdesk-data");
        let stop = Command::new(&self.frontdesk).args(["stop", "--agents", "--data-dir"]).arg(data).output();
        if !stop.is_ok_and(|stopped| stopped.status.success()) {
            eprintln!("the server of {} was not stopped in order", self.directory.display());
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A configuration of one persona whose agent is this program of ours. Should the bench be killed, its agents end soon.
pub fn persona(name: &str, program: &str, more: &str) -> String {
    let program = beside(program);
    format!("[personas.{name}]\ncommand = [\"{}\"]\norphan_timeout = \"20s\"\n{more}\n", program.display())
}

/// A new directory in another.
pub fn scratch(directory: &Path, name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let path = directory.join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&path).expect("a directory");
    path
}

fn spawn(frontdesk: &Path, cores: Option<&str>, directory: &Path) -> (Child, SocketAddr) {
    let mut command = Command::new(cores.map_or(frontdesk, |_| Path::new("taskset")));
    if let Some(cores) = cores {
        // It becomes the server, whose threads are as many as the cores that it may use.
        command.args(["--cpu-list", cores]).arg(frontdesk);
    }
    let mut process = command
        // What an ordinary limit of open files leaves room for, beside agents.
        .env("FRONTDESK_LIMITS__CONNECTIONS", "12000")
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a server that starts");
    let mut log = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).expect("a log"), 0, "the server ended before it was ready");
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if entry["message"] == "ready" {
            break entry["listen"].as_str().and_then(|listen| listen.parse().ok()).expect("an address");
        }
        tell(&line);
    };
    std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| tell(&line)));
    (process, address)
}

/// Passes on what of the log somebody should see.
fn tell(line: &str) {
    if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
        eprintln!("{}", line.trim_end());
    }
}
