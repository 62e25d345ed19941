//! What the heads and trailers of many requests on many connections of HTTP/2 take in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::{ADA, Server, Setup};

const CONNECTIONS: usize = 100;
const STREAMS: u32 = 100;
/// Each field is one byte on the wire.
const FIELDS: usize = 600;

#[test]
fn compressed_heads_of_ten_thousand_requests_take_no_hundred_mebibytes() {
    let server = Server::start(Setup::default());
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::open(&server)).collect();
    let before = server.peak_memory();

    for connection in &mut connections {
        for number in 0..STREAMS {
            connection.begin_request(2 * number + 1, number == 0);
        }
    }
    for connection in &mut connections {
        connection.await_ping();
    }

    let taken = server.peak_memory() - before;
    assert!(taken < 100 << 20, "{taken} bytes");
    assert_eq!(server.send("GET", "/livez", &[], b"").status, 200);
}

#[test]
fn trailers_that_nobody_reads_are_not_kept_while_an_answer_takes_its_time() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let ada = server.create(ADA, json!({}));
    let mut connection = Connection::open(&server);
    for number in 0..STREAMS {
        connection.begin_stream(2 * number + 1, &ada.session_id(), &ada.token());
    }
    connection.await_answers(STREAMS);
    let before = server.peak_memory();

    for number in 0..STREAMS {
        connection.end_with_trailers(2 * number + 1, number == 0);
        connection.await_ping();
    }

    let taken = server.peak_memory() - before;
    assert!(taken < 10 << 20, "{taken} bytes");
}

/// A connection on which the test writes frames (RFC 9113, section 4.1).
struct Connection(TcpStream);

impl Connection {
    fn open(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(super::http2::PREFACE).unwrap();
        let mut connection = Self(stream);
        connection.write(SETTINGS, 0, 0, b"");
        connection
    }

    /// A request with a body that does not come. The first one says once what all of them repeat.
    fn begin_request(&mut self, stream: u32, is_first: bool) {
        const POST: u8 = 0x83;
        const HTTP: u8 = 0x86;
        const LITERAL_PATH: [u8; 2] = [0x04, 18];
        const LITERAL_AUTHORITY: [u8; 2] = [0x01, 9];
        let mut head = vec![POST, HTTP];
        head.extend(LITERAL_PATH);
        head.extend(b"/initializeSession");
        head.extend(LITERAL_AUTHORITY);
        head.extend(b"localhost");
        if is_first {
            head.extend(ADDED);
        }
        head.extend([ENTRY; FIELDS]);
        self.write(HEADERS, END_HEADERS, stream, &head);
    }

    /// A request for a session's stream of events, with more to come.
    fn begin_stream(&mut self, stream: u32, id: &str, token: &str) {
        const GET: u8 = 0x82;
        const HTTP: u8 = 0x86;
        const LITERAL_PATH: [u8; 1] = [0x04];
        const LITERAL_AUTHORITY: [u8; 1] = [0x01];
        const LITERAL_ACCEPT: [u8; 2] = [0x0f, 4];
        const LITERAL_AUTHORIZATION: [u8; 2] = [0x0f, 8];
        let mut head = vec![GET, HTTP];
        let mut literal = |name: &[u8], value: &str| {
            head.extend(name);
            // A length of 127 and more goes on in the next byte (RFC 7541, section 5.1).
            let length = u8::try_from(value.len()).unwrap();
            head.extend(if length < 127 { vec![length] } else { vec![127, length - 127] });
            head.extend(value.as_bytes());
        };
        literal(&LITERAL_PATH, &format!("/v1/sessions/{id}/events"));
        literal(&LITERAL_AUTHORITY, "localhost");
        literal(&LITERAL_ACCEPT, "text/event-stream");
        literal(&LITERAL_AUTHORIZATION, &format!("Bearer {token}"));
        self.write(HEADERS, END_HEADERS, stream, &head);
    }

    /// Ends a request with almost as many trailers as one list may have.
    fn end_with_trailers(&mut self, stream: u32, is_first: bool) {
        let mut trailers = Vec::new();
        if is_first {
            trailers.extend(ADDED);
        }
        trailers.extend([ENTRY; 3_900]);
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
    }

    /// Returns when the server has begun so many answers.
    fn await_answers(&mut self, count: u32) {
        let mut begun = 0;
        while begun < count {
            let (kind, _, _) = self.read();
            begun += u32::from(kind == HEADERS);
        }
    }

    fn read(&mut self) -> (u8, u8, Vec<u8>) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).unwrap();
        assert_ne!(head[3], GOAWAY, "{payload:?}");
        (head[3], head[4], payload)
    }

    /// Returns when the server has read all that was sent.
    fn await_ping(&mut self) {
        self.write(PING, 0, 0, &[7; 8]);
        loop {
            let (kind, flags, payload) = self.read();
            if (kind, flags & ACK, &payload[..]) == (PING, ACK, &[7; 8]) {
                return;
            }
        }
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).unwrap();
    }
}

/// `x` with an empty value, and its entry in the dynamic table.
const ADDED: [u8; 4] = [0x40, 1, b'x', 0];
const ENTRY: u8 = 0x80 | 62;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
