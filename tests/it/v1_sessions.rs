//! A customer's calls of `/v1`: each of their answers, and each of them sent again.

use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Server, Setup};
use crate::wire::Wire;

mod create;
mod data;
mod initialise;
mod refused;
mod requests;
mod see;

/// A server with this configuration that knows Ada.
fn server(config: &str) -> Server {
    let server = Server::start(Setup::with_config(config));
    server.add_customer(ADA);
    server
}

/// A session as its customer knows it.
pub struct Opened {
    pub id: String,
    pub token: String,
}

impl Opened {
    /// What a creation answered, or the refusal that tells of a live session.
    pub fn of(answer: &Answer) -> Self {
        let json = answer.json();
        let id = if answer.status == 201 { &json["id"] } else { &json["session"] };
        Self { id: id.as_str().unwrap().to_owned(), token: json["token"].as_str().unwrap().to_owned() }
    }

    /// Calls what is below the session's path, with its token.
    pub fn call(&self, server: &Server, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        server.send(method, &format!("/v1/sessions/{}{below}", self.id), &all, body)
    }

    /// The same of one that a client sends and whose answer it never reads.
    fn call_and_hang_up(&self, server: &Server, method: &str, below: &str, headers: &str, body: &[u8]) {
        let (id, token, length) = (&self.id, &self.token, body.len());
        let head = format!(
            "{method} /v1/sessions/{id}{below} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\n{headers}\r\n"
        );
        let mut wire = Wire::open(server.address);
        wire.write(head.as_bytes());
        wire.write(body);
    }

    pub fn see(&self, server: &Server) -> Value {
        let answer = self.call(server, "GET", "", &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub fn initialise(&self, server: &Server) -> Answer {
        self.call(server, "POST", "/initialize", &[], b"")
    }

    fn ask(&self, server: &Server, headers: &[(&str, &str)], request: &Value) -> Answer {
        let mut all = vec![JSON];
        all.extend(headers);
        self.call(server, "POST", "/requests", &all, json!({"request": request}).to_string().as_bytes())
    }

    fn put_data(&self, server: &Server, data: &[u8]) -> Answer {
        self.call(server, "PUT", "/data", &[JSON], data)
    }

    /// Stops the session and waits until it has ended.
    pub fn end(&self, server: &Server) {
        self.call(server, "DELETE", "?force=true", &[], b"");
        assert_eq!(self.call(server, "GET", "?wait=60s&until=ENDED", &[], b"").json()["phase"], "ENDED");
    }
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// `POST /v1/sessions`.
pub fn create(server: &Server, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![JSON];
    all.extend(headers);
    server.send("POST", "/v1/sessions", &all, body.to_string().as_bytes())
}

/// What Ada asks for.
fn adas(data: Value) -> Value {
    json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS", "data": data})
}

/// A pending session of Ada's.
fn opened(server: &Server) -> Opened {
    let answer = create(server, &[], &adas(json!({})));
    assert_eq!(answer.status, 201, "{answer:?}");
    Opened::of(&answer)
}

/// A running session of Ada's.
fn running(server: &Server) -> Opened {
    let session = opened(server);
    let answer = session.initialise(server);
    assert_eq!(answer.status, 200, "{answer:?}");
    session
}

/// A problem's status and code.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], answer.status);
    (answer.status, json["code"].as_str().unwrap().to_owned())
}
