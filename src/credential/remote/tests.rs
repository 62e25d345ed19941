use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Breach, MAX_CHECKS_AT_ONCE, MAX_URL_BYTES, RemoteError, RemoteVerifier, Verdict};
use crate::credential::Credentials;
use crate::http_client::HttpClient;
use crate::http_client::stub::{Stub, keep_alive};
use crate::service_mapping::Address;

const ANN: Credentials<'_> = Credentials { email: "ann@example.com", password: "hunter2", persona: "CUSTOMER" };

fn verifier(timeout: Duration) -> RemoteVerifier {
    RemoteVerifier::new(HttpClient::new(), timeout)
}

async fn check(stub: &Stub, timeout: Duration) -> Result<Verdict, RemoteError> {
    let address = stub.address.to_string();
    let outcome = verifier(timeout).check(&address, &ANN).await;
    if let Err(error) = &outcome {
        let text = error.to_string();
        assert!(text.contains(&address), "names the server: {text}");
        assert!(!text.contains("ann") && !text.contains("hunter2"), "names no credentials: {text}");
        assert!(!text.contains('\n'), "is one line: {text}");
    }
    outcome
}

async fn answer(answer: impl Into<Vec<u8>>) -> Result<Verdict, RemoteError> {
    check(&Stub::answering(answer).await, Duration::from_secs(20)).await
}

async fn json(body: &str) -> Result<Verdict, RemoteError> {
    answer(keep_alive(200, body)).await
}

fn breach(outcome: Result<Verdict, RemoteError>) -> Breach {
    match outcome {
        Err(RemoteError::Protocol { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

fn decode(query: &str) -> serde_json::Value {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(query).collect();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn registered_is_a_yes() {
    for body in [
        r#"{"MESSAGE":"REGISTERED"}"#,
        r#" {"OTHER": [1, {"MESSAGE": 2}], "MESSAGE": "REGISTERED", "message": "NO"} "#,
        r#"{"\u004dESSAGE":"\u0052EGISTERED"}"#,
    ] {
        assert_eq!(json(body).await, Ok(Verdict::Accepted(None)), "{body}");
    }
}

#[tokio::test]
async fn any_other_string_is_a_no() {
    for message in ["NOT_REGISTERED", "registered", "Registered", "REGISTERED ", "", "hunter2"] {
        assert_eq!(json(&format!(r#"{{"MESSAGE":"{message}"}}"#)).await, Ok(Verdict::Refused), "{message}");
    }
}

#[tokio::test]
async fn an_object_without_a_string_message_is_a_failure() {
    for body in [
        r#"{"MESSAGE":true}"#,
        r#"{"MESSAGE":1}"#,
        r#"{"MESSAGE":null}"#,
        r#"{"MESSAGE":["REGISTERED"]}"#,
        r#"{"MESSAGE":{"MESSAGE":"REGISTERED"}}"#,
        r#"{"message":"REGISTERED"}"#,
        "{}",
    ] {
        assert_eq!(breach(json(body).await), Breach::NoMessage, "{body}");
    }
}

#[tokio::test]
async fn anything_but_one_json_object_is_a_failure() {
    for body in [
        "",
        " ",
        "REGISTERED",
        r#""REGISTERED""#,
        r#"["REGISTERED"]"#,
        r#"[{"MESSAGE":"REGISTERED"}]"#,
        r#"{"MESSAGE":"REGISTERED""#,
        r#"{"MESSAGE":"REGISTERED"} trailing"#,
        r#"{"MESSAGE":"NO","MESSAGE":"REGISTERED"}"#,
        "null",
    ] {
        assert_eq!(breach(json(body).await), Breach::NotAnObject, "{body}");
    }
}

#[tokio::test]
async fn any_other_status_is_a_failure_whatever_the_body_says() {
    for status in [201, 203, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 500, 503] {
        let body = if matches!(status, 204 | 304) { "" } else { r#"{"MESSAGE":"REGISTERED"}"# };
        let extra = "location: /check_node\r\n";
        let text = format!("HTTP/1.1 {status} X\r\n{extra}content-length: {}\r\n\r\n{body}", body.len());
        assert!(matches!(breach(answer(text).await), Breach::Status(s) if s.as_u16() == status), "{status}");
    }
}

#[tokio::test]
async fn the_framing_and_the_content_type_do_not_matter() {
    let yes = r#"{"MESSAGE":"REGISTERED"}"#;
    let (head, tail) = yes.split_at(9);
    for text in [
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{head}\r\nf\r\n{tail}\r\n0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{yes}"),
        format!("HTTP/1.0 200 OK\r\n\r\n{yes}"),
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=latin1\r\ncontent-length: 24\r\n\r\n{yes}"),
    ] {
        assert_eq!(answer(text.clone()).await, Ok(Verdict::Accepted(None)), "{text}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_failure() {
    for text in ["", "H", "HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"MESS", "garbage\r\n\r\n", "\0\u{1}\u{2}\r\n"]
    {
        assert!(matches!(answer(text).await, Err(RemoteError::Broken { .. })), "{text:?}");
    }
    let stub = Stub::serve(|mut peer| async move {
        peer.read_request().await;
        peer.reset();
    })
    .await;
    assert!(matches!(check(&stub, Duration::from_secs(20)).await, Err(RemoteError::Broken { .. })));
    assert_eq!(stub.requests(), 1, "and is not repeated");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = verifier(Duration::from_secs(20)).check(&address, &ANN).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let stub = Stub::serve(|mut peer| async move {
        peer.read_request().await;
        peer.read_request().await;
    })
    .await;
    let error = check(&stub, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_drips_ends_by_the_timeout() {
    for head in ["", "HTTP/1.1 200 OK\r\n\r\n"] {
        let stub = Stub::serve(move |mut peer| async move {
            peer.read_request().await;
            peer.send(head).await;
            while peer.send("H").await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let error = check(&stub, Duration::from_millis(300)).await.unwrap_err();
        // A drip of a status line is garbage at its second byte, and may be found so before the time is up.
        let expected = matches!(error, RemoteError::Timeout { .. });
        assert!(expected || (head.is_empty() && matches!(error, RemoteError::Broken { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_long_answer_is_a_failure() {
    let long = " ".repeat(10_000_000) + r#"{"MESSAGE":"REGISTERED"}"#;
    assert_eq!(breach(answer(keep_alive(200, &long)).await), Breach::TooLong);
    assert_eq!(breach(answer(format!("HTTP/1.1 200 OK\r\n\r\n{long}")).await), Breach::TooLong);
}

#[tokio::test]
async fn an_answer_of_64_kib_is_read() {
    let yes = r#"{"MESSAGE":"REGISTERED"}"#;
    let padded = " ".repeat(64 * 1_024 - yes.len()) + yes;
    assert_eq!(json(&padded).await, Ok(Verdict::Accepted(None)));
    assert_eq!(breach(json(&(padded + " ")).await), Breach::TooLong);
}

#[tokio::test]
async fn what_the_customer_wrote_arrives_exactly() {
    let (sent, mut arrived) = mpsc::unbounded_channel();
    let stub = Stub::serve(move |mut peer| {
        let sent = sent.clone();
        async move {
            while let Some(head) = peer.read_request().await {
                sent.send(head).unwrap();
                peer.send(keep_alive(200, r#"{"MESSAGE":"NO"}"#)).await;
            }
        }
    })
    .await;
    let verifier = verifier(Duration::from_secs(20));
    let address = stub.address.to_string();
    for password in [
        "&message={\"EMAIL\":\"eve\"}",
        "%26message=x",
        " spaces + plus ",
        "\"quotes\" 'and' \\backslashes\\",
        "new\r\nlines: x\r\n\r\nGET / HTTP/1.1\t\0\u{1f}\u{7f}",
        "emoji 🦀 ü 漢字",
        "#fragment?query=1;a/b/../c@d:e",
        "-._~AZaz09",
        "",
    ] {
        let credentials = Credentials { email: password, password, persona: "a&b" };
        verifier.check(&address, &credentials).await.unwrap();
        let head = arrived.recv().await.unwrap();
        let line = head.lines().next().unwrap();
        let query = line.strip_prefix("GET /check_node?message=").unwrap().strip_suffix(" HTTP/1.1").unwrap();
        assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{query}");
        let expected = serde_json::json!({ "EMAIL": password, "PASSWORD": password, "TYPE": "a&b" });
        assert_eq!(decode(query), expected);
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_url_of_65_534_bytes_is_sent_and_of_one_more_is_not() {
    let (sent, mut arrived) = mpsc::unbounded_channel();
    let stub = Stub::serve(move |mut peer| {
        let sent = sent.clone();
        async move {
            sent.send(peer.read_request().await.unwrap()).unwrap();
            peer.send(keep_alive(200, r#"{"MESSAGE":"REGISTERED"}"#)).await;
        }
    })
    .await;
    let address = stub.address.to_string();
    let empty = super::url("http", &address, &Credentials { password: "", ..ANN }).unwrap();
    let password = "p".repeat(MAX_URL_BYTES - empty.len());
    let verifier = verifier(Duration::from_secs(20));

    let fits = verifier.check(&address, &Credentials { password: &password, ..ANN }).await;
    assert_eq!(fits, Ok(Verdict::Accepted(None)));
    let line = arrived.recv().await.unwrap();
    let target = line.split(' ').nth(1).unwrap();
    assert_eq!("http://".len() + address.len() + target.len(), MAX_URL_BYTES);

    let longer = verifier.check(&address, &Credentials { password: &(password + "p"), ..ANN }).await;
    assert_eq!(longer, Err(RemoteError::UrlTooLong { address: address.clone() }));
    let huge = verifier.check(&address, &Credentials { password: &"\0".repeat(1 << 24), ..ANN }).await;
    assert_eq!(huge, Err(RemoteError::UrlTooLong { address }));
    assert_eq!(stub.connections(), 1);
}

#[test]
fn the_url_is_written_into_one_buffer() {
    let url = super::url("https", "h:1", &Credentials { password: "üü", ..ANN }).unwrap();
    assert!(url.starts_with("https://h:1/check_node?message=%7B%22EMAIL%22%3A%22ann%40example.com%22%2C%22PASSWORD"));
    assert!(url.ends_with("%22%2C%22TYPE%22%3A%22CUSTOMER%22%7D"), "{url}");
    assert_eq!(url.capacity(), 192 + 3 + 3 * (15 + 4 + 8), "never grown");
}

#[test]
fn addresses_are_host_and_port_with_or_without_a_scheme() {
    for (address, scheme, authority) in [
        ("10.0.0.1:80", "http", "10.0.0.1:80"),
        ("auth.example:8080", "http", "auth.example:8080"),
        ("[::1]:80", "http", "[::1]:80"),
        ("http://auth.example", "http", "auth.example"),
        ("https://auth.example/", "https", "auth.example"),
        ("HTTPS://auth.example:8443", "https", "auth.example:8443"),
        ("https://[2001:db8::1]:443", "https", "[2001:db8::1]:443"),
    ] {
        assert_eq!(Address::parse(address), Some(Address { scheme, authority }), "{address}");
        let request = super::request(address, &ANN).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (request.uri().scheme_str(), request.uri().authority().unwrap().as_str()),
            (Some(scheme), authority)
        );
    }
}

#[test]
fn an_address_that_is_more_or_less_than_that_is_refused_unsent() {
    for address in
        ["", "ftp://h", "http://", "h/path", "h?q", "h#f", "user:pw@h", "h:1 2", "h\r\nx", "http://h//", "::1", "[::1"]
    {
        let outcome = super::request(address, &ANN);
        assert!(matches!(outcome, Err(RemoteError::InvalidAddress { .. })), "{address:?}");
    }
}

#[tokio::test]
async fn an_ipv6_literal_can_be_checked() {
    let stub = Stub::serve_on("[::1]:0", |mut peer| async move {
        peer.read_request().await;
        peer.send(keep_alive(200, r#"{"MESSAGE":"REGISTERED"}"#)).await;
    })
    .await;
    assert_eq!(check(&stub, Duration::from_secs(20)).await, Ok(Verdict::Accepted(None)));
}

/// Runs `checks` at once against a server that answers none before `together` have arrived, and returns how many it ever
/// had at the same time. A verifier that cannot have `together` on their way at once would never end.
async fn overlap(verifier: RemoteVerifier, checks: usize, together: usize) -> usize {
    let server = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0), Semaphore::new(0)));
    let shared = Arc::clone(&server);
    let stub = Stub::serve(move |mut peer| {
        let shared = Arc::clone(&shared);
        async move {
            let (now, most, closed_to_open) = &*shared;
            while peer.read_request().await.is_some() {
                let here = now.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(here, Ordering::SeqCst);
                if here == together {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    closed_to_open.close();
                }
                closed_to_open.acquire().await.unwrap_err();
                now.fetch_sub(1, Ordering::SeqCst);
                peer.send(keep_alive(200, r#"{"MESSAGE":"REGISTERED"}"#)).await;
            }
        }
    })
    .await;
    let verifier = Arc::new(verifier);
    let mut running = JoinSet::new();
    for _ in 0..checks {
        let (verifier, address) = (Arc::clone(&verifier), stub.address.to_string());
        running.spawn(async move { verifier.check(&address, &ANN).await });
    }
    while let Some(outcome) = running.join_next().await {
        assert_eq!(outcome.unwrap(), Ok(Verdict::Accepted(None)));
    }
    server.1.load(Ordering::SeqCst)
}

#[tokio::test]
async fn at_least_256_checks_run_at_once() {
    assert_eq!(overlap(verifier(Duration::from_secs(60)), 256, 256).await, 256);
}

#[tokio::test]
async fn checks_beyond_the_slots_wait() {
    let verifier = RemoteVerifier { slots: Semaphore::new(8), ..verifier(Duration::from_secs(60)) };
    assert_eq!(overlap(verifier, 50, 8).await, 8);
}

#[tokio::test]
async fn waiting_for_a_slot_counts_towards_the_timeout() {
    let verifier = verifier(Duration::from_millis(100));
    let _all = verifier.slots.acquire_many(u32::try_from(MAX_CHECKS_AT_ONCE).unwrap()).await.unwrap();
    let error = verifier.check("127.0.0.1:9", &ANN).await.unwrap_err();
    assert!(matches!(error, RemoteError::Timeout { .. }), "{error}");
}
