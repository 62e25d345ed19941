//! The real binary in a directory of its own, and a client that sends exactly what a test says.
//!
//! Every server listens on a port that the system chooses, and is killed with all its agents when its value is dropped.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use frontdesk::agent::leftovers::Marked;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The customer that most tests use, and the password.
pub const ADA: (&str, &str) = ("ada@example.org", "correct horse");

/// How a server is started.
#[derive(Clone, Default)]
pub struct Setup {
    /// The text of its configuration file.
    pub config: String,
    /// The text of its service mapping, if it has one.
    pub mapping: Option<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// A program that becomes the server, with arguments before the server's own command line.
    pub wrapper: Vec<String>,
    /// Whether it listens where it did when it is started again, and not wherever there is room.
    pub keeps_address: bool,
    /// Where it listens, if that is not just any port.
    pub listen: Option<String>,
    /// The binary, if it is another file than the one that was built.
    pub binary: Option<PathBuf>,
    /// The user as whom the server and its commands run, if not the test's own; root's to choose.
    pub user: Option<u32>,
}

impl Setup {
    /// A server with this configuration file.
    pub fn with_config(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::default() }
    }

    /// The same with one more variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server, or one that has ended and can be started again.
pub struct Server {
    pub setup: Setup,
    pub address: SocketAddr,
    child: Option<Child>,
    directory: TempDir,
    // In a mutex, so that the threads of a test may share the server.
    log: Option<Mutex<Receiver<Value>>>,
}

impl Server {
    /// Starts the binary in a new directory and waits until it is ready.
    pub fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), setup.user, setup.user).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { setup, address, child: None, directory, log: None };
        server.start_again();
        server
    }

    #[cfg(feature = "failpoints")]
    /// Starts the binary in a new directory; false if it ended before it was ready.
    pub fn start_first(setup: Setup) -> (Self, bool) {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { setup, address: "127.0.0.1:0".parse().unwrap(), child: None, directory, log: None };
        let is_ready = server.try_start();
        (server, is_ready)
    }

    /// A server on what a backup of another one, in its directory, is restored to.
    pub fn restored(from: &Self, backup: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { setup: from.setup.clone(), address, child: None, directory, log: None };
        let backup = from.path(backup).display().to_string();
        let (status, _, errors) = server.run(&["restore", &backup], "");
        assert!(status.success(), "{errors}");
        server.start_again();
        server
    }

    #[cfg(feature = "failpoints")]
    /// A server that is not running, in a copy of the directory of this one, which is not running either.
    pub fn copy(&self) -> Self {
        assert!(self.child.is_none(), "the server is still running");
        let directory = tempfile::tempdir().unwrap();
        copy_directory(&self.data_dir(), &directory.path().join("frontdesk-data"));
        Self { setup: self.setup.clone(), address: self.address, child: None, directory, log: None }
    }

    #[cfg(feature = "failpoints")]
    /// Waits until the server has ended by itself; fails the test if it does not within a minute.
    pub fn await_end(&mut self) {
        for _ in 0..6_000 {
            let Some(child) = &mut self.child else { return };
            if child.try_wait().unwrap().is_some() {
                self.child = None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("waited a minute for the server's end");
    }

    /// Starts the binary again in the same directory.
    pub fn start_again(&mut self) {
        assert!(self.try_start(), "the server ended before it was ready");
    }

    /// Starts the binary again; false if it ended before it was ready.
    pub fn try_start(&mut self) -> bool {
        assert!(self.child.is_none(), "the server is still running");
        std::fs::write(self.path("frontdesk.toml"), &self.setup.config).unwrap();
        if let Some(mapping) = &self.setup.mapping {
            std::fs::write(self.path("ServiceURLMapping.json"), mapping).unwrap();
        }
        let mut command = self.command();
        if let Some(binary) = &self.setup.binary {
            command = Command::new(binary);
            command.current_dir(self.directory.path());
        }
        if let [program, arguments @ ..] = self.setup.wrapper.as_slice() {
            command = Command::new(program);
            command.args(arguments).arg(env!("CARGO_BIN_EXE_frontdesk")).current_dir(self.directory.path());
        }
        let listen = if let Some(listen) = &self.setup.listen {
            listen.clone()
        } else if self.setup.keeps_address {
            self.address.to_string()
        } else {
            "127.0.0.1:0".to_owned()
        };
        let mut child = command
            .args(["serve", "--listen", &listen, "--log-format", "json"])
            .envs(self.setup.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if lines.send(value).is_err() {
                    return;
                }
            }
        });
        self.child = Some(child);
        loop {
            let Ok(line) = log.recv_timeout(Duration::from_secs(60)) else {
                self.wait();
                return false;
            };
            if line["message"] == "ready" {
                // A Unix socket has no such address.
                self.address = line["listen"].as_str().unwrap().parse().unwrap_or(self.address);
                self.log = Some(Mutex::new(log));
                return true;
            }
        }
    }

    /// A command of the same binary on the same directory, without the test's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FRONTDESK_")) {
            command.env_remove(name);
        }
        command.current_dir(self.directory.path());
        if let Some(user) = self.setup.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command of the binary with this standard input; returns its exit status, output and errors.
    pub fn run(&self, arguments: &[&str], input: &str) -> (ExitStatus, String, String) {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads no input may have ended before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Adds a customer through the command line.
    pub fn add_customer(&self, (email, password): (&str, &str)) {
        let (status, _, errors) = self.run(&["customer", "add", email, "--password-stdin"], password);
        assert!(status.success(), "{errors}");
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory in which it runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path("frontdesk-data")
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The most memory that the server has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1_024
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
        self.wait();
    }

    /// Asks the server to end and to leave its agents, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), rustix::process::Signal::TERM);
        self.wait()
    }

    /// Asks the server to end with its agents, as Ctrl-C does, and waits until it has.
    pub fn interrupt(&mut self) -> ExitStatus {
        signal(self.pid(), rustix::process::Signal::INT);
        self.wait()
    }

    /// Waits until the server has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// The next log line with this message.
    pub fn await_log(&self, message: &str) -> Value {
        let log = self.log.as_ref().unwrap().lock().unwrap();
        loop {
            let line =
                log.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no {message:?} in the log"));
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Everything that the server has logged and no test has read.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log.as_ref().unwrap().lock().unwrap().try_iter().collect()
    }

    /// Sends one request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        try_send(self.address, method, path, headers, body)
            .unwrap_or_else(|error| panic!("{error:?}; the server said {:?}", self.log_lines()))
    }

    /// `POST /requestSessionCreation` as JSON.
    pub fn create(&self, (email, password): (&str, &str), data: Value) -> Answer {
        let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": data});
        let headers = [("Content-Type", "application/json")];
        self.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes())
    }

    /// `POST /initializeSession`.
    pub fn initialise(&self, email: &str) -> Answer {
        self.send("POST", "/initializeSession", &[], json!({"EMAIL": email}).to_string().as_bytes())
    }

    /// `GET /sessionSTATUS` for the persona `CUSTOMERS`; returns `MESSAGE`.
    pub fn status(&self, email: &str) -> String {
        let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": email}).to_string();
        let path = format!("/sessionSTATUS?message={}", percent(&message));
        self.send("GET", &path, &[], b"").message()
    }

    /// `PUT /handleSessionRequests` with the session's token.
    pub fn relay(&self, email: &str, token: &str, request: &Value) -> Answer {
        let body = json!({"EMAIL": email, "REQUEST": request, "TOKEN": token});
        self.send("PUT", "/handleSessionRequests", &[], body.to_string().as_bytes())
    }

    /// `DELETE /v1/sessions/{id}` with the session's token.
    pub fn stop(&self, id: &str, token: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        self.send("DELETE", &format!("/v1/sessions/{id}"), &[("Authorization", &authorization)], b"")
    }

    /// The processes of this server's agents, by the marks in their environment.
    pub fn agents(&self) -> Vec<u32> {
        self.marked().into_iter().map(|marked| marked.pid).collect()
    }

    /// The same with what the marks say.
    pub fn marked(&self) -> Vec<Marked> {
        let desk = frontdesk::store::sqlite::desk_id(&self.data_dir()).unwrap();
        frontdesk::agent::leftovers::marked(&desk)
    }

    /// The server, its launcher and its shims, in the order in which they were started: every process that runs in the
    /// server's directory and is not of an agent.
    pub fn own_processes(&self) -> Vec<u32> {
        own_processes(self.directory())
    }

    /// The same without the shims that wait for an order, which come and go by themselves.
    #[cfg(feature = "failpoints")]
    pub fn own_processes_at_work(&self) -> Vec<u32> {
        let is_spare =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"frontdesk-spare\n");
        self.own_processes().into_iter().filter(|pid| !is_spare(pid)).collect()
    }

    /// Kills every agent with all its processes, as one that has nothing to do with the server would.
    pub fn kill_agents(&self) {
        for pid in self.agents() {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

fn is_of_an_agent(environment: &[u8]) -> bool {
    environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(b"FRONTDESK_SESSION="))
}

/// See [`Server::own_processes`].
pub fn own_processes(directory: &Path) -> Vec<u32> {
    let runs_there = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|path| path == directory)
            // What has ended and was not reaped has no command line.
            && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
            && std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| !is_of_an_agent(&text))
    };
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(runs_there)
        .collect();
    pids.sort_unstable();
    pids
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Shims follow their agents by themselves, unless the test holds them up; agents follow their shims. A shim
        // that still ended in order would write into the directory that is about to go.
        for _ in 0..500 {
            let agents = if self.data_dir().exists() { self.agents() } else { Vec::new() };
            let left = [self.own_processes(), agents].concat();
            for pid in &left {
                signal(*pid, rustix::process::Signal::KILL);
            }
            if left.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The seed's `MESSAGE`.
    pub fn message(&self) -> String {
        self.json()["MESSAGE"].as_str().unwrap().to_owned()
    }

    /// The session's token, of a creation.
    pub fn token(&self) -> String {
        self.json()["TOKEN"].as_str().unwrap().to_owned()
    }

    /// The session's id, of a creation.
    pub fn session_id(&self) -> String {
        self.json()["SESSION_ID"].as_str().unwrap().to_owned()
    }

    /// A header's value; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Status and `MESSAGE` together.
    pub fn pair(&self) -> (u16, String) {
        (self.status, self.message())
    }
}

/// Sends one request on a connection of its own.
pub fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !has("host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    if !has("content-length") && !has("transfer-encoding") && (!body.is_empty() || method != "GET") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    // A server that refuses early may close before all is written; its answer is still there to read.
    let _ = stream.write_all(body);
    read_answer(&mut BufReader::new(stream))
}

/// Reads one answer from a connection that may stay open.
pub fn read_answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let malformed = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| malformed(&line))?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if status == 100 {
        return read_answer(stream);
    }
    if matches!(status, 204 | 304) {
        return Ok(Answer { status, headers, body: Vec::new() });
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        None => {
            stream.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, headers, body })
}

/// Percent-encodes everything but letters and digits.
pub fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(feature = "failpoints")]
fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended meanwhile.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits until a condition holds; fails the test if it does not within a minute.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited a minute for: {what}");
}

/// The repository's own directory.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of Rust in a directory and below.
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
