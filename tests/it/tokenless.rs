//! Who may initialise and ask for the status without a token.

use serde_json::json;

use crate::harness::{ADA, Answer, Server, Setup, percent, try_send};

#[test]
fn a_program_on_this_machine_needs_no_token_and_whoever_speaks_for_another_does() {
    let server = Server::start(Setup::with_config("hosts = [\"desk.example.org\"]\n"));
    server.add_customer(ADA);
    let token = server.create(ADA, json!({})).token();
    let port = server.address.port();
    let names = ["localhost", "LocalHost:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:5500", "desk.example.org:80"];
    let admitted: Vec<Vec<(&str, String)>> = names
        .iter()
        .map(|name| vec![("Host", (*name).to_owned())])
        .chain([
            vec![("Host", format!("localhost:{port}")), ("Sec-Fetch-Site", "none".into())],
            vec![("Host", "localhost".into()), ("Sec-Fetch-Site", "same-origin".into())],
            vec![("Host", "localhost".into()), ("Authorization", "Basic YTpi".into())],
        ])
        .collect();
    let refused: Vec<Vec<(&str, String)>> = [
        ("Host", "example.org"),
        ("Host", "localhost.example.org"),
        ("Host", "10.0.0.1"),
        ("Host", ""),
        ("Origin", "null"),
        ("Origin", "http://localhost"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Forwarded", "for=10.0.0.1"),
        ("Via", "1.1 proxy"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Whatever", ""),
        ("X-Real-IP", "127.0.0.1"),
    ]
    .into_iter()
    .map(|(name, value)| vec![(name, value.to_owned())])
    .collect();

    for headers in &admitted {
        assert_eq!(status(&server, headers, None).pair(), (200, "PENDING".into()), "{headers:?}");
    }
    for headers in &refused {
        let answer = status(&server, headers, None);
        assert_eq!(answer.pair(), (401, "TOKEN_REQUIRED".into()), "{headers:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert_eq!(initialise(&server, headers, None).pair(), (401, "TOKEN_REQUIRED".into()), "{headers:?}");
        assert_eq!(status(&server, headers, Some(&token)).pair(), (200, "PENDING".into()), "{headers:?}");
    }
    assert_eq!(initialise(&server, &refused[0], Some(&token)).pair(), (200, "SESSION_INITIALIZED".into()));
}

#[test]
fn a_target_in_absolute_form_names_the_host_in_place_of_the_header() {
    let server = Server::start(Setup::default());
    let message = percent(&json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": "nobody"}).to_string());
    let ask = |host: &str| {
        server.send("GET", &format!("http://{host}/sessionSTATUS?message={message}"), &[("Host", "localhost")], b"")
    };

    assert_eq!(ask("localhost").pair(), (200, "IDLE".into()));
    assert_eq!(ask("example.org").pair(), (401, "TOKEN_REQUIRED".into()));
}

#[test]
fn behind_a_proxy_nobody_is_this_machine_unless_it_is_written_out() {
    for (config, is_admitted) in [
        ("behind_proxy = true\n", false),
        ("trusted_proxies = [\"10.0.0.1\"]\n", false),
        ("[seed_api]\ntokenless_from = []\n", false),
        ("[seed_api]\ntokenless_from = [\"10.0.0.0/8\"]\n", false),
        ("behind_proxy = true\n[seed_api]\ntokenless_from = [\"127.0.0.0/8\"]\n", true),
    ] {
        let server = Server::start(Setup::with_config(config));
        server.add_customer(ADA);
        let token = server.create(ADA, json!({})).token();
        let expected = if is_admitted { (200, "PENDING".into()) } else { (401, "TOKEN_REQUIRED".into()) };
        assert_eq!(status(&server, &[], None).pair(), expected, "{config}");
        assert_eq!(status(&server, &[], Some(&token)).pair(), (200, "PENDING".into()), "{config}");
    }
}

#[test]
fn without_a_token_nobody_learns_whether_a_customer_exists() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    let ask = |email: &str| {
        let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": email}).to_string();
        let path = format!("/sessionSTATUS?message={}", percent(&message));
        try_send(server.address, "GET", &path, &[("Origin", "null")], b"").unwrap()
    };

    let (known, unknown) = (ask(ADA.0), ask("nobody@example.org"));

    assert_eq!((known.status, known.body), (unknown.status, unknown.body));
}

fn status(server: &Server, headers: &[(&str, String)], token: Option<&str>) -> Answer {
    let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": ADA.0}).to_string();
    send(server, "GET", &format!("/sessionSTATUS?message={}", percent(&message)), headers, token, "")
}

fn initialise(server: &Server, headers: &[(&str, String)], token: Option<&str>) -> Answer {
    let body = json!({"EMAIL": ADA.0}).to_string();
    send(server, "POST", "/initializeSession", headers, token, &body)
}

fn send(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    token: Option<&str>,
    body: &str,
) -> Answer {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    server.send(method, path, &all, body.as_bytes())
}
