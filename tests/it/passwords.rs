//! Which passwords may be chosen, and that those which are there are checked to the byte.

use frontdesk::credential::hashing::Hashing;
use rusqlite::Connection;
use serde_json::json;

use crate::harness::{ADA, Server, Setup};

#[test]
fn a_password_that_is_easy_to_guess_is_refused_in_one_sentence_that_says_what_to_do() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    for (password, sentence) in [
        ("", "the password has fewer than 8 characters; take a longer one"),
        ("kzq7vwx", "the password has fewer than 8 characters; take a longer one"),
        (&"kzq7vwxa".repeat(129), "the password has more than 1024 bytes; take a shorter one"),
        (
            "Password1",
            "the password is among the first million that are guessed; take several words that do not belong together",
        ),
        ("ada@example.org", "the password is little more than the email or a word of this server; take several others"),
        ("Frontdesk2026", "the password is little more than the email or a word of this server; take several others"),
    ] {
        for command in ["add", "passwd"] {
            let (status, said, errors) = server.run(&["customer", command, ADA.0, "--password-stdin"], password);
            assert!(!status.success() && said.is_empty(), "{command} {password:?}");
            assert_eq!(errors, format!("error: {sentence}\n"), "{command} {password:?}");
        }
    }
    assert_eq!(server.create(ADA, json!({})).status, 200, "the old one is still the password");
}

#[test]
fn the_rule_holds_without_a_server_too() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    let (status, _, errors) = server.run(&["customer", "add", ADA.0, "--password-stdin"], "12345678");
    assert!(!status.success() && errors.contains("first million"), "{errors}");
}

#[tokio::test]
async fn a_password_that_was_chosen_before_the_rule_stays_good() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    assert!(server.terminate().success());
    let hash = Hashing::start(1, 1).unwrap().hash("good".into()).await.unwrap();
    let database = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    assert_eq!(database.execute("UPDATE customers SET password_hash = ?1 WHERE key = ?2", [&*hash, ADA.0]).unwrap(), 1);
    drop(database);

    server.start_again();

    assert_eq!(server.create(ADA, json!({})).status, 401);
    assert_eq!(server.create((ADA.0, "good"), json!({})).status, 200);
}

#[test]
fn a_password_is_checked_to_the_last_byte_and_nothing_of_it_is_changed() {
    let server = Server::start(Setup::default());
    let long = "a sentence that nobody else would come up with, ".repeat(22)[..1_024].to_owned();
    let spaced = " Zither\tMarm\u{e9}lade ";
    server.add_customer((ADA.0, &long));
    server.add_customer(("bob@example.org", spaced));

    let mut other = long.clone();
    other.replace_range(1_023.., "!");
    for wrong in [&long[..1_023], &other, &long.to_uppercase()] {
        assert_eq!(server.create((ADA.0, wrong), json!({})).status, 401);
    }
    assert_eq!(server.create((ADA.0, &long), json!({})).status, 200);
    for wrong in [spaced.trim(), &spaced.to_lowercase(), " Zither\tMarme\u{301}lade ", " Zither Marm\u{e9}lade "] {
        assert_eq!(server.create(("bob@example.org", wrong), json!({})).status, 401, "{wrong:?}");
    }
    assert_eq!(server.create(("bob@example.org", spaced), json!({})).status, 200);
}
