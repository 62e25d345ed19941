//! `frontdesk token` and `frontdesk audit`, with a running server and without one.

use serde_json::{Value, json};

use super::Desk;
use crate::harness::ADA;

#[test]
fn a_token_is_printed_alone_listed_without_its_secret_and_revoked_by_name() {
    let mut desk = Desk::start();
    for (is_served, name) in [(true, "deploys"), (false, "night shift")] {
        if !is_served {
            assert!(desk.server.terminate().success());
        }
        let scopes = ["--scope", "sessions:write", "--scope", "sessions:read"];
        let (code, token, told) = desk.run(&[&["token", "create", name][..], &scopes].concat(), "");
        assert_eq!(code, 0, "{told}");
        assert!(token.starts_with("fdo_") && token.trim_end().len() > 80 && token.lines().count() == 1, "{token}");
        assert!(
            told.contains("allows sessions:read sessions:write, valid until 2") && !told.contains("fdo_"),
            "{told}"
        );

        let (code, _, refused) = desk.run(&["token", "create", name, "--scope", "admin"], "");
        assert_eq!(code, 1);
        assert!(refused.contains(&format!("a token {name} exists already; revoke it first")), "{refused}");

        let row = tokens(&desk).into_iter().find(|row| row["name"] == name).unwrap();
        assert_eq!((&row["scopes"], &row["state"]), (&json!(["sessions:read", "sessions:write"]), &json!("valid")));
        assert!(row["expires"].is_string());

        for said in [format!("revoked token {name}\n"), format!("token {name} was revoked before\n")] {
            assert_eq!(desk.run(&["token", "revoke", name], "").1, said);
        }
        let (_, made_again, _) = desk.run(&["token", "create", name, "--scope", "admin", "--never-expires"], "");
        assert_ne!(made_again, token);
        let (code, table, _) = desk.run(&["token", "list"], "");
        assert_eq!(code, 0);
        let of_name: Vec<_> = table.lines().filter(|line| line.starts_with(name)).collect();
        assert!(
            of_name[0].contains("revoked") && of_name[1].contains("never") && of_name[1].contains("valid"),
            "{table}"
        );
        assert!(!table.contains("fdo_"));
        let id = tokens(&desk).last().unwrap()["id"].as_str().unwrap().to_owned();
        assert_eq!(desk.run(&["token", "revoke", &id], "").1, format!("revoked token {name}\n"));
    }
}

#[test]
fn a_token_that_makes_no_sense_is_refused_with_what_does() {
    let desk = Desk::start();
    for (arguments, code, said) in [
        (&["create", "x", "--scope", "everything"][..], 2, "the scopes are sessions:read, sessions:write"),
        (&["create", "x"], 2, "--scope"),
        (&["create", "x", "--scope", "admin", "--expires", "1s"], 2, "give a time from 1m to 36500d"),
        (&["create", "x", "--scope", "admin", "--expires", "1d", "--never-expires"], 2, "cannot be used with"),
        (&["create", " x", "--scope", "admin"], 1, "a token's name has 1 to 100 characters"),
        (&["revoke", "nobody"], 1, "there is no token nobody; `frontdesk token list` shows them"),
    ] {
        let (found, output, errors) = desk.run(&[&["token"], arguments].concat(), "");
        assert!(found == code && output.is_empty() && errors.contains(said), "{arguments:?}: {found} {errors}");
    }
    assert_eq!(tokens(&desk), [Value::Null; 0]);
}

#[test]
fn what_commands_change_is_in_the_audit_with_or_without_a_server() {
    let mut desk = Desk::start();
    let change = |desk: &Desk, arguments: &[&str], input: &str| {
        let (code, _, errors) = desk.run(arguments, input);
        assert_eq!(code, 0, "{arguments:?}: {errors}");
    };
    let (name, password) = ADA;
    change(&desk, &["customer", "add", name, "--password-stdin"], password);
    let id = desk.server.create(ADA, json!({})).session_id();
    change(&desk, &["session", "stop", &id], "");
    change(&desk, &["session", "stop", &id], "");
    change(&desk, &["token", "create", "deploys", "--scope", "admin"], "");
    change(&desk, &["stop"], "");
    let _ = desk.server.wait();
    change(&desk, &["token", "revoke", "deploys"], "");
    change(&desk, &["customer", "passwd", name, "--password-stdin"], "another password");
    change(&desk, &["customer", "remove", name], "");

    let entries = audit(&desk, &[]);
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "customer.removed",
            "customer.password_changed",
            "token.revoked",
            "server.stopped",
            "token.made",
            "session.stopped",
            "session.created",
            "customer.added",
        ]
    );
    for entry in &entries {
        let is_creation = entry["action"] == "session.created";
        assert_eq!(entry["actor"], if is_creation { "customer" } else { "command-line" });
        assert_eq!(entry["from"], if is_creation { json!("127.0.0.1") } else { Value::Null });
    }
    assert!(entries.iter().all(|entry| !entry.to_string().contains("fdo_") && !entry.to_string().contains(password)));

    let of_session = audit(&desk, &["--session", &id]);
    assert_eq!(of_session, entries[5..7]);
    assert_eq!(audit(&desk, &["--customer", "ADA@example.org"]).len(), 5);
    assert_eq!(audit(&desk, &["--action", "token.made"]), entries[4..5]);
    assert_eq!(audit(&desk, &["--limit", "2"]), entries[..2]);
    let (_, table, _) = desk.run(&["audit", "--limit", "3"], "");
    assert!(table.starts_with("TIME ") && table.lines().count() == 4 && table.contains("deploys ("), "{table}");
    let (code, _, refused) = desk.run(&["audit", "--action", "dancing"], "");
    assert!(code == 1 && refused.contains("there is no action dancing; the actions are session.created"), "{refused}");
}

fn tokens(desk: &Desk) -> Vec<Value> {
    rows(&desk.run(&["token", "list", "--json"], ""))
}

fn audit(desk: &Desk, filters: &[&str]) -> Vec<Value> {
    rows(&desk.run(&[&["audit", "--json"], filters].concat(), ""))
}

fn rows((code, output, errors): &(i32, String, String)) -> Vec<Value> {
    assert_eq!(*code, 0, "{errors}");
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
