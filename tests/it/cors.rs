//! Pages of other origins may call `/v1` if the configuration names their origin, and nothing else.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Setup};
use crate::operators::{Operated, problem};

const APP: &str = "https://app.example.org";
const LISTED: &str = "[cors]\norigins = [\"https://App.example.org:443\"]\n";
const ALLOWED: &str = "access-control-allow-origin";

#[test]
fn without_a_list_no_page_of_another_origin_may_call_anything() {
    let desk = Operated::new(Setup::default());
    for (method, path) in [("POST", "/v1/sessions"), ("GET", "/v1/personas"), ("GET", "/serverRunning")] {
        let asked = preflight(&desk, path, APP, method);
        assert_eq!(asked.status, 405, "{path}");
        let called = desk.send(method, path, &[("Origin", APP)], &Value::Null);
        for answer in [&asked, &called] {
            assert_eq!([ALLOWED, "vary"].map(|header| answer.header(header)), ["", ""], "{path}");
        }
    }
}

#[test]
fn a_page_of_a_listed_origin_creates_and_sees_a_session_with_its_token_and_without_cookies() {
    let desk = Operated::new(Setup::with_config(LISTED));
    let asked = preflight(&desk, "/v1/sessions", APP, "POST");
    assert_eq!((asked.status, asked.header(ALLOWED)), (204, APP));
    assert_eq!(asked.header("access-control-allow-methods"), "POST,GET,HEAD");
    let taken = asked.header("access-control-allow-headers");
    for header in ["authorization", "content-type", "idempotency-key", "last-event-id", "if-none-match"] {
        assert!(taken.split(',').any(|known| known == header), "{header}");
    }
    assert_eq!(asked.header("access-control-max-age"), "600");

    let body = json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS"});
    let page = [("Origin", APP), ("Sec-Fetch-Site", "cross-site")];
    let created = desk.send("POST", "/v1/sessions", &page, &body);
    assert_eq!((created.status, created.header(ALLOWED), created.header("set-cookie")), (201, APP, ""));
    assert!(created.header("access-control-expose-headers").contains("location"));

    let bearer = format!("Bearer {}", created.json()["token"].as_str().unwrap());
    let path = format!("/v1/sessions/{}", created.json()["id"].as_str().unwrap());
    let seen = desk.send("GET", &path, &[page[0], page[1], ("Authorization", &bearer)], &Value::Null);
    assert_eq!((seen.status, seen.header(ALLOWED), seen.header("vary")), (200, APP, "Origin"));
    let refused = desk.send("GET", &path, &page, &Value::Null);
    assert_eq!((refused.status, refused.header(ALLOWED)), (401, APP), "a page can read why it is refused");
    for answer in [&asked, &created, &seen, &refused] {
        assert_eq!(answer.header("access-control-allow-credentials"), "", "never with credentials");
    }
}

#[test]
fn other_origins_and_other_paths_are_told_nothing() {
    let desk = Operated::new(Setup::with_config(LISTED));
    for origin in ["https://evil.example", "http://app.example.org", "https://app.example.org.evil.example", "null"] {
        let asked = preflight(&desk, "/v1/sessions", origin, "POST");
        assert_eq!((asked.status, asked.header(ALLOWED), asked.header("vary")), (405, "", "Origin"), "{origin}");
        let called = desk.send("GET", "/v1/personas", &[("Origin", origin)], &Value::Null);
        assert_eq!((called.header(ALLOWED), called.header("vary")), ("", "Origin"), "{origin}");
    }
    let own = desk.send("GET", "/v1/personas", &[], &Value::Null);
    assert_eq!((own.header(ALLOWED), own.header("vary")), ("", "Origin"), "caches keep answers apart");
    for (method, path) in [
        ("POST", "/requestSessionCreation"),
        ("POST", "/initializeSession"),
        ("GET", "/sessionSTATUS"),
        ("POST", "/v1/console/session"),
        ("POST", "/v1/sessions/01890000-0000-7000-8000-000000000000/cookie"),
        ("GET", "/console"),
        ("GET", "/"),
    ] {
        let asked = preflight(&desk, path, APP, method);
        assert_eq!((asked.status, asked.header(ALLOWED)), (405, ""), "{path}");
        assert_eq!(desk.send(method, path, &[("Origin", APP)], &json!({})).header(ALLOWED), "", "{path}");
    }
}

#[test]
fn a_listed_origin_neither_calls_without_a_token_nor_with_the_console_s_cookie() {
    let desk = Operated::new(Setup::with_config(LISTED));
    desk.server.create(ADA, json!({}));
    let status = desk.send("POST", "/initializeSession", &[("Origin", APP)], &json!({"EMAIL": ADA.0}));
    assert_eq!(status.status, 401, "the seed's call without a token");

    let signed_in = desk.send("POST", "/v1/console/session", &[], &json!({"token": desk.token(Scope::Admin)}));
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    for page in [("Origin", APP), ("Sec-Fetch-Site", "same-site")] {
        for method in ["GET", "POST"] {
            let answer = desk.send(method, "/v1/tokens", &[("Cookie", &cookie), page], &json!({}));
            assert_eq!(problem(&answer), (403, "cross_site_request".into()), "{method} {page:?}");
        }
    }
    let linked = [("Cookie", &*cookie), ("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(desk.send("GET", "/console", &linked, &Value::Null).status, 200, "a link may lead to the console");
}

#[test]
fn the_list_changes_without_a_restart() {
    let desk = Operated::new(Setup::with_config("[cors]\norigins = []\n"));
    assert_eq!(preflight(&desk, "/v1/sessions", APP, "POST").status, 405);
    std::fs::write(desk.server.path("frontdesk.toml"), {
        let before = std::fs::read_to_string(desk.server.path("frontdesk.toml")).unwrap();
        before.replace("origins = []", &format!("origins = [{APP:?}]"))
    })
    .unwrap();
    let (status, _, errors) = desk.server.run(&["reload"], "");
    assert!(status.success(), "{errors}");
    assert_eq!(preflight(&desk, "/v1/sessions", APP, "POST").status, 204);
}

fn preflight(desk: &Operated, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [("Origin", origin), ("Access-Control-Request-Method", method)];
    desk.send("OPTIONS", path, &headers, &Value::Null)
}
