//! A customer changes the own password.

use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::desk::BOB;
use crate::harness::{ADA, Answer, Server, Setup, until};
use crate::operators::{Operated, problem};

const NEW: &str = "battery staple horse";

#[test]
fn who_knows_the_password_changes_it_and_signs_everybody_else_out() {
    let desk = Operated::new(Setup::default());
    let created = desk.server.create(ADA, json!({}));
    desk.server.initialise(ADA.0);
    let others = [created.token(), desk.server.create(ADA, json!({})).token()];

    let changed = change(&desk.server, ADA.1, NEW, &json!({}));

    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["session"], created.session_id());
    for token in &others {
        assert_eq!(desk.server.relay(ADA.0, token, &json!(1)).status, 401);
    }
    let own = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(desk.server.relay(ADA.0, &own, &json!("there?")).status, 200, "the session goes on");
    assert_eq!(desk.server.create(ADA, json!({})).status, 401, "the old password opens nothing");
    assert_eq!(desk.server.create((ADA.0, NEW), json!({})).session_id(), created.session_id());
    let audited = desk.audited("customer.password_changed");
    assert_eq!(audited.len(), 1);
    assert_eq!((&audited[0]["actor"]["kind"], &audited[0]["customer"]), (&json!("customer"), &json!(ADA.0)));
    assert_eq!(audited[0]["from"], "127.0.0.1");
}

#[test]
fn others_stay_signed_in_if_the_customer_says_so_and_without_a_session_there_is_nobody() {
    let server = server();
    assert_eq!(change(&server, ADA.1, NEW, &json!({})).json(), json!({}));
    let created = server.create((ADA.0, NEW), json!({}));
    server.initialise(ADA.0);
    assert_eq!(change(&server, NEW, ADA.1, &json!({"sign_out_others": false})).json(), json!({}));
    assert_eq!(server.relay(ADA.0, &created.token(), &json!(1)).status, 200);
}

#[test]
fn a_change_needs_the_password_until_now_and_guesses_at_it_are_slowed_and_audited() {
    let desk = Operated::new(Setup::default());
    for email in [ADA.0, "nobody@example.org"] {
        for _ in 0..10 {
            let answer = send(&desk.server, &json!({"email": email, "password": "wrong", "new_password": NEW}));
            assert_eq!(problem(&answer), (401, "invalid_email_or_password".into()));
        }
        let answer = send(&desk.server, &json!({"email": email, "password": ADA.1, "new_password": NEW}));
        assert_eq!(problem(&answer), (429, "too_many_attempts".into()));
        assert_ne!(answer.header("ratelimit"), "");
        assert_eq!(desk.server.create((email, ADA.1), json!({})).status, 429, "they count as those at a creation do");
    }
    // Of more than ten in a second the rest is told as a number.
    until("they are audited", || desk.audited("credentials.refused").len() >= 10);
}

#[test]
fn a_password_that_is_easy_to_guess_is_refused_and_changes_nothing() {
    let server = server();
    for new in ["", "short", "password1234", &"x".repeat(4_097)] {
        assert_eq!(problem(&change(&server, ADA.1, new, &json!({}))), (422, "password_refused".into()));
    }
    for body in [json!({}), json!({"email": "", "password": ADA.1, "new_password": NEW}), json!([])] {
        assert_eq!(problem(&send(&server, &body)), (400, "invalid_request".into()), "{body}");
    }
    assert_eq!(problem(&change(&server, ADA.1, NEW, &json!({"sign_out_others": null}))).0, 400);
    assert_eq!(server.create(ADA, json!({})).status, 200);
}

#[test]
fn a_remote_credential_server_s_passwords_are_changed_there() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let answer = change(&server, "good", NEW, &json!({}));
    assert_eq!(problem(&answer), (409, "password_kept_elsewhere".into()));
    assert!(stub.asked().is_empty(), "nobody was asked");
}

#[test]
fn of_many_changes_at_once_with_one_password_one_is_made() {
    let server = server();
    let passwords: Vec<_> = (0..6).map(|n| format!("{NEW} number {n}")).collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let changes: Vec<_> =
            passwords.iter().map(|new| scope.spawn(|| change(&server, ADA.1, new, &json!({})).status)).collect();
        changes.into_iter().map(|change| change.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    for (new, status) in passwords.iter().zip(&statuses) {
        let is_in_force = server.create((ADA.0, new), json!({})).status != 401;
        assert_eq!(is_in_force, *status == 200, "{new}");
    }
}

#[test]
fn sign_ins_go_on_while_new_passwords_that_are_slow_to_judge_arrive() {
    const CHANGES: usize = 32;
    let server = Server::start(Setup::with_config("[credential]\ncache = \"off\"\nhashing_threads = 1\n"));
    server.add_customer(ADA);
    server.add_customer(BOB);
    // Each of its 26 pieces is judged, and none is good enough to spare the others.
    let slow = "p4$$w0rd".repeat(128);
    let body = json!({"email": BOB.0, "password": BOB.1, "new_password": slow});

    let mut signed_in = 0;
    std::thread::scope(|scope| {
        let changes: Vec<_> = (0..CHANGES).map(|_| scope.spawn(|| send(&server, &body))).collect();
        while !changes.iter().all(|change| change.is_finished()) {
            assert_ne!(server.create(ADA, json!({})).status, 503);
            signed_in += 1;
        }
        for change in changes {
            assert_eq!(problem(&change.join().unwrap()), (422, "password_refused".into()));
        }
    });

    // On the thread of the sign-ins, each would wait for about all passwords that are not judged yet.
    assert!(signed_in > CHANGES / 4, "{signed_in} sign-ins while {CHANGES} passwords were judged");
}

fn server() -> Server {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server
}

fn change(server: &Server, password: &str, new: &str, more: &Value) -> Answer {
    let mut body = json!({"email": ADA.0, "password": password, "new_password": new});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    send(server, &body)
}

fn send(server: &Server, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    server.send("PUT", "/v1/password", &headers, body.to_string().as_bytes())
}
