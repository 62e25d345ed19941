//! Operators see whose sign-ins are being slowed, and let a customer try again.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{ADA, Setup};
use crate::operators::{Operated, items, make_token, problem};

const WRITE: Scope = Scope::CustomersWrite;

#[test]
fn who_is_slowed_is_listed_with_why_and_until_when_and_logged_once() {
    // One failure is too many, for a minute.
    let desk = Operated::new(Setup::with_config("[throttle]\nper_account_and_address = 1\n"));
    guess(&desk);
    assert_eq!(desk.server.create(ADA, json!({})).status, 429);

    let listed = items(&desk.call(WRITE, "GET", "/v1/throttled", &Value::Null));

    assert_eq!(listed.len(), 1, "{listed:?}");
    let one = &listed[0];
    assert_eq!((&one["email"], &one["address"], one.get("operator")), (&json!(ADA.0), &json!("127.0.0.1"), None));
    assert_eq!((&one["failures"], &one["refused"]), (&json!(1), &json!(2)));
    assert!(one["until"].is_string(), "{one}");
    let logged = desk.server.log_lines().into_iter().filter(|line| line.to_string().contains("being slowed")).count();
    assert_eq!(logged, 1);
    let (_, shown, _) = desk.server.run(&["customer", "throttled"], "");
    assert!(shown.lines().any(|line| line.starts_with(ADA.0) && line.contains("127.0.0.1")), "{shown}");
    let answer = desk.call(Scope::SessionsWrite, "GET", "/v1/throttled", &Value::Null);
    assert_eq!(problem(&answer), (403, "scope_required".into()));
}

#[test]
fn a_customer_who_is_let_try_again_is_checked_at_once() {
    let desk = slowed();
    for _ in 0..2 {
        assert_eq!(desk.call(WRITE, "DELETE", "/v1/throttled/Ada%40example.org", &Value::Null).status, 204);
    }
    assert_eq!(items(&desk.call(WRITE, "GET", "/v1/throttled", &Value::Null)).len(), 0);
    assert_eq!(desk.server.create(ADA, json!({})).status, 200);
    assert_eq!(desk.audited("throttle.cleared").len(), 2);
}

#[test]
fn a_new_password_and_a_command_let_a_customer_try_again_as_well() {
    let desk = slowed();
    let (status, _, errors) =
        desk.server.run(&["customer", "passwd", ADA.0, "--password-stdin"], "another horse battery");
    assert!(status.success(), "{errors}");
    assert_eq!(desk.server.create((ADA.0, "another horse battery"), json!({})).status, 200);

    guess(&desk);
    let (status, said, errors) = desk.server.run(&["customer", "unthrottle", ADA.0], "");
    assert!(status.success() && said.contains("may try again"), "{errors}");
    assert_eq!(desk.server.create((ADA.0, "another horse battery"), json!({})).status, 400);

    guess(&desk);
    let body = json!({"password": "yet another horse"});
    assert_eq!(desk.call(WRITE, "PUT", "/v1/customers/ada%40example.org/password", &body).status, 204);
    assert_eq!(desk.server.create((ADA.0, "yet another horse"), json!({})).status, 400);
}

#[test]
fn a_customer_with_the_name_of_an_operator_s_token_slows_no_operator() {
    let desk = Operated::new(Setup::default());
    let token = make_token(&desk.server, "night shift", Scope::SessionsRead);
    let tokens = items(&desk.call(Scope::Admin, "GET", "/v1/tokens", &Value::Null));
    let id = tokens.iter().find(|token| token["name"] == "night shift").unwrap()["id"].as_str().unwrap().to_owned();
    for name in [id.clone(), format!("operator {id}")] {
        for _ in 0..11 {
            desk.server.create((&name, "a guess of mine"), json!({}));
        }
    }

    let answer = desk.send("POST", "/v1/console/session", &[], &json!({"token": token}));

    assert_eq!(answer.status, 204, "{answer:?}");
}

/// A server that slows Ada's sign-ins.
fn slowed() -> Operated {
    let desk = Operated::new(Setup::default());
    guess(&desk);
    desk
}

/// Guesses until a guess is refused.
fn guess(desk: &Operated) {
    let refused = (0..30).any(|_| desk.server.create((ADA.0, "a guess of mine"), json!({})).status == 429);
    assert!(refused, "nobody is slowed");
}
