//! A client's connection: kept open over requests, made anew when it breaks.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

/// Longer than anything may take that the server answers by itself.
const PATIENCE: Duration = Duration::from_secs(20);
const LARGEST_ANSWER: usize = 1 << 20;

/// Where the server listens; it changes with each start. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Address(Arc<Mutex<SocketAddr>>);

impl Address {
    /// Begins with this one.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(address)))
    }

    /// Says where the server listens from now on.
    pub(super) fn set(&self, address: SocketAddr) {
        *self.0.lock() = address;
    }

    fn get(&self) -> SocketAddr {
        *self.0.lock()
    }
}

/// A connection that may be open.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    open: Option<(SocketAddr, BufReader<TcpStream>)>,
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body; null if it is no JSON.
    pub(super) body: Value,
}

impl Answer {
    /// The seed's `MESSAGE`; empty if there is none.
    pub(super) fn message(&self) -> &str {
        self.body["MESSAGE"].as_str().unwrap_or_default()
    }
}

impl Connection {
    /// Connects when it is first used.
    pub(super) fn new(address: &Address) -> Self {
        Self { address: address.clone(), open: None }
    }

    /// Another connection to the same server.
    pub(super) fn another(&self) -> Self {
        Self::new(&self.address)
    }

    /// Sends one request; `None` if no whole answer came. What became of it is then unknown.
    pub(super) fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Option<Answer> {
        self.ask_keyed(method, path, token, None, body)
    }

    /// The same under an idempotency key.
    pub(super) fn ask_keyed(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        key: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let answer = self.try_ask(method, path, token, key, body);
        if answer.is_err() {
            self.open = None;
        }
        answer.ok()
    }

    fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        key: Option<&str>,
        body: &Value,
    ) -> io::Result<Answer> {
        let address = self.address.get();
        if self.open.as_ref().is_none_or(|(to, _)| *to != address) {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            self.open = Some((address, BufReader::new(stream)));
        }
        let Some((_, reader)) = &mut self.open else { return Err(io::ErrorKind::NotConnected.into()) };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{authorization}{key}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        reader.get_mut().write_all(request.as_bytes())?;
        read(reader)
    }
}

fn read(reader: &mut impl BufRead) -> io::Result<Answer> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    let mut length = None;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(malformed());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|length| *length <= LARGEST_ANSWER).ok_or_else(malformed)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"MESSAGE\":\"YES\"HTTP/1.1 404 Not Found\r\n\
                    content-length: 0\r\n\r\n";
        let mut reader = BufReader::new(text.as_bytes());
        assert_eq!(read(&mut reader).unwrap().status, 200);
        assert_eq!(read(&mut reader).unwrap().status, 404);
        assert!(read(&mut reader).is_err());
    }

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        let mut reader = BufReader::new(&b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"MESS"[..]);
        assert!(read(&mut reader).is_err());
    }
}
