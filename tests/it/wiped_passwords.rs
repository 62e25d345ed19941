//! No password stays in the server's memory when the connection that brought it has closed: the memory of the real process
//! is searched.
//!
//! That takes the right to look into another process, as root has it; without it the tests are skipped. What they do not
//! show: the memory of the kernel, and what stood on a stack for a moment and is overwritten by now.

use frontdesk::principal::Scope;
use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub, http};
use crate::harness::{ADA, Server, Setup};
use crate::memory::{assert_gone, occurrences};
use crate::operators::Operated;
use crate::wire::Wire;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const EVE: &str = "eve@example.org";

#[test]
fn what_customers_send_to_sign_in_leaves_no_password_behind() {
    let Some(server) = searchable(Setup::default()) else { return };
    let send = |path, headers: &[(&str, &str)], body: &[u8]| server.send("POST", path, headers, body).status;
    let seed = |password: &str| json!({"EMAIL": EVE, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}});
    let v1 = |password: &str| json!({"email": EVE, "password": password, "persona": "CUSTOMERS"});

    let password = "Quagga-nimbus-1";
    assert_eq!(send("/requestSessionCreation", &[JSON], seed(password).to_string().as_bytes()), 401);
    assert_gone(server.pid(), "JSON", password);

    let password = "Quagga-nimbus-2";
    // Larger than any buffer of a connection: put together from several parts.
    let body =
        json!({"DATA": {"x": "x".repeat(300 << 10)}, "EMAIL": EVE, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS"});
    assert_eq!(send("/requestSessionCreation", &[JSON], body.to_string().as_bytes()), 401);
    assert_gone(server.pid(), "JSON in parts", password);

    let password = "Quagga-nimbus-3";
    let escaped = seed(password).to_string().replace("Quagga", "\\u0051uagga");
    assert_eq!(send("/requestSessionCreation", &[JSON], escaped.as_bytes()), 401);
    assert_gone(server.pid(), "JSON with an escape", password);

    let password = "Quagga-nimbus-4";
    assert_eq!(send("/requestSessionCreation", &[("Content-Type", "application/bytes")], &pickle(password)), 401);
    assert_gone(server.pid(), "a pickle", password);

    let password = "Quagga-nimbus-5";
    let body = seed(password).to_string();
    assert_eq!(send("/requestSessionCreation", &[JSON], &body.as_bytes()[..body.len() - 1]), 400);
    assert_gone(server.pid(), "JSON that is cut off", password);

    let password = "Quagga-nimbus-6";
    assert_eq!(send("/v1/sessions", &[JSON], v1(password).to_string().as_bytes()), 401);
    assert_gone(server.pid(), "a session of /v1", password);

    assert_eq!(server.create(ADA, json!({})).status, 200);
    assert_gone(server.pid(), "a password that is good", ADA.1);
}

#[test]
fn the_change_of_a_password_leaves_neither_the_old_nor_the_new_one_behind() {
    let Some(server) = searchable(Setup::default()) else { return };
    let new = "Quagga nimbus at noon";
    let body = json!({"email": ADA.0, "password": ADA.1, "new_password": new}).to_string();
    assert_eq!(server.send("PUT", "/v1/password", &[JSON], body.as_bytes()).status, 200);
    assert_gone(server.pid(), "the old one", ADA.1);
    assert_gone(server.pid(), "the new one", new);
}

#[test]
fn what_operators_send_leaves_no_password_behind() {
    if searchable(Setup::default()).is_none() {
        return;
    }
    let desk = Operated::new(Setup::default());
    let (first, second, third) = ("Quagga nimbus at dawn", "Quagga nimbus at dusk", "Quagga nimbus at night");
    let added = desk.call(Scope::CustomersWrite, "POST", "/v1/customers", &json!({"email": EVE, "password": first}));
    assert_eq!(added.status, 201);
    let path = format!("/v1/customers/{EVE}/password");
    assert_eq!(desk.call(Scope::CustomersWrite, "PUT", &path, &json!({"password": second})).status, 204);
    let (status, _, errors) = desk.server.run(&["customer", "passwd", EVE, "--password-stdin"], third);
    assert!(status.success(), "{errors}");
    for (what, password) in [("a customer", first), ("a reset", second), ("a command", third), ("another", ADA.1)] {
        assert_gone(desk.server.pid(), what, password);
    }
}

#[test]
fn the_question_to_a_remote_credential_server_leaves_no_password_behind_once_its_connection_has_closed() {
    let yes = http("200 OK\r\nConnection: close", r#"{"MESSAGE": "REGISTERED"}"#);
    let Some(server) = searchable(Setup::default()) else { return };
    drop(server);
    let stub = CredentialStub::start(Behaviour::Bytes(yes));
    let server = Server::start(stub.setup(""));
    let password = "Quagga-nimbus-7";
    assert_eq!(server.create((EVE, password), json!({})).status, 200);
    assert_eq!(stub.asked().last().unwrap()["PASSWORD"], password);
    assert_gone(server.pid(), "the address that was asked", password);
}

#[test]
fn a_connection_that_stays_open_keeps_no_password_of_an_earlier_request() {
    let Some(server) = searchable(Setup::default()) else { return };
    let mut wire = Wire::open(server.address);
    for number in 0..3 {
        let password = format!("Quagga-nimbus-open-{number}");
        let body = json!({"EMAIL": EVE, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
        let headers = "Content-Type: application/json\r\n";
        assert_eq!(wire.send("POST", "/requestSessionCreation", headers, body.as_bytes()).status, 401);
        assert_gone(server.pid(), "an earlier request", &password);
    }
}

/// A server that knows Ada, if its memory can be searched.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn searchable(setup: Setup) -> Option<Server> {
    let server = Server::start(setup);
    server.add_customer(ADA);
    // The server knows its customers by their emails: the search finds what is there.
    match occurrences(server.pid(), ADA.0) {
        Some(found) => assert!(found > 0, "the search finds nothing"),
        None => {
            println!("skipped: this user may not look into another process");
            return None;
        }
    }
    Some(server)
}

/// A creation as Python's protocol 2 writes it.
fn pickle(password: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        [b"X", &length[..], text.as_bytes()].concat()
    };
    let pairs = [("EMAIL", EVE), ("PASSWORD", password), ("PERSONA_TYPE", "CUSTOMERS")];
    let mut pickle = b"\x80\x02}(".to_vec();
    for (key, value) in pairs {
        pickle.extend(text(key));
        pickle.extend(text(value));
    }
    pickle.extend(text("DATA"));
    pickle.extend(b"}u.");
    pickle
}
