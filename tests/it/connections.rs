//! Connections: many, old, impatient and broken ones.

use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Server, Setup, signal, try_send, until};
use crate::wire::Wire;

#[test]
fn a_thousand_connections_at_once_are_all_served() {
    let server = Server::start(Setup::default());
    let mut wires: Vec<_> = (0..1_000).map(|_| Wire::open(server.address)).collect();
    for _ in 0..2 {
        for wire in &mut wires {
            wire.write(b"GET /serverRunning HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        for wire in &mut wires {
            assert_eq!(wire.answer().pair(), (200, "SERVER_RUNNING".into()));
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Setup::default());
    let mut wire = Wire::open(server.address);
    let body = r#"{"EMAIL":"nobody"}"#;
    let post = format!("POST /initializeSession HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n{body}");
    let get = "GET /serverRunning HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let unknown = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    wire.write(format!("{post}{get}{unknown}").repeat(30).as_bytes());

    for _ in 0..30 {
        let statuses = [wire.answer(), wire.answer(), wire.answer()].map(|answer| answer.status);
        assert_eq!(statuses, [404, 200, 404]);
    }
}

#[test]
fn chunked_bodies_expectations_and_old_clients_are_served() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let head = "POST /requestSessionCreation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

    let mut chunked = Wire::open(server.address);
    chunked.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
    for byte in body.bytes() {
        chunked.write(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    chunked.write(b"0\r\nTrailer: x\r\n\r\n");
    assert_eq!(chunked.answer().status, 200);
    assert_eq!(chunked.send("GET", "/serverRunning", "", b"").status, 200);

    let mut expecting = Wire::open(server.address);
    let length = body.len();
    expecting.write(format!("{head}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n").as_bytes());
    let mut interim = [0; 25];
    expecting.read_exact(&mut interim);
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    expecting.write(body.as_bytes());
    assert_eq!(expecting.answer().pair(), (400, "SESSION_ALREADY_RUNNING".into()));

    let mut old = Wire::open(server.address);
    old.write(b"GET /serverRunning HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().pair(), (200, "SERVER_RUNNING".into()));
    assert_eq!(old.rest(), b"");

    let mut old = Wire::open(server.address);
    let body = json!({"EMAIL": ADA.0}).to_string();
    let head = format!("POST /initializeSession HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    old.write(format!("{head}\r\n{body}").as_bytes());
    assert_eq!(old.answer().pair(), (200, "SESSION_INITIALIZED".into()));
}

#[test]
fn what_is_no_http_is_refused_and_hurts_nobody() {
    let server = Server::start(Setup::default());
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    let cases: [&[u8]; 8] = [
        b"\r\n\r\n\r\nhello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /initializeSession HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /initializeSession HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /initializeSession HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        many_headers.as_bytes(),
        long_path.as_bytes(),
    ];
    for case in cases {
        let mut wire = Wire::open(server.address);
        wire.write(case);
        wire.finish();
        let rest = String::from_utf8(wire.rest()).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
        assert_eq!(server.send("GET", "/serverRunning", &[], b"").status, 200);
    }
}

#[test]
fn long_heads_are_served_and_endless_ones_refused() {
    let server = Server::start(Setup::default());
    let answer = |path: usize, header: usize| {
        let mut wire = Wire::open(server.address);
        let [path, header] = [path, header].map(|length| "x".repeat(length));
        wire.write(
            format!("GET /serverRunning?{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: {header}\r\n\r\n")
                .as_bytes(),
        );
        String::from_utf8(wire.rest()).unwrap()
    };
    for (path, header, status) in [
        (8 << 10, 0, 200),
        (65_000, 0, 200),
        (65_000, 60_000, 200),
        (65_536, 0, 414),
        (0, 120_000, 200),
        (0, 1_000_000, 431),
    ] {
        let answer = answer(path, header);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} and {header} bytes: {answer}");
    }
}

#[test]
fn a_head_that_a_proxy_could_read_differently_is_400_and_ends_the_connection() {
    let server = Server::start(Setup::default());
    for headers in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: user@a\r\n",
        "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Host: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut wire = Wire::open(server.address);
        wire.write(format!("POST /initializeSession HTTP/1.1\r\n{headers}\r\n0\r\n\r\n").as_bytes());
        let answer = wire.answer();
        assert_eq!(answer.pair(), (400, "INVALID_REQUEST".into()), "{headers}");
        assert_eq!(answer.header("connection"), "close", "{headers}");
        assert_eq!(wire.rest(), b"", "{headers}");
    }
    let v1 = server.send("GET", "/v1/sessions", &[("Host", "a b")], b"");
    assert_eq!((v1.status, v1.json()["code"].as_str()), (400, Some("invalid_request")));
    // Without an authority in the target, the field is empty.
    assert_eq!(server.send("GET", "/serverRunning", &[("Host", "")], b"").status, 200);
}

#[test]
fn head_is_answered_without_a_body() {
    let server = Server::start(Setup::default());
    let mut wire = Wire::open(server.address);
    wire.write(b"HEAD /serverRunning HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(wire.rest()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_is_under_way_and_takes_nothing_new() {
    let stub = CredentialStub::start(Behaviour::DecideAfter(std::time::Duration::from_secs(2)));
    let mut server = Server::start(stub.setup(""));
    let mut idle = Wire::open(server.address);
    assert_eq!(idle.send("GET", "/serverRunning", "", b"").status, 200);

    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| server.create(("ada", "good"), json!({})));
        until("it is under way", || stub.asked().len() == 1);
        signal(server.pid(), rustix::process::Signal::TERM);
        assert_eq!(idle.rest(), b"");
        until("nothing new is taken", || try_send(server.address, "GET", "/serverRunning", &[], b"").is_err());
        assert_eq!(under_way.join().unwrap().pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()));
    });
    assert!(server.wait().success());
}

#[test]
fn an_upload_that_drips_does_not_hold_a_server_that_is_told_to_stop() {
    let mut server = Server::start(Setup::with_config("[shutdown]\ngrace = \"8s\"\n"));
    let mut slow = Wire::open(server.address);
    slow.write(b"POST /initializeSession HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{");
    // Whoever comes later is answered, so this one is being read.
    assert_eq!(server.send("GET", "/serverRunning", &[], b"").status, 200);

    signal(server.pid(), rustix::process::Signal::TERM);
    let answer = slow.answer();
    while slow.write(b" ") {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    assert_eq!(answer.pair(), (503, "NOT_READY".into()));
    assert!(server.wait().success());
}
