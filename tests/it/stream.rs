//! A stream as a client of HTTP/1.1 reads it, byte for byte, and the server-sent events in it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::Answer;

/// An answer that goes on.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    body: BufReader<Body>,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// The bytes of the body. A connection that breaks is the end of it, too.
struct Body {
    connection: BufReader<TcpStream>,
    is_chunked: bool,
    /// Bytes of the chunk that are still to come.
    left: usize,
    /// How many bytes are read before the client leaves.
    budget: usize,
}

impl Stream {
    /// Sends a request for a stream, and reads the head of the answer.
    pub(crate) fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::request(address, "GET", path, headers, "", usize::MAX).unwrap()
    }

    /// The same with a body, and of a client that leaves after so many bytes.
    pub(crate) fn request(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        budget: usize,
    ) -> std::io::Result<Self> {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        let length = body.len();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            head.push_str("Accept: text/event-stream\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(ErrorKind::UnexpectedEof)?;
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let is_chunked = headers.contains_key("transfer-encoding");
        let left = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let body = BufReader::with_capacity(512, Body { connection, is_chunked, left, budget });
        Ok(Self { status, headers, body })
    }

    /// The next event; nothing at the end, also if that is in the middle of one.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let (mut id, mut name, mut data) = (None, None, None);
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.parse().unwrap()),
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                Some(("" | "retry", _)) => {}
                Some(_) => panic!("no field: {line}"),
                None if line.is_empty() => {
                    if let (Some(name), Some(data)) = (name.take(), data.take()) {
                        return Some(Frame { id, name, data });
                    }
                }
                None => panic!("no field: {line}"),
            }
        }
    }

    /// The next event, which must have this name; its data.
    pub(crate) fn expect(&mut self, name: &str) -> Value {
        let frame = self.next().unwrap_or_else(|| panic!("the stream ended before {name}"));
        assert_eq!(frame.name, name, "{frame:?}");
        frame.data
    }

    /// The next whole line, without its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// All of the rest.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.body.read_to_string(&mut rest).unwrap();
        rest
    }

    /// The connection below.
    pub(crate) fn connection(&self) -> &TcpStream {
        self.body.get_ref().connection.get_ref()
    }
}

impl Read for Body {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self.read_or_break(bytes) {
            // Nothing for a minute is no end.
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("waited a minute for the stream"),
            Err(_) => Ok(0),
            read => read,
        }
    }
}

impl Body {
    fn read_or_break(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && self.is_chunked {
            self.left = self.next_chunk()?;
            // Nothing comes after the last one.
            self.is_chunked = self.left > 0;
        }
        let most = bytes.len().min(self.left).min(self.budget);
        let read = self.connection.read(&mut bytes[..most])?;
        self.left -= read;
        self.budget -= read;
        Ok(read)
    }

    /// The length of the next chunk, behind the end of the one before.
    fn next_chunk(&mut self) -> std::io::Result<usize> {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            if self.connection.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        usize::from_str_radix(line.trim(), 16).map_err(|_| ErrorKind::UnexpectedEof.into())
    }
}

/// The text of a whole answer that came in chunks.
pub(crate) fn unchunked(answer: &Answer) -> String {
    let mut text = String::new();
    let mut rest = std::str::from_utf8(&answer.body).unwrap();
    while let Some((length, chunk)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&chunk[..length]);
        rest = &chunk[length + 2..];
    }
    text
}
