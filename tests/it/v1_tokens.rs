//! Operators make operators' tokens over HTTP.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup};
use crate::operators::{Operated, items, problem};

const ADMIN: Scope = Scope::Admin;

#[test]
fn a_token_is_shown_once_and_opens_what_its_scopes_say() {
    let desk = Operated::new(Setup::default());

    let made = make(&desk, &json!({"name": "night shift", "scopes": ["sessions:read", "sessions:read"]}));

    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"), "{made:?}");
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("fdo_") || token.starts_with("fd"), "{token}");
    assert_eq!((&made["scopes"], &made["valid"]), (&json!(["sessions:read"]), &json!(true)));
    assert_eq!(desk.call_with(token, "GET", "/v1/sessions", &Value::Null).status, 200);
    let answer = desk.call_with(token, "GET", "/v1/customers", &Value::Null);
    assert_eq!(problem(&answer), (403, "scope_required".into()));
    let list = desk.call(ADMIN, "GET", "/v1/tokens", &Value::Null);
    let listed = items(&list).into_iter().find(|token| token["name"] == "night shift").unwrap();
    assert_eq!((&listed["id"], &listed["expires"]), (&made["id"], &made["expires"]));
    assert!(!String::from_utf8(list.body).unwrap().contains(token));
    let noted = desk.audited("token.made");
    assert_eq!((noted.len(), &noted[0]["actor"]["name"]), (1, &json!("admin")));
    let detail = format!("night shift ({}): sessions:read", made["id"].as_str().unwrap());
    assert_eq!(noted[0]["detail"], detail);
    assert!(!desk.server.log_lines().iter().any(|line| line.to_string().contains(token)));
}

#[test]
fn a_token_of_a_name_that_is_good_is_made_only_after_that_one_was_revoked() {
    let desk = Operated::new(Setup::default());
    let new = json!({"name": "deploys", "scopes": ["sessions:write"]});
    let first = make(&desk, &new).json();

    assert_eq!(problem(&make(&desk, &new)), (409, "token_exists".into()));
    assert_eq!(desk.audited("token.made").len(), 1);
    let path = format!("/v1/tokens/{}", first["id"].as_str().unwrap());
    assert_eq!(desk.call(ADMIN, "DELETE", &path, &Value::Null).status, 204);

    assert_eq!(make(&desk, &new).status, 201);
}

#[test]
fn a_token_is_good_for_as_long_as_was_said_and_for_ninety_days_otherwise() {
    let desk = Operated::new(Setup::default());
    let year = |name: &str, rest: Value| {
        let mut new = json!({"name": name, "scopes": ["admin"]});
        new.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let made = make(&desk, &new);
        assert_eq!(made.status, 201, "{made:?}");
        let (json, year) = (made.json(), |text: &Value| text.as_str().unwrap()[..4].parse::<i32>().unwrap());
        json.get("expires").map(|expires| year(expires) - year(&json["created"]))
    };
    assert_eq!(year("always", json!({"never_expires": true})), None);
    assert!(matches!(year("for long", json!({"valid_for_seconds": 10 * 366 * 86_400})), Some(10 | 11)));
    assert!(matches!(year("as usual", json!({})), Some(0 | 1)));
}

#[test]
fn what_can_be_no_token_is_refused_in_words() {
    let desk = Operated::new(Setup::default());
    for new in [
        json!({"name": "", "scopes": ["admin"]}),
        json!({"name": " deploys", "scopes": ["admin"]}),
        json!({"name": "0198c0de-0000-7000-8000-000000000000", "scopes": ["admin"]}),
        json!({"name": "deploys", "scopes": []}),
        json!({"name": "deploys", "scopes": ["everything"]}),
        json!({"name": "deploys", "scopes": ["admin"], "valid_for_seconds": 59.9}),
        json!({"name": "deploys", "scopes": ["admin"], "valid_for_seconds": -1}),
        json!({"name": "deploys", "scopes": ["admin"], "valid_for_seconds": 59, "never_expires": true}),
        json!({"name": "deploys", "scopes": ["admin"], "valid_for_seconds": 1e300}),
        json!({"name": "deploys", "scopes": ["admin"], "valid_for_seconds": null}),
        json!({"name": "deploys", "scopes": ["admin"], "expires": "never"}),
        json!({"name": "deploys"}),
    ] {
        assert_eq!(problem(&make(&desk, &new)), (400, "invalid_request".into()), "{new}");
    }
    for scope in [Scope::SessionsRead, Scope::SessionsWrite, Scope::CustomersWrite] {
        let answer = desk.call(scope, "POST", "/v1/tokens", &json!({"name": "mine", "scopes": ["admin"]}));
        assert_eq!(problem(&answer), (403, "scope_required".into()));
    }
    assert_eq!(desk.audited("token.made").len(), 0);
}

fn make(desk: &Operated, new: &Value) -> Answer {
    desk.call(ADMIN, "POST", "/v1/tokens", new)
}
