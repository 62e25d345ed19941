//! The remote credential server: what it is asked, what counts as its answer, and what its failures leave behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub, http};
use crate::harness::{Answer, Server, Setup, until};

#[test]
fn each_well_formed_creation_asks_exactly_once_and_nothing_else_asks() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let email = " Ada\u{e9}+\"\\/&?#%\u{1F600}\0\n@x ";

    let first = server.create((email, "good"), json!({}));
    let second = server.create((email, "good"), json!({}));
    let wrong = server.create((email, "b&d=%"), json!({}));
    server.status(email);
    server.initialise(email);
    server.relay(email, &first.token(), &json!(1));
    server.stop(&first.session_id(), &first.token());

    assert_eq!((first.status, second.status, wrong.status), (200, 400, 401));
    let question = |password: &str| json!({"EMAIL": email, "PASSWORD": password, "TYPE": "CUSTOMERS"});
    assert_eq!(stub.asked(), [question("good"), question("good"), question("b&d=%")]);
    assert!(stub.targets().iter().all(|target| target.is_ascii() && target.matches(['?', '&', '#']).count() == 1));
}

#[test]
fn customers_that_are_managed_beside_it_are_said_to_have_no_effect_on_sign_ins() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let mut server = Server::start(stub.setup(""));
    let manage = |server: &Server, command: &[&str], password: &str| {
        let (status, said, errors) = server.run(command, password);
        assert!(status.success(), "{errors}");
        said
    };
    let passwd = ["customer", "passwd", "ada@example.org", "--password-stdin"];
    let no_effect = "; this has no effect on sign-ins while the service mapping names a CREDENTIAL_SERVER";

    let added = manage(&server, &["customer", "add", "ada@example.org", "--password-stdin"], "correct horse");
    let changed = manage(&server, &passwd, "zither marmalade");
    let disabled = manage(&server, &["customer", "disable", "ada@example.org"], "");
    assert!(server.terminate().success());
    let without_server = manage(&server, &passwd, "marmalade zither");
    std::fs::remove_file(server.path("ServiceURLMapping.json")).unwrap();
    let embedded = manage(&server, &passwd, "zither marmalade");

    for said in [added, changed, disabled, without_server] {
        assert!(said.contains(no_effect), "{said}");
    }
    assert_eq!(embedded, "changed the password of ada@example.org\n");
}

#[test]
fn only_registered_with_status_200_is_a_yes_and_everything_else_is_no_or_a_failure() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("[credential]\ntimeout = \"2s\"\n"));
    let yes = r#"{"MESSAGE":"REGISTERED"}"#;
    let huge = format!(r#"{{"MESSAGE":"REGISTERED","MORE":"{}"}}"#, "x".repeat(64 << 10));
    let large = format!(r#"{{"MESSAGE":"REGISTERED","MORE":"{}"}}"#, "x".repeat(60 << 10));
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: /check_node\r\nContent-Length: {}\r\n\r\n{yes}", yes.len());
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{yes}");
    let cases: Vec<(Behaviour, u16)> = vec![
        (Behaviour::Bytes(http("200 OK", yes)), 200),
        (Behaviour::Bytes(http("200 OK", &large)), 200),
        (Behaviour::Bytes(format!("HTTP/1.1 200 OK\r\n\r\n{yes}").into_bytes()), 200),
        (Behaviour::Bytes(http("200 OK", r#"{"MESSAGE":"NOT_REGISTERED"}"#)), 401),
        (Behaviour::Bytes(http("200 OK", r#"{"MESSAGE":"registered"}"#)), 401),
        (Behaviour::Bytes(http("200 OK", r#"{"MESSAGE":""}"#)), 401),
        (Behaviour::Bytes(http("200 OK", r#"{"MESSAGE":1}"#)), 500),
        (Behaviour::Bytes(http("200 OK", r#"{}"#)), 500),
        (Behaviour::Bytes(http("200 OK", r#"["REGISTERED"]"#)), 500),
        (Behaviour::Bytes(http("200 OK", "REGISTERED")), 500),
        (Behaviour::Bytes(http("200 OK", "")), 500),
        (Behaviour::Bytes(http("200 OK", &huge)), 500),
        (Behaviour::Bytes(http("201 Created", yes)), 500),
        (Behaviour::Bytes(http("401 Unauthorized", yes)), 500),
        (Behaviour::Bytes(http("500 Internal Server Error", yes)), 500),
        (Behaviour::Bytes(redirect.into_bytes()), 500),
        (Behaviour::Bytes(cut.into_bytes()), 500),
        (Behaviour::Bytes(b"garbage\r\n\r\n".to_vec()), 500),
        (Behaviour::Bytes(vec![0xff; 1 << 20]), 500),
        (Behaviour::Close, 500),
        (Behaviour::Silence, 500),
        (Behaviour::Drip, 500),
    ];

    for (n, (behaviour, status)) in cases.into_iter().enumerate() {
        stub.behave(behaviour);
        let email = format!("customer{n}");
        let answer = server.create((&email, "good"), json!({}));
        assert_eq!(answer.status, status, "case {n}: {answer:?}");
        if status == 500 {
            assert_eq!(answer.message(), "SESSION_CREATION_FAILED");
            assert_eq!(server.status(&email), "IDLE", "case {n}");
        }
    }
    stub.behave(Behaviour::Decide);
    assert_eq!(server.create(("another", "good"), json!({})).status, 200);
}

#[test]
fn a_credential_server_that_is_away_leaves_nothing_behind_and_others_unaffected() {
    let mapping = r#"{"CREDENTIAL_SERVER": "127.0.0.1:1"}"#.to_owned();
    let server = Server::start(Setup { mapping: Some(mapping), ..Setup::default() });
    for _ in 0..30 {
        let answer = server.create(("ada", "good"), json!({}));
        assert_eq!(answer.pair(), (500, "SESSION_CREATION_FAILED".into()));
    }
    assert_eq!(server.status("ada"), "IDLE");
    assert_eq!(server.initialise("ada").pair(), (404, "NO_SESSION_PENDING".into()));
}

#[test]
fn a_slow_check_keeps_nobody_else_waiting() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("[credential]\ntimeout = \"8s\"\n"));
    let created = server.create(("ada", "good"), json!({}));
    stub.behave(Behaviour::Silence);
    let answered = AtomicUsize::new(0);

    std::thread::scope(|scope| {
        for n in 0..50 {
            let (server, answered) = (&server, &answered);
            scope.spawn(move || {
                let answer = server.create((&format!("waits{n}"), "good"), json!({}));
                answered.fetch_add(1, Ordering::SeqCst);
                assert_eq!(answer.pair(), (500, "SESSION_CREATION_FAILED".into()));
            });
        }
        until("all are being checked", || stub.asked().len() == 51);
        stub.behave(Behaviour::Decide);
        assert_eq!(server.create(("bob", "good"), json!({})).status, 200);
        assert_eq!(server.status("ada"), "PENDING");
        assert_eq!(server.initialise("ada").status, 200);
        assert_eq!(server.relay("ada", &created.token(), &json!(1)).status, 200);
        assert_eq!(answered.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn many_creations_of_one_customer_fail_for_a_slow_server_and_none_for_being_many() {
    let stub = CredentialStub::start(Behaviour::Silence);
    let server = Server::start(stub.setup("[credential]\ntimeout = \"2s\"\n"));

    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(|| server.create(("ada", "good"), json!({})))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });

    for answer in answers {
        match answer.status {
            500 => assert_eq!(answer.message(), "SESSION_CREATION_FAILED"),
            // Its turn to be checked did not come.
            _ => assert_eq!((answer.pair(), answer.header("retry-after")), ((503, "SERVER_BUSY".into()), "1")),
        }
    }
    assert_eq!(server.status("ada"), "IDLE");
}

#[test]
fn two_hundred_checks_run_at_once() {
    let stub = CredentialStub::start(Behaviour::DecideAfter(Duration::from_secs(2)));
    let server = Server::start(stub.setup("[throttle]\nenabled = false\n"));

    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let server = &server;
        let calls: Vec<_> = (0..200)
            .map(|n| scope.spawn(move || server.create((&format!("customer{n}"), "good"), json!({}))))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });

    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(stub.most_at_once(), 200);
}

#[test]
fn a_url_that_is_too_long_is_413_and_never_sent() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let fits = "x".repeat(65_000);
    let too_long = "x".repeat(65_500);
    let too_long_once_encoded = "\u{e9}".repeat(15_000);

    assert_eq!(server.create((&fits, "good"), json!({})).status, 200);
    for email in [&too_long, &too_long_once_encoded] {
        assert_eq!(server.create((email, "good"), json!({})).pair(), (413, "REQUEST_TOO_LARGE".into()));
    }
    assert_eq!(server.create((&"x".repeat(65_537), "good"), json!({})).pair(), (400, "INVALID_REQUEST".into()));
    assert_eq!(stub.asked().len(), 1);
}

#[test]
fn a_good_edit_of_the_mapping_is_in_force_and_a_broken_one_changes_nothing() {
    let (yes, no) = (r#"{"MESSAGE":"REGISTERED"}"#, r#"{"MESSAGE":"NO"}"#);
    let first = CredentialStub::start(Behaviour::Bytes(http("200 OK", no)));
    let second = CredentialStub::start(Behaviour::Bytes(http("200 OK", yes)));
    let server = Server::start(first.setup("[throttle]\nenabled = false\n"));
    let path = server.path("ServiceURLMapping.json");
    assert_eq!(server.create(("ada", "any"), json!({})).status, 401);

    std::fs::write(&path, "{\"CREDENTIAL_SERVER\": ").unwrap();
    server.await_log("service mapping not taken; the last good one stays in force");
    assert_eq!(server.create(("ada", "any"), json!({})).status, 401);
    std::fs::write(&path, second.mapping()).unwrap();
    server.await_log("service mapping in force");
    assert_eq!(server.create(("ada", "any"), json!({})).status, 200);
    std::fs::write(&path, "{}").unwrap();
    server.await_log("service mapping in force");
    assert_eq!(server.create(("bob", "any"), json!({})).status, 401, "the embedded one knows nobody");
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
}

#[test]
fn no_password_and_no_token_is_ever_in_the_log() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let mut setup = stub.setup("[credential]\ntimeout = \"2s\"\n");
    setup.environment.push(("FRONTDESK_LOG__LEVEL".into(), "trace".into()));
    let mut server = Server::start(setup);
    let mut secrets = vec!["hunter2".to_owned(), "hunter%202".to_owned(), "hunter 2".to_owned()];
    let created = server.create(("ada", "good"), json!({}));
    for _ in 0..2 {
        secrets.push(server.create(("ada", "good"), json!({})).token());
    }
    secrets.push(created.token());
    for behaviour in [Behaviour::Decide, Behaviour::Close, Behaviour::Silence, Behaviour::Bytes(b"hunter2".to_vec())] {
        stub.behave(behaviour);
        server.create(("ada", "hunter2"), json!({}));
        server.create(("ada", "hunter 2"), json!({}));
    }
    server.create((&"x".repeat(65_400), "hunter2"), json!({}));
    server.send(
        "POST",
        "/requestSessionCreation",
        &[("Content-Type", "application/json")],
        b"{\"PASSWORD\":\"hunter2\"",
    );
    server.initialise("ada");
    server.relay("ada", &created.token(), &json!(1));
    server.stop(&created.session_id(), &created.token());

    server.terminate();

    let log = Value::Array(server.log_lines()).to_string();
    assert!(log.contains("hyper") || log.contains("credential check failed"));
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
        let hidden = secret.strip_prefix("fds_").unwrap_or(&secret);
        assert!(!log.contains(hidden), "{secret}");
    }
}
