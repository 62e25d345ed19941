//! The server under measurement, in a directory of its own, and a client of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server. Dropping it ends it with its agents, and removes its directory.
pub struct Desk {
    /// Where it listens.
    pub address: SocketAddr,
    frontdesk: PathBuf,
    directory: PathBuf,
    process: Child,
}

impl Desk {
    /// Starts it with this configuration, and with a credential server that knows everybody.
    pub fn start(frontdesk: &Path, configuration: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("frontdesk-bench-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("frontdesk.toml"), configuration).expect("a file");
        let mapping = format!("{{\"CREDENTIAL_SERVER\":\"{}\"}}", credential_server());
        fs::write(directory.join("ServiceURLMapping.json"), mapping).expect("a file");
        let (process, address) = spawn(frontdesk, &directory);
        Self { address, frontdesk: frontdesk.to_owned(), directory, process }
    }

    /// A directory that goes with the server, on the same disk as its store.
    pub fn scratch(&self) -> PathBuf {
        let path = self.directory.join("floor");
        fs::create_dir(&path).expect("a directory");
        path
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().expect("a server that ends");
    }

    /// The same while others use it; [`Desk::kill`] then only waits for its end.
    pub fn kill_now(&self) {
        let _ = Command::new("kill").args(["-9", &self.process.id().to_string()]).status();
    }

    /// Starts it again and returns once it is ready.
    pub fn start_again(&mut self) {
        (self.process, self.address) = spawn(&self.frontdesk, &self.directory);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let data = self.directory.join("frontdesk-data");
        let stop = Command::new(&self.frontdesk).args(["stop", "--agents", "--data-dir"]).arg(data).output();
        if !stop.is_ok_and(|stopped| stopped.status.success()) {
            eprintln!("the server of {} was not stopped in order", self.directory.display());
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn spawn(frontdesk: &Path, directory: &Path) -> (Child, SocketAddr) {
    let mut process = Command::new(frontdesk)
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
        if line.contains("\"message\":\"ready\"") {
            break field(&line, "listen").parse().expect("an address");
        }
        if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
            eprint!("{line}");
        }
    };
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if line.contains("\"WARN\"") || line.contains("\"ERROR\"") {
                eprintln!("{line}");
            }
        }
    });
    (process, address)
}

/// A client with a connection that it keeps.
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

/// A session that was created.
pub struct Session {
    /// Whose it is.
    pub email: String,
    id: String,
    token: String,
}

impl Client {
    /// Connects.
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_nodelay(true).expect("a socket");
        Self { address, stream: BufReader::new(stream) }
    }

    /// Creates a session of the persona.
    pub fn create(&mut self, email: &str, persona: &str) -> Session {
        let body =
            format!("{{\"EMAIL\":\"{email}\",\"PASSWORD\":\"any\",\"PERSONA_TYPE\":\"{persona}\",\"DATA\":{{}}}}");
        let answer = self.expect("POST", "/requestSessionCreation", "", &body);
        Session { email: email.to_owned(), id: field(&answer, "SESSION_ID"), token: field(&answer, "TOKEN") }
    }

    /// Initialises it.
    pub fn initialise(&mut self, session: &Session) {
        self.expect("POST", "/initializeSession", "", &format!("{{\"EMAIL\":\"{}\"}}", session.email));
    }

    /// Relays a request; `None` if it was not answered with 200.
    pub fn request(&mut self, session: &Session) -> Option<String> {
        let body = format!("{{\"EMAIL\":\"{}\",\"REQUEST\":1}}", session.email);
        let answer = self.ask("PUT", "/handleSessionRequests", &session.token, &body);
        answer.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }

    /// Stops it, and returns once its customer may have another.
    pub fn stop(&mut self, session: &Session) {
        let path = format!("/v1/sessions/{}", session.id);
        while !self.expect("DELETE", &path, &session.token, "").contains("\"phase\":\"ENDED\"") {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn expect(&mut self, method: &str, path: &str, token: &str, body: &str) -> String {
        let (status, answer) = self.ask(method, path, token, body).expect("an answer");
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> std::io::Result<(u16, String)> {
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        read(&mut self.stream)
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u16, String)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the connection ended"))?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// A text field of an answer. The server writes no escapes into those that are read here.
pub fn field(text: &str, name: &str) -> String {
    let start = format!("\"{name}\":\"");
    let rest = text.split_once(&start).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn credential_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if line.trim_end().is_empty() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{\"MESSAGE\":\"REGISTERED\"}";
                        let _ = reader.get_mut().write_all(answer);
                    }
                    line.clear();
                }
            });
        }
    });
    address
}
