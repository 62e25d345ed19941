//! A remote credential server that answers as a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::harness::Setup;

/// How the server treats a question.
#[derive(Clone)]
pub enum Behaviour {
    /// Yes if the password is `good`, no otherwise.
    Decide,
    /// The same, after a while.
    DecideAfter(Duration),
    /// Exactly these bytes, and then the connection is closed.
    Bytes(Vec<u8>),
    /// A byte at a time, for ever.
    Drip,
    /// No answer; the connection stays open.
    Silence,
    /// The connection is closed without an answer.
    Close,
}

/// The server. It serves until the test's process ends.
pub struct CredentialStub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    asked: Mutex<Vec<Value>>,
    targets: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl CredentialStub {
    /// Starts one.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            asked: Mutex::default(),
            targets: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// A service mapping that names this server.
    pub fn mapping(&self) -> String {
        format!(r#"{{"CREDENTIAL_SERVER": "{}"}}"#, self.address)
    }

    /// A Frontdesk that asks this server.
    pub fn setup(&self, config: &str) -> Setup {
        Setup { mapping: Some(self.mapping()), ..Setup::with_config(config) }
    }

    /// Changes what the server does from the next question on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// The messages of all questions so far.
    pub fn asked(&self) -> Vec<Value> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The request targets of all questions so far, as they came.
    pub fn targets(&self) -> Vec<String> {
        self.shared.targets.lock().unwrap().clone()
    }

    /// How many questions were open at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }
}

/// An HTTP answer with this status and body.
pub fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn serve(mut stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    loop {
        let Some(target) = read_request(&mut reader) else { return };
        let message = target.strip_prefix("/check_node?message=").map_or(Value::Null, |encoded| {
            serde_json::from_slice(&percent_decode_str(encoded).collect::<Vec<_>>()).unwrap_or_default()
        });
        let is_good = message["PASSWORD"] == "good";
        shared.asked.lock().unwrap().push(message);
        shared.targets.lock().unwrap().push(target);
        let open = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(open, Ordering::SeqCst);
        let behaviour = shared.behaviour.lock().unwrap().clone();
        let decided = http("200 OK", if is_good { r#"{"MESSAGE":"REGISTERED"}"# } else { r#"{"MESSAGE":"NO"}"# });
        let written = match behaviour {
            Behaviour::Decide => stream.write_all(&decided),
            Behaviour::DecideAfter(delay) => {
                std::thread::sleep(delay);
                stream.write_all(&decided)
            }
            Behaviour::Bytes(bytes) => {
                let _ = stream.write_all(&bytes);
                Err(std::io::ErrorKind::Other.into())
            }
            Behaviour::Drip => drip(stream),
            // Until the other side gives up.
            Behaviour::Silence => reader.read_line(&mut String::new()).map(drop),
            Behaviour::Close => Err(std::io::ErrorKind::Other.into()),
        };
        shared.at_once.fetch_sub(1, Ordering::SeqCst);
        if written.is_err() {
            return;
        }
    }
}

fn drip(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
    loop {
        stream.write_all(b" ")?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The target of the next request, or `None` when there is none.
fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).ok()?;
    }
    Some(target)
}
