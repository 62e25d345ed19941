//! Operators keep customers over HTTP.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Answer, Setup, percent, until};
use crate::operators::{Operated, items, problem};

const WRITE: Scope = Scope::CustomersWrite;

#[test]
fn an_added_customer_is_found_where_the_answer_says_and_may_ask_for_a_session() {
    let desk = desk();

    let added = add(&desk, "Zoë Ünal/x@example.org", "correct horse battery");

    assert_eq!(added.status, 201, "{added:?}");
    let found = desk.call(WRITE, "GET", added.header("location"), &Value::Null);
    assert_eq!((found.status, found.json()), (200, added.json()));
    assert_eq!(added.json()["email"], "Zoë Ünal/x@example.org");
    let by_other_case = format!("/v1/customers/{}", percent("ZOË ünal/X@example.org"));
    assert_eq!(desk.call(WRITE, "GET", &by_other_case, &Value::Null).json(), added.json());
    let session = desk.server.create(("zoë ünal/x@example.org", "correct horse battery"), json!({}));
    assert_eq!(session.status, 200, "{session:?}");
    let audited = desk.audited("customer.added");
    assert_eq!((audited.len(), &audited[0]["customer"]), (1, &json!("zoë ünal/x@example.org")));
}

#[test]
fn a_customer_is_added_once_and_the_same_call_again_answers_the_same() {
    let desk = desk();
    let first = add(&desk, "bob@example.org", "correct horse battery");

    let again = add(&desk, "bob@example.org", "correct horse battery");

    assert_eq!((again.status, again.json(), again.header("location")), (201, first.json(), first.header("location")));
    for (email, password) in
        [("bob@example.org", "another horse battery"), ("BOB@example.org", "correct horse battery")]
    {
        assert_eq!(problem(&add(&desk, email, password)), (409, "customer_exists".into()), "{email}");
    }
    assert_eq!(desk.audited("customer.added").len(), 1);
}

#[test]
fn nobody_learns_a_customers_password_by_adding_the_customer_again_and_again() {
    let desk = desk();
    for _ in 0..10 {
        assert_eq!(add(&desk, ADA.0, "a guess of mine").status, 409);
    }
    let answer = add(&desk, ADA.0, ADA.1);
    assert_eq!(problem(&answer), (429, "too_many_attempts".into()));
    assert_ne!(answer.header("retry-after"), "");
}

#[test]
fn emails_and_passwords_that_can_be_none_are_refused() {
    let desk = desk();
    for email in ["", " ", "a\u{7}b", &"x".repeat(321)] {
        assert_eq!(problem(&add(&desk, email, "correct horse battery")), (400, "invalid_request".into()), "{email:?}");
    }
    assert_eq!(add(&desk, &"é".repeat(320), "correct horse battery").status, 201);
    for password in ["", &"x".repeat(4_097)] {
        assert_eq!(problem(&add(&desk, "bob@example.org", password)), (422, "password_refused".into()));
        let change =
            desk.call(WRITE, "PUT", "/v1/customers/ada%40example.org/password", &json!({"password": password}));
        assert_eq!(problem(&change), (422, "password_refused".into()));
    }
    assert_eq!(desk.call(WRITE, "GET", "/v1/customers/%ff", &Value::Null).status, 400);
}

#[test]
fn customers_are_listed_by_pages_in_the_order_of_their_emails() {
    let desk = desk();
    for email in ["cy@example.org", "bob@example.org"] {
        assert_eq!(add(&desk, email, "correct horse battery").status, 201);
    }
    let (mut emails, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = desk.call(WRITE, "GET", &format!("/v1/customers{query}"), &Value::Null);
        emails.extend(items(&page).iter().map(|customer| customer["email"].as_str().unwrap().to_owned()));
        let Some(next) = page.json().get("next").map(|next| percent(next.as_str().unwrap())) else { break };
        query = format!("?limit=2&cursor={next}");
    }
    // The first start adds the demo customer.
    assert_eq!(emails, [ADA.0, "bob@example.org", "cy@example.org", "demo@example.com"]);
}

#[test]
fn a_reset_that_says_so_keeps_the_tokens_and_the_session_goes_on() {
    let desk = desk();
    let (id, token) = running(&desk);

    let path = "/v1/customers/ADA%40example.org/password";
    for _ in 0..2 {
        assert_eq!(
            desk.call(WRITE, "PUT", path, &json!({"password": "battery staple", "sign_out": false})).status,
            204
        );
    }

    assert_eq!(desk.server.create(ADA, json!({})).status, 401);
    assert_eq!(desk.server.create((ADA.0, "battery staple"), json!({})).session_id(), id);
    assert_eq!(desk.server.relay(ADA.0, &token, &json!("there?")).status, 200);
    let missing = desk.call(WRITE, "PUT", "/v1/customers/nobody/password", &json!({"password": "battery staple"}));
    assert_eq!(problem(&missing), (404, "customer_not_found".into()));
    assert_eq!(desk.audited("customer.password_changed").len(), 2);
}

#[test]
fn an_operators_reset_of_a_password_revokes_the_tokens_of_the_session() {
    let desk = desk();
    let (id, token) = running(&desk);

    for (password, body) in [
        ("battery staple", json!({"password": "battery staple"})),
        ("staple battery", json!({"password": "staple battery", "sign_out": true})),
    ] {
        let path = "/v1/customers/ada%40example.org/password";
        assert_eq!(desk.call(WRITE, "PUT", path, &body).status, 204);
        assert_eq!(desk.server.relay(ADA.0, &token, &json!("there?")).status, 401);
        let again = desk.server.create((ADA.0, password), json!({}));
        assert_eq!(again.session_id(), id, "the session goes on");
        assert_eq!(desk.server.relay(ADA.0, &again.token(), &json!("there?")).status, 200);
    }
}

#[test]
fn the_command_that_resets_a_password_revokes_the_tokens_of_the_session_as_well() {
    let desk = desk();
    let (id, token) = running(&desk);

    let (status, said, errors) =
        desk.server.run(&["customer", "passwd", ADA.0, "--password-stdin"], "another horse battery");

    assert!(status.success() && said.contains("revoked the tokens"), "{said}{errors}");
    assert_eq!(desk.server.relay(ADA.0, &token, &json!("there?")).status, 401);
    assert_eq!(desk.server.create((ADA.0, "another horse battery"), json!({})).session_id(), id);
}

#[test]
fn a_disabled_customer_s_password_is_refused_as_a_wrong_one_is_until_it_is_enabled() {
    let desk = desk();
    let (id, _) = running(&desk);
    let path = "/v1/customers/Ada%40example.org/disabled";
    let wrong = desk.server.create((ADA.0, "another password"), json!({}));

    for _ in 0..2 {
        let disabled = desk.call(WRITE, "PUT", path, &json!({"disabled": true}));
        assert_eq!((disabled.status, &disabled.json()["disabled"]), (200, &json!(true)), "{disabled:?}");
    }

    let session =
        desk.call(Scope::SessionsRead, "GET", &format!("/v1/sessions/{id}?wait=60s&until=ENDED"), &Value::Null);
    let session = session.json();
    assert_eq!((&session["phase"], &session["reason"]), (&json!("ENDED"), &json!("its customer was disabled")));
    let refused = desk.server.create(ADA, json!({}));
    assert_eq!((refused.status, &refused.body), (401, &wrong.body));
    let change = json!({"email": ADA.0, "password": ADA.1, "new_password": "battery staple horse"});
    assert_eq!(desk.send("PUT", "/v1/password", &[], &change).status, 401);
    let listed = items(&desk.call(WRITE, "GET", "/v1/customers?limit=1", &Value::Null));
    assert_eq!(listed[0]["disabled"], true);
    assert!(listed[0]["disabled_since"].is_string());

    let enabled = desk.call(WRITE, "PUT", path, &json!({"disabled": false})).json();
    assert_eq!((&enabled["disabled"], enabled.get("disabled_since")), (&json!(false), None));
    assert_eq!(desk.server.create(ADA, json!({})).status, 200);
    assert_eq!((desk.audited("customer.disabled").len(), desk.audited("customer.enabled").len()), (1, 1));
    let missing = desk.call(WRITE, "PUT", "/v1/customers/nobody/disabled", &json!({"disabled": true}));
    assert_eq!(problem(&missing), (404, "customer_not_found".into()));
    for body in [json!({}), json!({"disabled": null}), json!({"disabled": "yes"})] {
        assert_eq!(desk.call(WRITE, "PUT", path, &body).status, 400, "{body}");
    }
}

#[test]
fn a_customer_is_disabled_and_enabled_by_commands_as_well() {
    let desk = desk();
    let (status, said, errors) = desk.server.run(&["customer", "disable", ADA.0], "");
    assert!(status.success(), "{errors}");
    assert_eq!(said.trim_end(), "ada@example.org is disabled");
    assert_eq!(desk.server.create(ADA, json!({})).status, 401);
    let (_, listed, _) = desk.server.run(&["customer", "list"], "");
    assert!(listed.lines().any(|line| line.starts_with(ADA.0) && line.ends_with("disabled")), "{listed}");

    let (status, said, _) = desk.server.run(&["customer", "enable", ADA.0], "");
    assert!(status.success() && said.contains("is enabled"), "{said}");

    assert_eq!(desk.server.create(ADA, json!({})).status, 200);
}

#[test]
fn a_removed_customer_is_gone_with_the_session_and_removing_it_again_answers_the_same() {
    let desk = desk();
    let (id, _) = running(&desk);

    for _ in 0..2 {
        assert_eq!(desk.call(WRITE, "DELETE", "/v1/customers/Ada%40example.org", &Value::Null).status, 204);
    }

    let path = format!("/v1/sessions/{id}?wait=60s&until=ENDED");
    let session = desk.call(Scope::SessionsRead, "GET", &path, &Value::Null).json();
    assert_eq!((&session["phase"], &session["reason"]), (&json!("ENDED"), &json!("its customer was removed")));
    until("its agent is gone", || desk.server.agents().is_empty());
    assert_eq!(desk.server.create(ADA, json!({})).status, 401);
    assert_eq!(desk.call(WRITE, "GET", "/v1/customers/ada%40example.org", &Value::Null).status, 404);
    assert_eq!(desk.audited("customer.removed").len(), 1);
}

#[test]
fn a_session_of_a_remote_server_s_customer_outlives_the_removal_of_an_account_of_that_name() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let desk = Operated::new(stub.setup(""));
    let session = desk.server.create((ADA.0, "good"), json!({})).session_id();
    for _ in 0..2 {
        assert_eq!(desk.call(WRITE, "DELETE", "/v1/customers/ada%40example.org", &Value::Null).status, 204);
    }
    assert_eq!(desk.call(WRITE, "GET", "/v1/customers/ada%40example.org", &Value::Null).status, 404);
    let seen = desk.call(Scope::SessionsRead, "GET", &format!("/v1/sessions/{session}"), &Value::Null).json();
    assert_eq!(seen["phase"], "PENDING");
}

#[test]
fn other_scopes_and_customers_themselves_have_no_say_over_customers() {
    let desk = desk();
    let (_, token) = running(&desk);
    for call in ["GET", "DELETE"] {
        for token in [desk.token(Scope::SessionsWrite), &token] {
            let answer = desk.call_with(token, call, "/v1/customers/ada%40example.org", &Value::Null);
            assert_eq!(problem(&answer), (403, "scope_required".into()));
        }
        let answer = desk.send(call, "/v1/customers/ada%40example.org", &[], &Value::Null);
        assert_eq!(problem(&answer), (401, "token_required".into()));
    }
}

fn desk() -> Operated {
    Operated::new(Setup::default())
}

fn add(desk: &Operated, email: &str, password: &str) -> Answer {
    desk.call(WRITE, "POST", "/v1/customers", &json!({"email": email, "password": password}))
}

/// Ada's running session: its id and a token.
fn running(desk: &Operated) -> (String, String) {
    let created = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    (created.session_id(), created.token())
}
