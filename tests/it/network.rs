//! The network as clients and proxies meet it: HTTP/2, forwarded addresses, limits, readiness, the end.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::desk::{Desk, Opened, faulty};
use crate::harness::{ADA, Answer, Server, Setup, read_answer, signal, try_send, until};
use crate::wire::Wire;

mod http2;
mod http2_heads;
mod tls;

#[test]
fn a_server_that_others_could_listen_to_does_not_start_and_says_the_three_cures() {
    let server = Server::start(Setup::default());
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let arguments = ["serve", "--listen", listen, "--data-dir", "other"];
        let (status, _, errors) = server.run(&arguments, "");
        assert_eq!(status.code(), Some(2));
        for cure in ["`tls.certificate` and `tls.key`", "`behind_proxy = true`", "`plain_http = true`"] {
            assert!(errors.contains(cure), "{errors}");
        }
    }
    assert!(!server.path("other").exists());
}

#[test]
fn above_the_limit_of_all_connections_clients_wait_for_one_that_ends() {
    let server = Server::start(Setup::with_config("[limits]\nconnections = 1\n"));
    let mut first = Wire::open(server.address);
    assert_eq!(first.send("GET", "/livez", "", b"").status, 200);
    let mut second = Wire::open(server.address);
    second.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(first.send("GET", "/livez", "", b"").status, 200);

    drop(first);

    assert_eq!(second.answer().status, 200);
}

#[test]
fn whoever_is_on_this_machine_may_have_any_number_of_connections() {
    let server = Server::start(Setup::with_config("[limits]\nconnections_per_address = 1\n"));
    let mut wires: Vec<_> = (0..3).map(|_| Wire::open(server.address)).collect();
    for wire in &mut wires {
        assert_eq!(wire.send("GET", "/livez", "", b"").status, 200);
    }
}

#[test]
fn what_a_trusted_proxy_says_of_its_clients_counts_and_what_others_say_does_not() {
    const PROXY: [u8; 4] = [127, 0, 0, 2];
    const STRANGER: [u8; 4] = [127, 0, 0, 3];
    let stub = CredentialStub::start(Behaviour::Decide);
    let config = "trusted_proxies = [\"127.0.0.2\"]\n[throttle]\nper_account_and_address = 2\n";
    let server = Server::start(stub.setup(config));
    let guess = |from, headers: &str| {
        let body = json!({"EMAIL": "ada", "PASSWORD": "bad", "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
        let headers = format!("Content-Type: application/json\r\n{headers}");
        let answer =
            Wire::open_from(from, server.address).send("POST", "/requestSessionCreation", &headers, body.as_bytes());
        let peer = (answer.status == 401).then(|| server.await_log("credentials refused")["peer"].clone());
        (answer.status, peer.map_or(String::new(), |peer| peer.as_str().unwrap().to_owned()))
    };

    // The proxy's word: each of its clients is one by itself.
    for client in ["192.0.2.1", "192.0.2.2"] {
        for header in [format!("Forwarded: for={client};proto=https\r\n"), format!("X-Forwarded-For: {client}\r\n")] {
            assert_eq!(guess(PROXY, &header), (401, client.to_owned()));
        }
        assert_eq!(guess(PROXY, &format!("X-Forwarded-For: 198.51.100.9, {client}\r\n")).0, 429);
    }
    // A stranger's: one address, whatever it says.
    for client in ["192.0.2.3", "192.0.2.4"] {
        assert_eq!(guess(STRANGER, &format!("X-Forwarded-For: {client}\r\n")), (401, "127.0.0.3".to_owned()));
    }
    assert_eq!(guess(STRANGER, "X-Forwarded-For: 192.0.2.5\r\n").0, 429);
}

#[test]
fn what_is_left_of_the_attempts_stands_in_every_answer_to_a_sign_in() {
    let server = Server::start(Setup::with_config("[throttle]\nper_account_and_address = 2\n"));
    server.add_customer(ADA);
    let left = |customer| {
        let answer = server.create(customer, json!({}));
        assert_eq!(answer.header("ratelimit-policy"), r#""account";q=2;w=60, "address";q=100;w=60"#);
        let left = answer.header("ratelimit").split(";t=").next().unwrap().to_owned();
        (answer.status, left)
    };
    assert_eq!(left((ADA.0, "wrong")), (401, r#""account";r=1"#.into()));
    assert_eq!(left(ADA), (200, r#""account";r=1"#.into()));
    // Of somebody who does not exist, the same is said.
    assert_eq!(left(("nobody@example.org", "wrong")), (401, r#""account";r=1"#.into()));
    assert_eq!(left(("nobody@example.org", "wrong")), (401, r#""account";r=0"#.into()));
    assert_eq!(left(("nobody@example.org", "wrong")), (429, r#""account";r=0"#.into()));
}

#[test]
fn a_server_that_is_there_and_ready_says_so() {
    let server = Server::start(Setup::default());
    let checks = ["serving", "store", "events", "records"].map(|name| json!({"name": name, "ok": true}));
    for (path, health) in
        [("/livez", json!({"status": "alive"})), ("/readyz", json!({"status": "ready", "checks": checks}))]
    {
        let answer = server.send("GET", path, &[], b"");
        assert_eq!((answer.status, answer.json()), (200, health));
        assert_eq!(server.send("POST", path, &[], b"").status, 405);
    }
}

#[test]
fn a_server_that_is_told_to_stop_is_not_ready_before_it_takes_nothing_new() {
    let mut server = Server::start(Setup::with_config("[shutdown]\nreadiness_delay = \"3s\"\n"));
    server.add_customer(ADA);
    let mut open = Wire::open(server.address);
    assert_eq!(open.send("GET", "/readyz", "", b"").status, 200);

    signal(server.pid(), rustix::process::Signal::TERM);

    until("it says that it is not ready", || server.send("GET", "/readyz", &[], b"").status == 503);
    let answer = open.send("GET", "/readyz", "", b"");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["code"], "not_ready");
    let checks = json!([
        {"name": "serving", "ok": false, "reason": "the server is shutting down"},
        {"name": "store", "ok": true},
        {"name": "events", "ok": true},
        {"name": "records", "ok": true},
    ]);
    assert_eq!(answer.json()["checks"], checks);
    assert_eq!(open.send("GET", "/livez", "", b"").status, 200);
    assert_eq!(server.create(ADA, json!({})).status, 200);
    assert_eq!(open.rest(), b"");
    assert!(try_send(server.address, "GET", "/livez", &[], b"").is_err());
    assert!(server.wait().success());
}

/// What curl got: the version of HTTP that was spoken, and the answer.
pub(crate) fn curl(arguments: &[&str]) -> (String, Answer) {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "60", "--write-out", "\n%{http_version}"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout).unwrap();
    let (text, version) = text.rsplit_once('\n').unwrap();
    if version == "0" {
        return (errors, Answer { status: 0, headers: HashMap::new(), body: Vec::new() });
    }
    (version.to_owned(), read_answer(&mut text.as_bytes()).unwrap())
}

/// What a client needs to send a request to a session's agent.
fn relayed(session: &Opened, request: &serde_json::Value) -> String {
    json!({"EMAIL": session.email, "TOKEN": session.token, "REQUEST": request}).to_string()
}

/// A server whose agents misbehave, with a running session.
fn with_a_session() -> (Desk, Opened) {
    let desk = Desk::new(&faulty(&["on-request"], ""));
    let session = desk.open(ADA);
    (desk, session)
}

/// Longer than anything that is asked here takes.
const LONG: Duration = Duration::from_secs(60);
