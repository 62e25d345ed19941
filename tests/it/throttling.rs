//! Guessing is slowed; customers with good passwords are not.

use std::time::Duration;

use frontdesk::clock::boot_time;
use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub, http};
use crate::harness::{ADA, Answer, Server, Setup, until};
use crate::wire::Wire;

#[test]
fn after_ten_failures_an_account_is_429_alike_for_good_and_bad_passwords_and_unknown_accounts() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let unknown = fail_until_refused(&server, "nobody@example.org");
    let bad = fail_until_refused(&server, ADA.0);
    let good = server.create(ADA, json!({}));

    for answer in [&good, &bad, &unknown] {
        assert_eq!(answer.pair(), (429, "TOO_MANY_ATTEMPTS".into()));
        assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
        assert_eq!(answer.body, good.body);
    }
    assert_eq!(server.status(ADA.0), "IDLE");
    assert_eq!(server.create(("other@example.org", "wrong"), json!({})).status, 401);
}

#[test]
fn a_throttled_creation_is_not_checked_and_successes_and_broken_checks_do_not_count() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    for _ in 0..30 {
        assert!(matches!(server.create(("ada", "good"), json!({})).status, 200 | 400));
    }
    stub.behave(Behaviour::Bytes(http("500 Oh", "")));
    for _ in 0..30 {
        assert_eq!(server.create(("ada", "good"), json!({})).status, 500);
    }
    stub.behave(Behaviour::Decide);
    for _ in 0..10 {
        assert_eq!(server.create(("ada", "bad"), json!({})).status, 401);
    }

    let refused = server.create(("ada", "good"), json!({}));

    assert_eq!(refused.status, 429);
    assert_eq!(stub.asked().len(), 70);
}

#[test]
fn hanging_up_before_a_slow_verdict_is_no_failure_with_the_right_password_and_one_with_a_wrong_password() {
    let slow = Duration::from_millis(300);
    let stub = CredentialStub::start(Behaviour::DecideAfter(slow));
    let server = Server::start(stub.setup(""));
    let hang_up = |password: &str| {
        let asked = stub.asked().len();
        let body = json!({"EMAIL": "ada", "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
        let mut wire = Wire::open(server.address);
        let head = "POST /requestSessionCreation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        wire.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        until("it is being checked", || stub.asked().len() == asked + 1);
    };

    (0..10).for_each(|_| hang_up("good"));
    std::thread::sleep(2 * slow);
    // Who closes only the sending half is served to the end: the first of the ten has made the session.
    assert_eq!(server.create(("ada", "good"), json!({})).status, 400, "nobody has failed");
    (0..10).for_each(|_| hang_up("bad"));
    std::thread::sleep(2 * slow);
    assert_eq!(server.create(("ada", "good"), json!({})).status, 429, "hanging up is no way to guess");
    assert_eq!(stub.asked().len(), 21, "each was asked exactly once");
}

#[test]
fn an_address_that_fails_for_many_accounts_is_slowed_for_all() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("[throttle]\nper_address = 20\n"));
    for n in 0..20 {
        assert_eq!(server.create((&format!("customer{n}"), "bad"), json!({})).status, 401);
    }
    assert_eq!(server.create(("somebody else", "good"), json!({})).status, 429);
}

#[test]
fn addresses_that_once_succeeded_for_an_account_are_not_slowed_by_the_guesses_of_others() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let config = "[throttle]\nper_account = 20\nper_account_and_address = 1000\nper_address = 1000\n";
    let server = Server::start(stub.setup(config));
    let create = |from: [u8; 4], password: &str| {
        let body = json!({"EMAIL": "ada", "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}});
        let mut wire = Wire::open_from(from, server.address);
        wire.send("POST", "/requestSessionCreation", "Content-Type: application/json\r\n", body.to_string().as_bytes())
            .status
    };
    assert_eq!(create([127, 0, 0, 1], "good"), 200);

    for guess in 0..20 {
        assert_eq!(create([127, 0, 0, 2 + guess], "bad"), 401, "{guess}");
    }

    assert_eq!(create([127, 0, 1, 1], "good"), 429);
    assert_eq!(create([127, 0, 0, 2], "good"), 429);
    assert_eq!(create([127, 0, 0, 1], "good"), 400);
}

#[test]
fn behind_a_proxy_failures_of_some_slow_nobody_else() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("behind_proxy = true\n[throttle]\nper_address = 20\n"));
    for n in 0..30 {
        assert_eq!(server.create((&format!("customer{n}"), "bad"), json!({})).status, 401);
    }
    assert_eq!(server.create(("somebody else", "good"), json!({})).status, 200);
    for _ in 0..10 {
        assert_eq!(server.create(("ada", "bad"), json!({})).status, 401);
    }
    assert_eq!(server.create(("ada", "good"), json!({})).status, 429);
}

#[test]
fn a_throttle_that_is_off_lets_every_attempt_through() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("[throttle]\nenabled = false\n"));
    for _ in 0..150 {
        assert_eq!(server.create(("ada", "bad"), json!({})).status, 401);
    }
    assert_eq!(server.create(("ada", "good"), json!({})).status, 200);
}

/// Guesses until that is refused: after ten failures, and one more for each that has leaked meanwhile.
fn fail_until_refused(server: &Server, email: &str) -> Answer {
    const BETWEEN_LEAKS: Duration = Duration::from_secs(6);
    let begun = boot_time();
    for failures in 0..100 {
        let answer = server.create((email, "wrong"), json!({}));
        if answer.status != 401 {
            let leaked = boot_time().saturating_since(begun).as_secs() / BETWEEN_LEAKS.as_secs();
            assert!((10..=10 + leaked).contains(&failures), "{failures} failures, {leaked} leaked");
            return answer;
        }
    }
    panic!("nobody was refused");
}
