//! No secret reaches the server's log, whatever its level: every kind of secret is sent to a server that logs all that it
//! and its libraries have to say.

use std::cell::RefCell;

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub, http};
use crate::harness::{ADA, Answer, Server, Setup, percent, until};
use crate::network::curl;
use crate::operators::Operated;

const EVERYTHING: &str = "[log]\nlevel = \"trace\"\n";
const PAGE: (&str, &str) = ("Sec-Fetch-Site", "same-origin");
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn no_password_no_token_and_no_cookie_of_a_call_stands_in_the_log_whatever_its_level() {
    let desk = Operated::new(Setup::with_config(EVERYTHING));
    let mut secrets = Secrets::default();
    for scope in Scope::ALL {
        secrets.add("an operator's token", desk.token(scope));
    }
    secrets.add("a good password", ADA.1);
    passwords(&desk, &mut secrets);
    let token = session(&desk, &mut secrets);
    console(&desk, &mut secrets);
    over_http_2(&desk.server, &token, &mut secrets);

    let told = told(&desk);
    let log = whole_log(desk.server);

    secrets.assert_not_in(&told);
    assert!(log.contains("TRACE") && log.contains("h2::"), "it logs everything");
    secrets.assert_not_in(&log);
}

#[test]
fn no_password_for_a_remote_credential_server_stands_in_the_log_whatever_its_level_and_its_fate() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(EVERYTHING));
    let mut secrets = Secrets::default();
    let repeats = http("500 Quagga nimbus 3", "Quagga nimbus 3");
    let fates =
        [Behaviour::Decide, Behaviour::Close, Behaviour::Bytes(b"Quagga nimbus 2".to_vec()), Behaviour::Bytes(repeats)];
    for (number, behaviour) in fates.into_iter().enumerate() {
        stub.behave(behaviour);
        let password = format!("Quagga nimbus {number}");
        assert_ne!(server.create((ADA.0, &password), json!({})).status, 200);
        assert_eq!(stub.asked().last().unwrap()["PASSWORD"], *password);
        secrets.add("a password", &password);
        secrets.add("a password", &percent(&password));
    }

    let log = whole_log(server);

    assert!(log.contains("TRACE") && log.contains("credential check failed"), "it logs everything");
    secrets.assert_not_in(&log);
}

/// Sends passwords that are wrong, weak, in bodies that make no sense, and in places for something else.
fn passwords(desk: &Operated, secrets: &mut Secrets) {
    let admin = Scope::CustomersWrite;
    let wrong = secrets.add("a wrong password", "Quagga nimbus wrong");
    assert_eq!(desk.server.create((ADA.0, &wrong), json!({})).status, 401);
    let cut = secrets.add("a password in half a body", "Quagga nimbus cut");
    let body = format!(r#"{{"EMAIL": "{}", "PASSWORD": "{cut}""#, ADA.0);
    for headers in [[JSON], [("Content-Type", "application/bytes")]] {
        assert_eq!(desk.server.send("POST", "/requestSessionCreation", &headers, body.as_bytes()).status, 400);
    }
    let weak = secrets.add("a password that is refused", "monkey123monkey");
    let long = secrets.add("a password that is too long", &"Quagga".repeat(200));
    for refused in [&weak, &long] {
        let answer =
            desk.call(admin, "POST", "/v1/customers", &json!({"email": "eve@example.org", "password": refused}));
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    let first = secrets.add("a customer's first password", "Quagga nimbus at dawn");
    let added = desk.call(admin, "POST", "/v1/customers", &json!({"email": "bob@example.org", "password": first}));
    assert_eq!(added.status, 201);
    let reset = secrets.add("a password that was reset", "Quagga nimbus at dusk");
    let path = "/v1/customers/bob@example.org/password";
    assert_eq!(desk.call(admin, "PUT", path, &json!({"password": reset})).status, 204);
    let changed = secrets.add("a password that its customer chose", "Quagga nimbus at noon");
    let change = json!({"email": "bob@example.org", "password": reset, "new_password": changed});
    assert_eq!(desk.send("PUT", "/v1/password", &[PAGE], &change).status, 200);
    let typed = secrets.add("a password of a command", "Quagga nimbus at night");
    let (status, _, errors) = desk.server.run(&["customer", "passwd", "bob@example.org", "--password-stdin"], &typed);
    assert!(status.success(), "{errors}");
}

/// Opens a session, whose token it returns, and uses what belongs to it.
fn session(desk: &Operated, secrets: &mut Secrets) -> String {
    let creation = json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS"});
    let created = desk.send("POST", "/v1/sessions", &[PAGE], &creation);
    assert_eq!(created.status, 201, "{created:?}");
    secrets.add("a device cookie", &value_of_cookie(&created));
    let (token, id) = (created.json()["token"].clone(), created.json()["id"].clone());
    let (token, id) = (secrets.add("a session's token", token.as_str().unwrap()), id.as_str().unwrap().to_owned());
    let bearer = format!("Bearer {token}");
    let path = format!("/v1/sessions/{id}");
    assert_eq!(desk.send("GET", &path, &[("Authorization", &bearer)], &Value::Null).status, 200);
    let cookie = desk.send("POST", &format!("{path}/cookie"), &[PAGE, ("Authorization", &bearer)], &Value::Null);
    let value = secrets.add("the cookie that follows a session", &value_of_cookie(&cookie));
    let headers = [PAGE, ("Cookie", &*format!("frontdesk-session={value}")), ("Accept", "application/json")];
    assert_eq!(desk.send("GET", &format!("{path}/events"), &headers, &Value::Null).status, 200);
    desk.server.initialise(ADA.0);
    let forged = secrets.add("a token that is none", &format!("{}AAAA", &token[..token.len() - 4]));
    let answer = desk.send("GET", &path, &[("Authorization", &format!("Bearer {forged}"))], &Value::Null);
    assert_eq!(answer.status, 401);
    token
}

/// Signs in at the console and makes a token there.
fn console(desk: &Operated, secrets: &mut Secrets) {
    let path = "/v1/console/session";
    let signed_in = desk.send("POST", path, &[PAGE], &json!({"token": desk.token(Scope::Admin)}));
    let value = secrets.add("the console's cookie", &value_of_cookie(&signed_in));
    let cookie = format!("frontdesk-console={value}");
    let made = desk.send(
        "POST",
        "/v1/tokens",
        &[PAGE, ("Cookie", &cookie)],
        &json!({"name": "x", "scopes": ["sessions:read"]}),
    );
    assert_eq!(made.status, 201, "{made:?}");
    let token = secrets.add("a token that was made at the console", made.json()["token"].as_str().unwrap());
    assert_eq!(desk.call_with(&token, "GET", "/v1/sessions", &Value::Null).status, 200);
    assert_eq!(desk.send("DELETE", path, &[PAGE, ("Cookie", &cookie)], &Value::Null).status, 204);
}

fn over_http_2(server: &Server, token: &str, secrets: &mut Secrets) {
    let base = format!("http://{}", server.address);
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let json = ["--header", "Content-Type: application/json", "--data", &body];
    let creation = format!("{base}/requestSessionCreation");
    let again = curl(&[&["--http2-prior-knowledge", &creation][..], &json].concat()).1;
    assert_eq!(again.message(), "SESSION_ALREADY_RUNNING");
    secrets.add("a session's fresh token", &again.token());
    let bearer = format!("Authorization: Bearer {token}");
    let list = format!("{base}/v1/sessions");
    assert_ne!(curl(&["--http2-prior-knowledge", "--header", &bearer, &list]).1.status, 0);
}

/// What operators are told by metrics, by the audit and in lists.
fn told(desk: &Operated) -> String {
    let paths = ["/metrics", "/v1/audit?limit=200", "/v1/tokens", "/v1/customers", "/v1/sessions", "/v1/overview"];
    let answers = paths.map(|path| desk.call(Scope::Admin, "GET", path, &Value::Null));
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 403)), "{answers:?}");
    answers.map(|answer| String::from_utf8(answer.body).unwrap()).concat()
}

/// The value of the one cookie that an answer sets.
fn value_of_cookie(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie").split(';').next().unwrap();
    cookie.split_once('=').unwrap().1.to_owned()
}

/// Ends the server and returns what it has logged to the last line.
fn whole_log(mut server: Server) -> String {
    server.interrupt();
    let log = RefCell::new(Vec::new());
    until("the last line is read", || {
        let mut log = log.borrow_mut();
        log.extend(server.log_lines());
        log.iter().any(|line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("stopped: ")))
    });
    log.into_inner().into_iter().map(|line| format!("{line}\n")).collect()
}

/// What must not be in the log.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) -> String {
        assert!(secret.len() >= 10, "{what} is no text to search for: {secret:?}");
        self.0.push((what, secret.to_owned()));
        secret.to_owned()
    }

    fn assert_not_in(&self, log: &str) {
        for (what, secret) in &self.0 {
            if let Some(line) = log.lines().find(|line| line.contains(secret.as_str())) {
                panic!("{what} is told: {line}");
            }
        }
    }
}
