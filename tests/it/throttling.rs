//! Guessing is slowed; customers with good passwords are not.

use std::time::Duration;

use frontdesk::clock::boot_time;
use frontdesk::principal::Scope;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub, http};
use crate::harness::{ADA, Answer, Server, Setup, until};
use crate::operators::Operated;
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
    let create = |from, password| create_from(&server, from, password);
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
fn other_spellings_of_an_email_are_no_further_guesses_whoever_decides_about_passwords() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let embedded = Server::start(Setup::default());
    embedded.add_customer(ADA);
    let remote = Server::start(stub.setup(""));
    for server in [&embedded, &remote] {
        let spellings = ["ada@example.org", "ADA@example.org", " Ada@Example.org", "ada@example.ORG\t"];
        let statuses = (0..12).map(|n| server.create((spellings[n % spellings.len()], "bad"), json!({})).status);
        let failed = statuses.filter(|status| *status == 401).count();
        assert!((10..12).contains(&failed), "{failed}");
    }
    let asked = &stub.asked()[1]["EMAIL"];
    assert_eq!(asked, "ADA@example.org", "the credential server is asked by the email as it was sent");
}

#[test]
fn a_restart_forgets_no_known_address() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let config = "[throttle]\nper_account = 20\nper_account_and_address = 1000\nper_address = 1000\n";
    let mut server = Server::start(stub.setup(config));
    assert_eq!(create_from(&server, [127, 0, 0, 1], "good"), 200);
    server.terminate();
    server.start_again();
    assert_eq!(create_from(&server, [127, 0, 0, 10], "good"), 400);
    until("the second address is stored", || stored_addresses(&server) == 2);
    server.kill();
    server.start_again();

    for guess in 0..20 {
        assert_eq!(create_from(&server, [127, 0, 2, 1 + guess], "bad"), 401, "{guess}");
    }

    assert_eq!(create_from(&server, [127, 0, 1, 1], "good"), 429);
    for known in [1, 10] {
        assert_eq!(create_from(&server, [127, 0, 0, known], "good"), 400, "{known}");
    }
}

#[test]
fn the_token_of_a_live_session_lets_its_customer_in_while_strangers_guess_behind_the_same_proxy() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup("behind_proxy = true\n"));
    let token = server.create(("ada", "good"), json!({})).token();
    let others = server.create(("bob", "good"), json!({})).token();
    while server.create(("ada", "bad"), json!({})).status == 401 {}
    let with_email = |email: &str, token: &str, password: &str| {
        let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}});
        let authorization = format!("Bearer {token}");
        let headers = [("Content-Type", "application/json"), ("Authorization", &*authorization)];
        let answer = server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes());
        (answer.status, answer.header("ratelimit").to_owned())
    };

    let with = |token: &str, password: &str| with_email("ada", token, password);

    assert_eq!(with_email("Ada", &token, "good").0, 429, "to a remote server that is another customer");
    assert_eq!(with(&others, "good").0, 429, "another customer's token proves nothing");
    assert_eq!(with("fds_nonsense", "good").0, 429);
    let (status, left) = with(&token, "bad");
    assert_eq!((status, left.starts_with("\"proof\";r=9")), (401, true), "{left}");
    for _ in 0..9 {
        assert_eq!(with(&token, "bad").0, 401);
    }
    assert_eq!(with(&token, "good").0, 429, "with ten failures the proof is used up");
}

#[test]
fn a_browser_that_was_signed_in_before_gets_in_while_strangers_guess_from_its_address() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let sign_in = |cookie: &str, headers: &[(&str, &str)], (email, password): (&str, &str)| {
        let headers = [headers, &[("Content-Type", "application/json"), ("Cookie", cookie)]].concat();
        let body = json!({"email": email, "password": password, "persona": "CUSTOMERS"}).to_string();
        server.send("POST", "/v1/sessions", &headers, body.as_bytes())
    };
    let page = [("Sec-Fetch-Site", "same-origin")];
    let program = sign_in("", &[], ADA);
    assert_eq!((program.status, program.header("set-cookie")), (201, ""), "a program gets no cookie");
    let answer = sign_in("", &page, ADA);
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=15552000"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    while server.create((ADA.0, "a guess"), json!({})).status == 401 {}

    assert_eq!(sign_in("", &page, ADA).status, 429);
    assert_eq!(sign_in(cookie, &[("Sec-Fetch-Site", "cross-site")], ADA).status, 429, "another site's page");
    assert_eq!(sign_in(cookie, &page, ADA).status, 409, "the owner has a session");
    while server.create(("bob@example.org", "a guess"), json!({})).status == 401 {}
    assert_eq!(sign_in(cookie, &page, ("bob@example.org", "a guess")).status, 429, "it is bound to its account");
    assert_eq!(sign_in(cookie, &page, (ADA.0, "a guess")).status, 401, "it opens nothing");

    let change = json!({"email": ADA.0, "password": ADA.1, "new_password": "battery staple horse"}).to_string();
    let change = |cookie: &str| {
        let headers = [("Content-Type", "application/json"), ("Cookie", cookie), page[0]];
        server.send("PUT", "/v1/password", &headers, change.as_bytes()).status
    };
    assert_eq!(change(""), 429);
    assert_eq!(change(cookie), 200);
}

#[test]
fn an_operator_signs_in_while_strangers_guess_from_the_same_address() {
    let desk = Operated::new(Setup::with_config("[throttle]\nper_address = 20\n"));
    let sign_in = |token: &str| desk.send("POST", "/v1/console/session", &[], &json!({"token": token})).status;
    while sign_in("fdo_a_guess") == 401 {}
    for n in 0..30 {
        desk.server.create((&format!("customer{n}"), "bad"), json!({}));
    }

    assert_eq!(sign_in(desk.token(Scope::SessionsRead)), 204);
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

/// How many addresses the store has of all accounts.
fn stored_addresses(server: &Server) -> i64 {
    let file = server.data_dir().join("frontdesk.db");
    let store = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    store.query_row("SELECT ifnull(sum(length(addresses)) / 8, 0) FROM known_addresses", [], |row| row.get(0)).unwrap()
}

/// The status of a creation for Ada that comes from this address.
fn create_from(server: &Server, from: [u8; 4], password: &str) -> u16 {
    let body = json!({"EMAIL": "ada", "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}});
    let mut wire = Wire::open_from(from, server.address);
    wire.send("POST", "/requestSessionCreation", "Content-Type: application/json\r\n", body.to_string().as_bytes())
        .status
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
