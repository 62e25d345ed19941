//! Clients work while the server is killed at random moments and started again: what was answered with success holds,
//! nothing runs twice, and nothing is left over or stuck.
//!
//! The sweep visits the named points one by one; this finds what nobody thought to name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use frontdesk::store::sqlite::inspect;
use frontdesk::verify::verify;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, Setup, try_send, until};

const ROUNDS: u32 = 6;
const CUSTOMERS: usize = 6;
const PASSWORD: &str = "correct horse";
/// Its agent leaves a process that does not end with its stdin.
const CONFIG: &str = r#"
[personas.CUSTOMERS]
command = ["sh", "-c", "sleep 600 & exec \"$ECHO\" agent echo"]
environment = { ECHO = "BINARY" }
stop_grace = "1s"
"#;

#[test]
fn a_server_killed_at_random_moments_loses_doubles_and_forgets_nothing() {
    let mut server = Server::start(Setup::with_config(&CONFIG.replace("BINARY", env!("CARGO_BIN_EXE_frontdesk"))));
    let clients: Vec<_> = (0..CUSTOMERS).map(Client::new).collect();
    for client in &clients {
        server.add_customer((&client.email, PASSWORD));
    }
    let (address, stop) = (Mutex::new(server.address), AtomicBool::new(false));
    let has_begun = AtomicBool::new(false);

    let clients = std::thread::scope(|scope| {
        let (address, stop, has_begun) = (&address, &stop, &has_begun);
        let work = |client: Client| scope.spawn(move || client.work(address, stop, has_begun));
        let working: Vec<_> = clients.into_iter().map(work).collect();
        until("a client has come to something", || has_begun.load(Ordering::SeqCst));
        for _ in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(200 + u64::from(random_byte()) * 4));
            server.kill();
            server.start_again();
            *address.lock().unwrap_or_else(PoisonError::into_inner) = server.address;
            assert_eq!(findings(&server), [""; 0]);
        }
        stop.store(true, Ordering::SeqCst);
        working.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });

    for client in &clients {
        client.assert_kept(&server);
    }
    assert!(server.interrupt().success());
    assert!(server.agents().is_empty());
    server.start_again();
    for client in &clients {
        client.end(&server);
    }
    until("no agent is left", || server.agents().is_empty());
    assert_eq!(findings(&server), [""; 0]);
}

/// What a client was last told of its session.
#[derive(Debug)]
enum Known {
    /// Nothing, or the answer never came.
    Nothing,
    Created {
        id: String,
        token: String,
        data: Value,
    },
    Running {
        id: String,
        token: String,
        data: Value,
    },
    Stopped {
        id: String,
    },
}

struct Client {
    email: String,
    sessions: u32,
    known: Known,
    ended: Vec<String>,
}

impl Client {
    fn new(number: usize) -> Self {
        Self { email: format!("customer{number}@example.org"), sessions: 0, known: Known::Nothing, ended: Vec::new() }
    }

    /// Creates, initialises, asks and stops in turns, until it is told to stop.
    fn work(mut self, address: &Mutex<SocketAddr>, stop: &AtomicBool, has_begun: &AtomicBool) -> Self {
        while !stop.load(Ordering::SeqCst) {
            let address = *address.lock().unwrap_or_else(PoisonError::into_inner);
            self.known = match std::mem::replace(&mut self.known, Known::Nothing) {
                Known::Nothing | Known::Stopped { .. } => self.create(address),
                Known::Created { id, token, data } => self.initialise(address, id, token, data),
                Known::Running { id, token, data } => self.ask_or_stop(address, id, token, data),
            };
            has_begun.fetch_or(self.sessions > 0, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(u64::from(random_byte()) / 16));
        }
        self
    }

    fn create(&mut self, address: SocketAddr) -> Known {
        let data =
            json!({"owner": self.email, "number": self.sessions, "size": "x".repeat(usize::from(random_byte()) << 10)});
        let body = json!({"EMAIL": self.email, "PASSWORD": PASSWORD, "PERSONA_TYPE": "CUSTOMERS", "DATA": data});
        let headers = [("Content-Type", "application/json")];
        match send(address, "POST", "/requestSessionCreation", &headers, &body) {
            Some(answer) if answer.status == 200 => {
                self.sessions += 1;
                Known::Created { id: answer.session_id(), token: answer.token(), data }
            }
            // One whose creation or stop was never answered: it is taken over, to be stopped.
            Some(answer) if answer.status == 400 => self.stop(address, answer.session_id(), &answer.token()),
            Some(_) | None => Known::Nothing,
        }
    }

    fn initialise(&self, address: SocketAddr, id: String, token: String, data: Value) -> Known {
        let answer = send(address, "POST", "/initializeSession", &[], &json!({"EMAIL": self.email}));
        match answer.map(|answer| answer.status) {
            // Not pending: an attempt whose answer was lost has started it.
            Some(200 | 404) => Known::Running { id, token, data },
            Some(_) | None => Known::Created { id, token, data },
        }
    }

    fn ask_or_stop(&mut self, address: SocketAddr, id: String, token: String, data: Value) -> Known {
        if random_byte() < 80 {
            return self.stop(address, id, &token);
        }
        let body = json!({"EMAIL": self.email, "REQUEST": self.sessions, "TOKEN": token});
        if let Some(answer) = send(address, "PUT", "/handleSessionRequests", &[], &body) {
            assert_ne!(answer.status, 401, "the token of session {id} is lost");
            if answer.status == 200 {
                assert_eq!(answer.json()["RESPONSE"]["session"], json!(id), "another session's agent answered");
            }
        }
        Known::Running { id, token, data }
    }

    fn stop(&mut self, address: SocketAddr, id: String, token: &str) -> Known {
        let authorization = format!("Bearer {token}");
        let path = format!("/v1/sessions/{id}");
        match send(address, "DELETE", &path, &[("Authorization", &authorization)], &Value::Null) {
            Some(answer) if answer.status < 300 => {
                self.ended.push(id.clone());
                Known::Stopped { id }
            }
            Some(_) | None => Known::Nothing,
        }
    }

    fn assert_kept(&self, server: &Server) {
        let read = || inspect::read(&server.data_dir().join("frontdesk.db")).unwrap();
        for id in &self.ended {
            until("a stopped session has ended", || read().history.iter().any(|row| row.id.to_string() == *id));
        }
        match &self.known {
            Known::Nothing => {}
            Known::Stopped { id } => assert!(read().live.iter().all(|row| row.id.to_string() != *id)),
            Known::Created { id, data, .. } => assert_eq!(&stored_data(server, id), data),
            Known::Running { id, token, data } => {
                assert_eq!(&stored_data(server, id), data);
                let ask = || server.relay(&self.email, token, &json!(1)).status;
                until("the agent answers", || ask() == 200 || server.initialise(&self.email).status == 200);
            }
        }
    }

    /// Ends what the customer has, by the way that is always open: create, and stop what is there.
    fn end(&self, server: &Server) {
        let answer = server.create((&self.email, PASSWORD), json!({}));
        assert!(server.stop(&answer.session_id(), &answer.token()).status < 300);
        until("the customer has no session", || server.status(&self.email) == "IDLE");
    }
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Option<Answer> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    try_send(address, method, path, headers, body.as_bytes()).ok()
}

fn findings(server: &Server) -> Vec<String> {
    verify(&server.data_dir()).unwrap().findings.into_iter().map(|finding| finding.sentence).collect()
}

/// The session's `DATA` as it is stored, in its row or in its file.
pub(crate) fn stored_data(server: &Server, id: &str) -> Value {
    let path = server.data_dir().join("frontdesk.db");
    let connection = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let key = *id.parse::<frontdesk::id::SessionId>().unwrap().as_bytes();
    let inline: Option<Vec<u8>> =
        connection.query_row("SELECT data FROM sessions WHERE id = ?1", [key], |row| row.get(0)).unwrap();
    let bytes = inline.unwrap_or_else(|| std::fs::read(server.data_dir().join(format!("data/{id}.json"))).unwrap());
    serde_json::from_slice(&bytes).unwrap()
}

fn random_byte() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap();
    byte[0]
}
