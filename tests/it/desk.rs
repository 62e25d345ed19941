//! What the tests of agents share: a server with misbehaving agents, customers with sessions, and an operator's view.

use std::thread::{self, JoinHandle};

use frontdesk::control::{self, Command, Reply, SessionRow};
use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Server, Setup, repository, try_send, until};

/// A second customer, whose session must not notice what the first one's agent does.
pub const BOB: (&str, &str) = ("bob@example.org", "battery staple");

/// A server with customers and their sessions.
pub struct Desk {
    pub server: Server,
}

/// A session as its customer knows it.
#[derive(Clone)]
pub struct Opened {
    pub email: &'static str,
    pub id: String,
    pub token: String,
}

/// The persona `CUSTOMERS` with tests/it/agents/faulty.py as its agent, and further keys.
pub fn faulty(arguments: &[&str], keys: &str) -> String {
    let script = repository().join("tests/it/agents/faulty.py");
    let mut command = vec!["python3", "-u", script.to_str().unwrap()];
    command.extend(arguments);
    persona("CUSTOMERS", &json!(command).to_string(), keys)
}

/// A persona with this command and further keys.
pub fn persona(name: &str, command: &str, keys: &str) -> String {
    format!("[personas.{name}]\ncommand = {command}\n{keys}\n")
}

impl Desk {
    /// A server with this configuration that knows Ada.
    pub fn new(config: &str) -> Self {
        let server = Server::start(Setup::with_config(config));
        server.add_customer(ADA);
        Self { server }
    }

    /// A pending session of the persona `CUSTOMERS`.
    pub fn request(&self, customer: (&'static str, &str)) -> Opened {
        self.request_as("CUSTOMERS", customer, json!({}))
    }

    /// A pending session of a persona.
    pub fn request_as(&self, persona: &str, (email, password): (&'static str, &str), data: Value) -> Opened {
        let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": data});
        let headers = [("Content-Type", "application/json")];
        let answer = self.server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        Opened { email, id: answer.session_id(), token: answer.token() }
    }

    /// A running session of the persona `CUSTOMERS`.
    pub fn open(&self, customer: (&'static str, &str)) -> Opened {
        let session = self.request(customer);
        assert_eq!(self.server.initialise(session.email).pair(), (200, "SESSION_INITIALIZED".into()));
        session
    }

    /// Asks a session's agent.
    pub fn ask(&self, session: &Opened, request: &Value) -> Answer {
        self.server.relay(session.email, &session.token, request)
    }

    /// Asks a session's agent from another thread.
    pub fn ask_aside(&self, session: &Opened, request: &Value) -> JoinHandle<Answer> {
        let (address, path) = (self.server.address, "/handleSessionRequests");
        let body = json!({"EMAIL": session.email, "REQUEST": request, "TOKEN": session.token}).to_string();
        thread::spawn(move || try_send(address, "PUT", path, &[], body.as_bytes()).unwrap())
    }

    /// Initialises from another thread.
    pub fn initialise_aside(&self, email: &str) -> JoinHandle<Answer> {
        let (address, body) = (self.server.address, json!({"EMAIL": email}).to_string());
        thread::spawn(move || try_send(address, "POST", "/initializeSession", &[], body.as_bytes()).unwrap())
    }

    /// Makes the agent of a session misbehave; its request must fail with the agent.
    pub fn fails_with_its_agent(&self, session: &Opened, fault: &str) {
        let answer = self.ask(session, &json!({"do": fault}));
        assert_eq!(answer.pair(), (502, "AGENT_ERROR".into()), "{fault}");
        assert!(answer.json()["DETAIL"].as_str().unwrap().contains("ended before it answered"), "{answer:?}");
    }

    /// The server's reason for the next loss of an agent.
    pub fn why_lost(&self) -> String {
        self.server.await_log("agent lost")["reason"].as_str().unwrap().to_owned()
    }

    /// Waits until the session's agent answers, and returns its epoch.
    pub fn epoch_when_answering(&self, session: &Opened) -> u32 {
        until("the agent answers", || self.ask(session, &json!("still there?")).status == 200);
        self.row(session).epoch
    }

    /// Stops a session and waits for its end.
    pub fn stop(&self, session: &Opened) {
        assert_eq!(self.server.stop(&session.id, &session.token).status, 202);
        until("the session has ended", || self.row(session).phase == "ENDED");
    }

    /// Waits for a session's end and returns its outcome and the reason.
    pub fn ending(&self, session: &Opened) -> (String, String) {
        until("the session has ended", || self.row(session).phase == "ENDED");
        let row = self.row(session);
        (row.outcome.unwrap(), row.reason.unwrap())
    }

    /// A session as operators see it.
    pub fn row(&self, session: &Opened) -> SessionRow {
        let command =
            Command::ListSessions { email: Some(session.email.to_owned()), ended: true, before: None, most: 100 };
        let Reply::Sessions(rows) = self.operate(&command) else { panic!("no sessions") };
        rows.into_iter().find(|row| row.id.to_string() == session.id).unwrap()
    }

    /// All live sessions as operators see them, each once.
    pub fn rows(&self) -> Vec<SessionRow> {
        let command = Command::ListSessions { email: None, ended: false, before: None, most: 1_000 };
        let Reply::Sessions(rows) = self.operate(&command) else { panic!("no sessions") };
        rows
    }

    /// Kills a session's agent as an operator would.
    pub fn force(&self, session: &Opened) {
        let reply = self.operate(&Command::StopSession { id: session.id.clone(), force: true });
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    }

    fn operate(&self, command: &Command) -> Reply {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(control::send(&self.server.data_dir(), command)).unwrap().unwrap()
    }
}

/// A session's agent answers, and is still the first one.
pub fn goes_on(desk: &Desk, session: &Opened) {
    assert_eq!(response(desk, session, &json!({"say": "hello"})), json!({"say": "hello"}));
    assert_eq!(desk.row(session).epoch, 1);
}

/// What a session's agent answers to a request.
pub fn response(desk: &Desk, session: &Opened, request: &Value) -> Value {
    let answer = desk.ask(session, request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["RESPONSE"].clone()
}
