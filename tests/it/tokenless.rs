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
fn an_agent_with_a_user_of_its_own_needs_a_token_and_other_users_do_not() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Whatever is imported is imported while root may read it.
    const ASK: &str = "import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[1]))
desk = socket.socket()
desk.connect((sys.argv[2], int(sys.argv[3])))
desk.sendall(b'GET %s HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n' % sys.argv[4].encode())
print(desk.recv(12).decode()[9:])";
    let config = "[personas.CUSTOMERS]\ncommand = ['frontdesk', 'agent', 'echo']\nuser = 'nobody'\n\
        [personas.ROBOTS]\ncommand = ['frontdesk', 'agent', 'echo']\nuser = '700000-700009'\n";
    let server = Server::start(Setup::with_config(config));
    let message = percent(&json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": ADA.0}).to_string());
    let ask = |user: &str| {
        let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
        let path = format!("/sessionSTATUS?message={message}");
        let output = std::process::Command::new("python3").args(["-c", ASK, user, &ip, &port, &path]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!([ask("0"), ask("1"), ask("700010")], ["200", "200", "200"]);
    assert_eq!([ask("65534"), ask("700000"), ask("700009")], ["401", "401", "401"]);
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
