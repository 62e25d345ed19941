//! `POST /requestSessionCreation`: what is taken, what is refused, and what the customer gets.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Answer, Server, Setup, until};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

#[test]
fn a_good_password_opens_a_session_and_later_ones_get_a_token_of_the_same_session() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);

    let wrong = server.create((ADA.0, "wrong"), json!({}));
    let first = server.create(ADA, json!({}));
    let second = server.create(ADA, json!({}));
    let wrong_again = server.create((ADA.0, "wrong"), json!({}));
    let unknown = server.create(("bob@example.org", "wrong"), json!({}));

    assert_eq!(first.pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()));
    assert_eq!(first.header("cache-control"), "no-store");
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(second.pair(), (400, "SESSION_ALREADY_RUNNING".into()));
    assert_eq!(second.header("cache-control"), "no-store");
    assert_eq!(second.session_id(), first.session_id());
    assert_ne!(second.token(), first.token());
    for refused in [&wrong, &wrong_again, &unknown] {
        assert_eq!(refused.pair(), (401, "INVALID_EMAIL_OR_PASSWORD".into()));
        assert_ne!(refused.header("www-authenticate"), "");
        assert_eq!(refused.body, wrong.body, "whether a session is live is nobody's business");
    }
}

#[test]
fn each_of_the_256_bits_of_a_token_s_secret_is_drawn_anew() {
    const TOKENS: usize = 64;
    const ID_BYTES: usize = 16;
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let secret = |token: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("fds_").unwrap()).unwrap();
        *bytes[ID_BYTES..].first_chunk::<32>().unwrap()
    };
    let secrets: Vec<[u8; 32]> = (0..TOKENS).map(|_| secret(&server.create(ADA, json!({})).token())).collect();

    // One of these fails once in 2^55 runs.
    for bit in 0..256 {
        let set = secrets.iter().filter(|secret| secret[bit / 8] >> (bit % 8) & 1 == 1).count();
        assert!((1..TOKENS).contains(&set), "bit {bit} is always the same");
    }
    assert_eq!(secrets.iter().collect::<HashSet<_>>().len(), TOKENS);
}

#[test]
fn at_most_four_tokens_of_a_session_are_valid_and_the_oldest_goes_first() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let tokens: Vec<_> = (0..6).map(|_| server.create(ADA, json!({})).token()).collect();

    let works = |token: &String| server.relay(ADA.0, token, &json!(1)).pair();

    for retired in &tokens[..2] {
        assert_eq!(works(retired), (401, "TOKEN_REQUIRED".into()));
    }
    for valid in &tokens[2..] {
        assert_eq!(works(valid), (404, "NO_SESSION_RUNNING".into()));
    }
}

#[test]
fn malformed_input_is_refused_before_credentials_are_asked_and_repeats_no_value() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let deep = format!(
        r#"{{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{{"a":{}{}}}}}"#,
        "[".repeat(499),
        "]".repeat(499)
    );
    let cases: &[&[u8]] = &[
        b"",
        b"hunter2",
        b"\"hunter2\"",
        b"null",
        b"[]",
        b"{}",
        br#"["a","hunter2","CUSTOMERS",{}]"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS"}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","DATA":{}}"#,
        br#"{"EMAIL":"a","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"email":"a","password":"hunter2","persona_type":"CUSTOMERS","data":{}}"#,
        br#"{"EMAIL":"","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":7,"PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":null,"PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":["hunter2"],"PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":"x","PERSONA_TYPE":{"a":"hunter2"},"DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":20202,"PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":"hunter2"}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":null}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":[]}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}} {}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}"#,
        br#"{"EMAIL":"a","EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{"a":{"b":1,"\u0062":2}}}"#,
        br#"{"EMAIL":"\ud800","PASSWORD":"hunter2","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        br#"{"EMAIL":"a","PASSWORD":"hunter2\udc00","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#,
        b"{\"EMAIL\":\"a\",\"PASSWORD\":\"hunter2\",\"PERSONA_TYPE\":\"CUSTOMERS\",\"DATA\":{\"a\":\"\xff\"}}",
        b"\xef\xbb\xbf{\"EMAIL\":\"a\",\"PASSWORD\":\"hunter2\",\"PERSONA_TYPE\":\"CUSTOMERS\",\"DATA\":{}}",
        deep.as_bytes(),
    ];

    for case in cases {
        let answer = server.send("POST", "/requestSessionCreation", JSON, case);
        let shown = String::from_utf8_lossy(case);
        assert_eq!(answer.pair(), (400, "INVALID_REQUEST".into()), "{shown}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("20202"), "{shown}: {text}");
    }
    for pickle in [&b"\x80\x04"[..], b"\x80\x09N.", b"N.N", b"cos\nsystem\n(S'true'\ntR.", b"]."] {
        let answer = pickled(&server, pickle);
        assert_eq!(answer.pair(), (400, "INVALID_REQUEST".into()), "{pickle:?}");
    }
    assert_eq!(stub.asked(), Vec::<Value>::new());
}

#[test]
fn what_is_well_formed_is_taken_however_it_is_written() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(498), "]".repeat(498));
    let datas = ["{}", &deep, " { \"a\" : [ 1e999, -0, \"\\ud800\" ] } ", r#"{"\udfff":{"$":1}}"#];

    for (n, data) in datas.iter().enumerate() {
        let body = format!(
            "\n{{ \"UNKNOWN\": [1], \"DATA\": {data}, \"PERSONA_TYPE\": \"CUSTOMERS\", \"\\u0045MAIL\": \"a{n}\", \
             \"PASSWORD\": \"good\" }}\n"
        );
        let answer = server.send("POST", "/requestSessionCreation?x=1", JSON, body.as_bytes());
        assert_eq!(answer.pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()), "{data}");
    }
}

#[test]
fn only_the_two_content_types_are_known_and_their_parameters_do_not_matter() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let body = br#"{"EMAIL":"a","PASSWORD":"bad","PERSONA_TYPE":"CUSTOMERS","DATA":{}}"#;

    for known in ["application/json", "Application/JSON", " application/json ; charset=utf-8", "application/json;"] {
        let answer = server.send("POST", "/requestSessionCreation", &[("Content-Type", known)], body);
        assert_eq!(answer.status, 401, "{known}");
    }
    let asked = stub.asked().len();
    for unknown in ["text/json", "application/jsonx", "application/json+x", "", ";", "application / json"] {
        let answer = server.send("POST", "/requestSessionCreation", &[("Content-Type", unknown)], body);
        assert_eq!(answer.pair(), (415, "UNSUPPORTED_CONTENT_TYPE".into()), "{unknown}");
    }
    let none = server.send("POST", "/requestSessionCreation", &[], body);
    let encoded = server.send("POST", "/requestSessionCreation", &[JSON[0], ("Content-Encoding", "identity")], body);
    assert_eq!(none.pair(), (415, "UNSUPPORTED_CONTENT_TYPE".into()));
    assert_eq!(encoded.pair(), (415, "UNSUPPORTED_CONTENT_TYPE".into()));
    assert_eq!(stub.asked().len(), asked);
}

#[test]
fn a_persona_that_is_not_configured_is_refused_after_the_credentials() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let create = |password: &str, persona: &str| {
        let body = json!({"EMAIL": "a", "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": {}});
        server.send("POST", "/requestSessionCreation", JSON, body.to_string().as_bytes())
    };

    assert_eq!(create("bad", "customers").pair(), (401, "INVALID_EMAIL_OR_PASSWORD".into()));
    assert_eq!(create("good", "customers").pair(), (400, "INVALID_REQUEST".into()));
    assert_eq!(create("good", "").pair(), (400, "INVALID_REQUEST".into()));
    let types: Vec<_> = stub.asked().iter().map(|asked| asked["TYPE"].clone()).collect();
    assert_eq!(types, ["customers", "customers", ""]);
}

#[test]
fn a_client_written_for_the_seed_works_unchanged() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let mut python = Command::new("python3")
        .args(["-", &format!("http://{}", server.address), ADA.0, ADA.1])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(include_bytes!("seed_client.py")).unwrap();

    let output = python.wait_with_output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("its last session has ended", || server.status(ADA.0) == "IDLE");
}

fn pickled(server: &Server, body: &[u8]) -> Answer {
    server.send("POST", "/requestSessionCreation", &[("Content-Type", "application/bytes")], body)
}
