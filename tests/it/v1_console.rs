//! Operators sign in at the console.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{Answer, Setup, until};
use crate::operators::{Operated, items, problem};

const READ: Scope = Scope::SessionsRead;
const PATH: &str = "/v1/console/session";

#[test]
fn who_signs_in_with_a_token_may_do_what_the_token_may() {
    let desk = Operated::new(Setup::default());

    let signed_in = sign_in(&desk, desk.token(READ));

    assert_eq!(signed_in.status, 204, "{signed_in:?}");
    let (secret, attributes) = signed_in.header("set-cookie").split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(secret.strip_prefix("frontdesk-console=").unwrap().len(), 43);
    let cookie = cookie(&signed_in);
    assert_eq!(with(&desk, "GET", "/v1/sessions", &cookie).status, 200);
    assert_eq!(problem(&with(&desk, "GET", "/v1/tokens", &cookie)), (403, "scope_required".into()));
    let who = with(&desk, "GET", PATH, &cookie).json();
    assert_eq!((&who["name"], &who["scopes"]), (&json!("sessions:read"), &json!(["sessions:read"])));
    assert!(who["idle_end"].as_str().unwrap() < who["lifetime_end"].as_str().unwrap(), "{who}");
    assert_eq!(desk.audited("console.signed_in")[0]["actor"]["name"], "sessions:read");
}

#[test]
fn by_token_an_operator_sees_who_that_is() {
    let desk = Operated::new(Setup::default());
    let who = desk.call(READ, "GET", PATH, &Value::Null).json();
    assert_eq!(who, json!({"name": "sessions:read", "scopes": ["sessions:read"]}));
    assert_eq!(problem(&desk.send("GET", PATH, &[], &Value::Null)), (401, "token_required".into()));
}

#[test]
fn behind_a_proxy_that_encrypts_the_cookie_is_bound_to_its_host() {
    let desk = Operated::new(Setup::with_config("behind_proxy = true\n"));
    let signed_in = sign_in(&desk, desk.token(READ));
    let (secret, attributes) = signed_in.header("set-cookie").split_once("; ").unwrap();
    assert!(secret.starts_with("__Host-frontdesk="));
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    assert_eq!(with(&desk, "GET", PATH, &cookie(&signed_in)).status, 200);
}

#[test]
fn a_cookie_opens_nothing_on_the_other_kind_of_connection() {
    for (config, other) in [("behind_proxy = true\n", "frontdesk-console"), ("", "__Host-frontdesk")] {
        let desk = Operated::new(Setup::with_config(config));
        let cookie = cookie(&sign_in(&desk, desk.token(READ)));
        assert_eq!(with(&desk, "GET", PATH, &cookie).status, 200);
        let (_, secret) = cookie.split_once('=').unwrap();
        let other = format!("{other}={secret}");
        assert_eq!(problem(&with(&desk, "GET", PATH, &other)), (401, "token_required".into()), "{other}");
        // In company of the other one, the right one counts.
        assert_eq!(with(&desk, "GET", PATH, &format!("{}; {cookie}", other.replace(secret, "x"))).status, 200);
    }
}

#[test]
fn pages_of_other_sites_neither_sign_in_nor_use_the_cookie_nor_sign_out() {
    let desk = Operated::new(Setup::default());
    let cookie = cookie(&sign_in(&desk, desk.token(Scope::Admin)));
    let own = format!("http://{}", desk.server.address);
    let body = json!({"token": desk.token(READ)});
    for header in [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site"), ("Origin", "http://evil.example")]
    {
        assert_eq!(problem(&desk.send("POST", PATH, &[header], &body)), (403, "cross_site_request".into()));
        for (method, path) in [("DELETE", PATH), ("DELETE", "/v1/customers/ada"), ("POST", "/v1/sessions/stop")] {
            let answer = desk.send(method, path, &[header, ("Cookie", &cookie)], &json!({"all": true}));
            assert_eq!(problem(&answer), (403, "cross_site_request".into()), "{method} {path}");
        }
    }
    // Without a word of where it comes from, nobody may change anything with a cookie.
    let unsaid = desk.send("POST", "/v1/sessions/stop", &[("Cookie", &cookie)], &json!({"all": true}));
    assert_eq!(problem(&unsaid), (403, "cross_site_request".into()));
    for header in [("Origin", &*own), ("Sec-Fetch-Site", "same-origin")] {
        assert_eq!(desk.send("POST", PATH, &[header], &body).status, 204);
        let headers = [header, ("Cookie", &*cookie)];
        assert_eq!(desk.send("POST", "/v1/sessions/stop", &headers, &json!({"all": true})).status, 200);
    }
}

#[test]
fn a_new_sign_in_ends_the_one_before() {
    let desk = Operated::new(Setup::default());
    let before = cookie(&sign_in(&desk, desk.token(READ)));

    let body = json!({"token": desk.token(READ)});
    let after = cookie(&desk.send("POST", PATH, &[("Cookie", &before)], &body));

    assert_ne!(before, after);
    assert_eq!(problem(&with(&desk, "GET", PATH, &before)), (401, "token_required".into()));
    assert_eq!(with(&desk, "GET", PATH, &after).status, 200);
}

#[test]
fn who_has_signed_out_is_out_and_may_sign_out_again() {
    let desk = Operated::new(Setup::default());
    let cookie = cookie(&sign_in(&desk, desk.token(READ)));

    for _ in 0..2 {
        let out = with(&desk, "DELETE", PATH, &cookie);
        assert_eq!(out.status, 204, "{out:?}");
        assert!(
            out.header("set-cookie").starts_with("frontdesk-console=; ")
                && out.header("set-cookie").ends_with("; Max-Age=0")
        );
    }

    assert_eq!(problem(&with(&desk, "GET", PATH, &cookie)), (401, "token_required".into()));
    assert_eq!(desk.send("DELETE", PATH, &[], &Value::Null).status, 204);
    assert_eq!(desk.audited("console.signed_out").len(), 1);
}

#[test]
fn a_sign_in_ends_with_its_token() {
    let desk = Operated::new(Setup::default());
    let cookie = cookie(&sign_in(&desk, desk.token(READ)));
    let tokens = items(&desk.call(Scope::Admin, "GET", "/v1/tokens", &Value::Null));
    let reader = tokens.iter().find(|token| token["name"] == "sessions:read").unwrap()["id"].as_str().unwrap();

    assert_eq!(desk.call(Scope::Admin, "DELETE", &format!("/v1/tokens/{reader}"), &Value::Null).status, 204);

    assert_eq!(with(&desk, "GET", PATH, &cookie).status, 401);
    assert_eq!(problem(&sign_in(&desk, desk.token(READ))), (401, "token_required".into()));
}

#[test]
fn a_sign_in_ends_by_idleness_and_by_its_lifetime_and_outlives_the_server() {
    for timeout in ["idle_timeout = \"1ms\"", "lifetime = \"1s\""] {
        let desk = Operated::new(Setup::with_config(&format!("[console]\n{timeout}\n")));
        let cookie = cookie(&sign_in(&desk, desk.token(READ)));
        until("it has ended", || with(&desk, "GET", PATH, &cookie).status == 401);
    }
    let mut desk = Operated::new(Setup::default());
    let cookie = cookie(&sign_in(&desk, desk.token(READ)));
    desk.server.kill();
    desk.server.start_again();
    assert_eq!(with(&desk, "GET", PATH, &cookie).status, 200);
}

#[test]
fn failed_sign_ins_are_audited_and_slowed_and_slow_no_operator_with_a_token() {
    let desk = Operated::new(Setup::default());
    let customers = "fds_AAAA";
    for number in 0..10 {
        let token = if number == 0 { customers.to_owned() } else { format!("fdo_{number}") };
        assert_eq!(problem(&sign_in(&desk, &token)), (401, "token_required".into()));
    }

    let answer = sign_in(&desk, "fdo_11");

    assert_eq!(problem(&answer), (429, "too_many_attempts".into()));
    assert!((1..=60).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    until("they are audited", || desk.audited("token.refused").len() == 10);
    let audited = desk.audited("token.refused");
    assert_eq!((&audited[0]["actor"], &audited[0]["from"]), (&json!({"kind": "unknown"}), &json!("127.0.0.1")));
    assert_eq!(sign_in(&desk, desk.token(READ)).status, 204);
    let log: String = desk.server.log_lines().iter().map(Value::to_string).collect();
    assert!(!log.contains("fdo_"), "a token reached the log");
}

fn sign_in(desk: &Operated, token: &str) -> Answer {
    desk.send("POST", PATH, &[], &json!({"token": token}))
}

/// What a browser sends back.
fn cookie(signed_in: &Answer) -> String {
    signed_in.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// A call from a page of the server's own with the console's cookie.
fn with(desk: &Operated, method: &str, path: &str, cookie: &str) -> Answer {
    desk.send(method, path, &[("Cookie", cookie), ("Sec-Fetch-Site", "same-origin")], &Value::Null)
}
