//! Which emails are one customer, and that a customer has one live session.

use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{Answer, Server, Setup};

const TWO_PERSONAS: &str = r#"
[personas.CUSTOMERS]
command = ["frontdesk", "agent", "echo"]
[personas.PARTNERS]
command = ["frontdesk", "agent", "echo"]
"#;

#[test]
fn the_embedded_credential_server_trims_folds_and_normalises_emails() {
    let server = Server::start(Setup::default());
    server.add_customer(("Zo\u{eb}@Example.org", "correct horse"));
    let spellings = ["zo\u{eb}@example.org", " ZOE\u{308}@EXAMPLE.ORG\t", "Zoe\u{308}@example.ORG"];

    let first = server.create((spellings[0], "correct horse"), json!({}));
    assert_eq!(first.status, 200);
    for spelling in spellings {
        let again = server.create((spelling, "correct horse"), json!({}));
        assert_eq!(again.pair(), (400, "SESSION_ALREADY_RUNNING".into()), "{spelling:?}");
        assert_eq!(again.session_id(), first.session_id());
        assert_eq!(server.status(spelling), "PENDING", "{spelling:?}");
    }
    assert_eq!(server.create(("zoe@example.org", "correct horse"), json!({})).status, 401);
    assert_eq!(server.initialise(spellings[1]).status, 200);
    assert_eq!(server.relay(spellings[2], &first.token(), &json!(1)).status, 200);
}

#[test]
fn for_a_remote_credential_server_emails_differ_by_any_byte() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let emails = [
        "zo\u{eb}@x",
        "zoe\u{308}@x",
        "ZO\u{cb}@x",
        " zo\u{eb}@x",
        "zo\u{eb}@x ",
        " ",
        "\0",
        "not an email",
        "\u{10ffff}",
    ];

    let created: Vec<_> = emails.iter().map(|email| server.create((email, "good"), json!({}))).collect();

    for (email, first) in emails.iter().zip(&created) {
        assert_eq!(first.pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()), "{email:?}");
        let again = server.create((email, "good"), json!({}));
        assert_eq!((again.status, again.session_id()), (400, first.session_id()), "{email:?}");
        assert_eq!(server.status(email), "PENDING", "{email:?}");
    }
    assert_eq!(server.initialise(emails[1]).status, 200);
    assert_eq!(server.status(emails[0]), "PENDING");
    let asked: Vec<_> = stub.asked().iter().map(|asked| asked["EMAIL"].clone()).collect();
    assert_eq!(asked[..emails.len()], emails.map(|email| json!(email)));
}

#[test]
fn a_customer_has_one_live_session_whatever_its_persona() {
    let server = Server::start(Setup::with_config(TWO_PERSONAS));
    server.add_customer(("ada@x", "correct horse"));
    let create = |persona: &str| {
        let body =
            json!({"EMAIL": "ada@x", "PASSWORD": "correct horse", "PERSONA_TYPE": persona, "DATA": {}}).to_string();
        server.send("POST", "/requestSessionCreation", &[("Content-Type", "application/json")], body.as_bytes())
    };

    let first = create("PARTNERS");
    let second = create("CUSTOMERS");

    assert_eq!((first.status, second.status), (200, 400));
    assert_eq!(second.session_id(), first.session_id());
    assert_eq!(server.status("ada@x"), "IDLE");
}

#[test]
fn of_fifty_identical_creations_at_once_exactly_one_is_accepted() {
    let stub = CredentialStub::start(Behaviour::Decide);
    for (setup, password) in [(Setup::default(), "correct horse"), (stub.setup(""), "good")] {
        let server = Server::start(setup);
        server.add_customer(("ada@x", "correct horse"));
        let ready = std::sync::Barrier::new(50);

        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..50)
                .map(|_| {
                    scope.spawn(|| {
                        ready.wait();
                        server.create(("ada@x", password), json!({"a": 1}))
                    })
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });

        let with = |status| answers.iter().filter(move |answer| answer.status == status);
        assert_eq!((with(200).count(), with(400).count()), (1, 49));
        let session = with(200).next().unwrap().session_id();
        assert!(with(400).all(|answer| answer.message() == "SESSION_ALREADY_RUNNING"));
        assert!(answers.iter().all(|answer| answer.session_id() == session));
    }
    assert_eq!(stub.asked().len(), 50, "asked once for each, duplicates included");
}
