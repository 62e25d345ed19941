//! Request bodies: how large, how slow and how many at once.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Server, Setup, until};
use crate::wire::Wire;

const SMALL: &str = "[limits]\nbody = \"1 MiB\"\nbodies = \"4 MiB\"\n";

#[test]
fn fifty_mebibytes_of_data_work_and_keep_nobody_else_waiting() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let data = format!("[{}]", "\"0123456789 abcdef\",".repeat(50 << 20 >> 4) + "1");
    let body =
        format!(r#"{{"EMAIL":"{}","PASSWORD":"{}","PERSONA_TYPE":"CUSTOMERS","DATA":{{"a":{data}}}}}"#, ADA.0, ADA.1);
    let before = server.peak_memory();

    let created = std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let headers = [("Content-Type", "application/json")];
            server.send("POST", "/requestSessionCreation", &headers, body.as_bytes())
        });
        let mut others = 0;
        while !large.is_finished() {
            server.status(ADA.0);
            others += 1;
        }
        assert!(others > 0);
        large.join().unwrap()
    });

    assert_eq!(created.pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()));
    let taken = server.peak_memory() - before;
    assert!(taken < 8 * body.len() as u64, "{taken} bytes for {}", body.len());
    assert_eq!(server.initialise(ADA.0).status, 200);
}

#[test]
fn a_body_that_is_too_large_is_413_however_it_is_sent_and_the_client_can_read_so() {
    let server = Server::start(Setup::with_config(SMALL));
    let body = vec![b' '; 32 << 20];
    let post = |headers: &str| {
        let mut wire = Wire::open(server.address);
        wire.write(format!("POST /initializeSession HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        wire
    };

    let mut with_length = post(&format!("Content-Length: {}\r\n", body.len()));
    assert!(with_length.write(&body), "the rest of the body is thrown away, not refused");
    assert_eq!(with_length.answer().pair(), (413, "REQUEST_TOO_LARGE".into()));
    assert_eq!(with_length.rest(), b"");

    let mut chunked = post("Transfer-Encoding: chunked\r\n");
    assert!(chunked.write(format!("{:x}\r\n", body.len()).as_bytes()) && chunked.write(&body));
    chunked.write(b"\r\n0\r\n\r\n");
    assert_eq!(chunked.answer().pair(), (413, "REQUEST_TOO_LARGE".into()));

    let mut expecting = post(&format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len()));
    assert_eq!(expecting.answer().pair(), (413, "REQUEST_TOO_LARGE".into()));

    let unknown = server.send("POST", "/nothing", &[], &body);
    let unsupported = server.send("POST", "/requestSessionCreation", &[], &body);
    assert_eq!(unknown.pair(), (404, "NOT_FOUND".into()));
    assert_eq!(unsupported.pair(), (415, "UNSUPPORTED_CONTENT_TYPE".into()));
    let mut fits = post(&format!("Content-Length: {}\r\n", 1 << 20));
    fits.write(&body[..1 << 20]);
    assert_eq!(fits.answer().pair(), (400, "INVALID_REQUEST".into()));
}

#[test]
fn promises_take_no_memory_and_bytes_do_until_none_is_left() {
    let server = Server::start(Setup::with_config("[limits]\nbody = \"1 MiB\"\nbodies = \"1 MiB\"\n"));
    let head = format!("POST /initializeSession HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1 << 20);
    let unfinished = |bytes: usize| {
        let mut wire = Wire::open(server.address);
        wire.write(head.as_bytes());
        wire.write(&vec![b' '; bytes]);
        wire
    };
    let promises: Vec<_> = (0..40).map(|_| unfinished(1)).collect();
    assert_eq!(server.initialise("nobody").pair(), (404, "NO_SESSION_PENDING".into()));
    drop(promises);

    let holder = Mutex::new(None);
    until("the memory is used up", || {
        *holder.lock().unwrap() = Some(unfinished((1 << 20) - 1));
        (0..100).any(|_| server.initialise("nobody").status == 503)
    });
    let refused = server.initialise("nobody");
    assert_eq!(refused.pair(), (503, "SERVER_BUSY".into()));
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(server.send("GET", "/serverRunning", &[], b"").status, 200);
    drop(holder);
    until("the memory is free again", || server.initialise("nobody").status == 404);
}

/// Opens a creation from an address, and sends all of a body of so many bytes but the last one.
fn all_but_one(from: [u8; 4], server: &Server, bytes: usize) -> Wire {
    let mut wire = Wire::open_from(from, server.address);
    let head = "POST /requestSessionCreation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    wire.write(format!("{head}Content-Length: {bytes}\r\n\r\n").as_bytes());
    wire.write(&vec![b' '; bytes - 1]);
    wire
}

#[test]
fn large_bodies_that_are_held_leave_small_calls_their_memory() {
    const MIB: usize = 1 << 20;
    let server = Server::start(Setup::with_config("[limits]\nbody = \"1 MiB\"\nbodies = \"16 MiB\"\n"));
    let try_with = |bytes: usize| server.send("POST", "/initializeSession", &[], &vec![b' '; bytes]).status;
    let held = Mutex::new(Vec::new());

    // The server ends each of them after some seconds, so that only a small call between two refusals counts.
    let small_calls = Mutex::new(0);
    until("small calls came while large ones were refused", || {
        if try_with(MIB) != 503 {
            // More than there is room for: some are refused.
            held.lock().unwrap().extend((0..24).map(|_| all_but_one([127, 0, 0, 1], &server, MIB)));
            return false;
        }
        let small = server.initialise("nobody").pair();
        if try_with(MIB) == 503 {
            assert_eq!(small, (404, "NO_SESSION_PENDING".into()));
            *small_calls.lock().unwrap() += 1;
        }
        *small_calls.lock().unwrap() == 10
    });

    drop(held);
    until("the memory is free again", || try_with(MIB) == 400);
}

#[test]
fn an_address_holds_its_share_of_the_memory_and_others_go_on() {
    const MIB: usize = 1 << 20;
    const HOLDER: [u8; 4] = [127, 0, 0, 2];
    const OTHER: [u8; 4] = [127, 0, 0, 3];
    let config = "[limits]\nbody = \"1 MiB\"\nbodies = \"64 MiB\"\nbodies_per_address = \"4 MiB\"\n";
    let server = Server::start(Setup::with_config(config));
    let try_from = |from, bytes: usize| {
        let body = vec![b' '; bytes];
        let mut wire = Wire::open_from(from, server.address);
        wire.send("POST", "/requestSessionCreation", "Content-Type: application/json\r\n", &body)
    };
    let held = Mutex::new(Vec::new());

    until("one address holds its share", || {
        held.lock().unwrap().extend((0..5).map(|_| all_but_one(HOLDER, &server, MIB)));
        try_from(HOLDER, MIB).status == 503
    });

    let refused = try_from(HOLDER, MIB);
    assert_eq!(refused.pair(), (503, "SERVER_BUSY".into()));
    assert!(refused.json()["DETAIL"].as_str().unwrap().contains("your address"), "{:?}", refused.json());
    assert_eq!(try_from(OTHER, MIB).status, 400);
    drop(held);
    until("the share is free again", || try_from(HOLDER, MIB).status == 400);
}

#[test]
fn an_object_with_millions_of_keys_takes_no_more_memory_than_bodies_may() {
    let config = "[limits]\nbody = \"16 MiB\"\nbodies = \"64 MiB\"\n";
    let server = Server::start(Setup::with_config(config));
    let members: Vec<_> = (0..1_500_000).map(|n| format!("\"{n:x}\":0")).collect();
    let body = format!("{{{}}}", members.join(","));
    let before = server.peak_memory();

    let headers = [("Content-Type", "application/json")];
    let refused = server.send("POST", "/requestSessionCreation", &headers, body.as_bytes());

    assert_eq!(refused.pair(), (413, "REQUEST_TOO_LARGE".into()), "to try again would never help");
    assert!(refused.json()["DETAIL"].as_str().unwrap().contains("fewer keys"), "{:?}", refused.json());
    let taken = server.peak_memory() - before;
    assert!(taken < 64 << 20, "{taken} bytes for {}", body.len());
}

#[test]
fn keys_that_fit_only_beside_no_body_are_413_as_well() {
    let server = Server::start(Setup::with_config("[limits]\nbody = \"8 MiB\"\nbodies = \"8 MiB\"\n"));
    let members: Vec<_> = (0..60_000).map(|n| format!("\"{n:x}\":0")).collect();
    let headers = [("Content-Type", "application/json")];
    let create = |padding: usize| {
        let body = format!("{{{}{}}}", members.join(","), " ".repeat(padding));
        server.send("POST", "/requestSessionCreation", &headers, body.as_bytes()).status
    };
    assert_eq!(create(0), 400, "the keys alone fit");
    assert_eq!(create(4 << 20), 413);
}

#[test]
fn a_pickle_that_fills_the_memo_takes_no_more_memory_than_bodies_may() {
    let config = "[limits]\nbody = \"16 MiB\"\nbodies = \"64 MiB\"\n";
    let server = Server::start(Setup::with_config(config));
    let headers = [("Content-Type", "application/bytes")];
    let before = server.peak_memory();

    // LONG_BINPUT of numbers that are far apart, which needs a table.
    let puts = (0..3_000_000_u32).flat_map(|n| [b"r", &(n.wrapping_mul(2_654_435_761)).to_le_bytes()[..]].concat());
    let pickle: Vec<u8> = b"\x80\x02]".iter().copied().chain(puts).chain(*b".").collect();
    let refused = server.send("POST", "/requestSessionCreation", &headers, &pickle);

    assert_eq!(refused.pair(), (413, "REQUEST_TOO_LARGE".into()));
    let taken = server.peak_memory() - before;
    assert!(taken < 96 << 20, "{taken} bytes for {}", pickle.len());
}

#[test]
fn what_a_pickle_becomes_takes_memory_until_the_credentials_are_checked() {
    let stub = CredentialStub::start(Behaviour::DecideAfter(Duration::from_secs(2)));
    let server = Server::start(stub.setup("[limits]\nbody = \"1 MiB\"\nbodies = \"1500 KiB\"\n"));
    let create = |email: &str| {
        let headers = [("Content-Type", "application/bytes")];
        server.send("POST", "/requestSessionCreation", &headers, &pickle_that_grows(email, 9_000, 100))
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| create("ada"));
        until("it is being checked", || stub.asked().len() == 1);
        assert_eq!(create("bob").pair(), (503, "SERVER_BUSY".into()));
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(create("bob").status, 200);
}

/// A creation whose data is one text, many times over.
fn pickle_that_grows(email: &str, bytes: u32, times: usize) -> Vec<u8> {
    let text = |text: &str| [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    let mut pickle = b"\x80\x02}(".to_vec();
    for (key, value) in [("EMAIL", email), ("PASSWORD", "good"), ("PERSONA_TYPE", "CUSTOMERS")] {
        pickle.extend([text(key), text(value)].concat());
    }
    let letters = text(&"x".repeat(bytes as usize));
    pickle.extend([text("DATA"), b"}(".to_vec(), text("a"), b"](".to_vec(), letters, b"q\x00".to_vec()].concat());
    pickle.extend(b"h\x00".repeat(times - 1));
    pickle.extend(b"euu.");
    pickle
}

#[test]
fn an_upload_that_hardly_moves_is_ended_and_gives_its_place_free() {
    let server = Server::start(Setup::default());
    let mut slow = Wire::open(server.address);
    slow.write(b"POST /initializeSession HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n");
    std::thread::scope(|scope| {
        let dripping = scope.spawn(move || {
            for _ in 0..300 {
                if !slow.write(b" ") {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            slow.answer()
        });
        assert_eq!(server.initialise("nobody").status, 404);
        assert_eq!(dripping.join().unwrap().pair(), (408, "REQUEST_TIMEOUT".into()));
    });
}

#[test]
fn clients_that_are_gone_in_mid_body_leave_nothing_behind() {
    let server = Server::start(Setup::with_config(SMALL));
    server.add_customer(ADA);
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    for cut in [0, 1, body.len() / 2, body.len() - 1] {
        let mut wire = Wire::open(server.address);
        let head = format!(
            "POST /requestSessionCreation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        wire.write(head.as_bytes());
        wire.write(&body.as_bytes()[..cut]);
    }
    assert_eq!(server.status(ADA.0), "IDLE");
    assert_eq!(server.create(ADA, json!({})).status, 200);
}
