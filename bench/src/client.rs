//! A client that makes one call after the other, for what is prepared and not measured by the load generator.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The password of everybody.
pub const PASSWORD: &str = "four birds on two wires";

/// A client with a connection that it keeps.
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

/// A session that was created.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose it is.
    pub email: String,
    /// Its id.
    pub id: String,
    /// Its token.
    pub token: String,
}

impl Client {
    /// Connects. Nothing takes longer than a minute.
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        Self { address, stream: BufReader::new(stream) }
    }

    /// Creates a session of the persona.
    pub fn create(&mut self, email: &str, persona: &str) -> Session {
        let answer = self.expect("POST", "/requestSessionCreation", "", &creation(email, persona));
        Session::read(email, answer.as_bytes())
    }

    /// Initialises it.
    pub fn initialise(&mut self, session: &Session) {
        self.expect("POST", "/initializeSession", "", &json!({"EMAIL": session.email}).to_string());
    }

    /// Relays a request; `None` if it was not answered with 200.
    pub fn request(&mut self, session: &Session) -> Option<String> {
        let answer = self.ask("PUT", "/handleSessionRequests", &session.token, &relayed(session));
        answer.ok().filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }

    /// The process of the session's agent; `None` if it does not say.
    pub fn agent(&mut self, session: &Session) -> Option<u32> {
        let answer: Value = serde_json::from_str(&self.request(session)?).ok()?;
        answer["RESPONSE"]["pid"].as_u64()?.try_into().ok()
    }

    /// Stops it, and returns once its customer may have another.
    pub fn stop(&mut self, session: &Session) {
        let path = format!("/v1/sessions/{}", session.id);
        while !self.expect("DELETE", &path, &session.token, "").contains("\"phase\":\"ENDED\"") {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes a call that must be answered with success.
    pub fn expect(&mut self, method: &str, path: &str, token: &str, body: &str) -> String {
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

impl Session {
    /// Reads the answer to its creation.
    pub fn read(email: &str, answer: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(answer).expect("an answer in JSON");
        let field = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        Self { email: email.to_owned(), id: field("SESSION_ID"), token: field("TOKEN") }
    }
}

/// The body of a creation.
pub fn creation(email: &str, persona: &str) -> String {
    format!(
        "{{\"EMAIL\":\"{email}\",\"PASSWORD\":\"{PASSWORD}\",\"PERSONA_TYPE\":\"{persona}\",\"DATA\":{{\"topic\":\"parquet\",\"tries\":3}}}}"
    )
}

/// The body of a relayed request.
pub fn relayed(session: &Session) -> String {
    format!("{{\"EMAIL\":\"{}\",\"REQUEST\":1}}", session.email)
}

/// Does something with each item, so many at once; returns the seconds that it took, without the connecting.
pub fn in_parallel<T: Sync>(
    address: SocketAddr,
    items: &[T],
    at_once: usize,
    act: impl Fn(&mut Client, &T) + Sync,
) -> f64 {
    let mut clients: Vec<_> = (0..at_once).map(|_| Client::new(address)).collect();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(client, item);
                }
            });
        }
    });
    begun.elapsed().as_secs_f64()
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
