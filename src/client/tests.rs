use std::time::Duration;

use serde_json::value::RawValue;

use super::{Client, ClientError, Code, Creation, Happened, IdempotencyKey, NewSession, Part, Retries, StopFilter};
use crate::http_client::stub::{Stub, keep_alive};
use crate::id::SessionId;

const PASSWORD: &str = "correct horse";
const TOKEN: &str = "fds_hunter2";
const ID: &str = "01234567-89ab-7def-8123-456789abcdef";

fn id() -> SessionId {
    ID.parse().unwrap()
}

fn client(stub: &Stub) -> Client {
    let retries = Retries { attempts: 4, first_pause: Duration::from_millis(1), ..Retries::default() };
    Client::new(&format!("http://{}", stub.address)).unwrap().with_token(TOKEN).with_retries(retries)
}

fn new_session() -> NewSession<'static> {
    NewSession { email: "a@b".into(), password: PASSWORD.into(), persona: "CUSTOMERS".into(), data: None }
}

/// Hangs up on each connection that is not the last one, and answers that one.
async fn at_last(last: usize, answer: &str) -> Stub {
    let answer = answer.to_owned();
    Stub::serve(move |mut peer| {
        let answer = answer.clone();
        async move {
            peer.read_request().await;
            if peer.number >= last {
                peer.send(answer).await;
            }
        }
    })
    .await
}

fn problem(status: u16, code: &str, headers: &str) -> String {
    let body = format!(
        r#"{{"type":"/docs#{code}","title":"No","status":{status},"code":"{code}","detail":"No.","token":"{TOKEN}"}}"#
    );
    format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn stream(events: &str) -> String {
    let body = events.to_owned();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

fn assert_no_secret(error: &ClientError) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(TOKEN) && !text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn a_creation_whose_answers_are_lost_is_sent_again_under_one_key() {
    let (keys, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let stub = Stub::serve(move |mut peer| {
        let keys = keys.clone();
        async move {
            let head = peer.read_request().await.unwrap();
            keys.send(head.lines().find(|line| line.starts_with("idempotency-key")).unwrap().to_owned()).unwrap();
            if peer.number == 3 {
                let body = format!(r#"{{"id":"{ID}","email":"a@b","persona":"P","created":"then","token":"t"}}"#);
                peer.send(keep_alive(201, &body)).await;
            }
        }
    })
    .await;
    let Creation::Created(created) = client(&stub).create_session(&new_session(), None).await.unwrap() else {
        panic!("not created");
    };
    assert_eq!((created.id, stub.requests()), (id(), 3));
    let keys = [seen.recv().await.unwrap(), seen.recv().await.unwrap(), seen.recv().await.unwrap()];
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "{keys:?}");
}

#[tokio::test]
async fn a_request_goes_on_until_the_attempts_are_used_up_and_the_error_counts_them() {
    let stub = at_last(usize::MAX, "").await;
    let request: Box<RawValue> = serde_json::from_str("1").unwrap();
    let error = client(&stub).ask(id(), &request, None).await.unwrap_err();
    assert_no_secret(&error);
    assert_eq!(stub.requests(), 4);
    assert!(error.to_string().contains(", tried 4 times over "), "{error}");
}

#[tokio::test]
async fn what_may_have_taken_effect_and_has_no_key_is_sent_once() {
    let stub = at_last(2, &keep_alive(200, r#"{"matched":0,"stopping":[],"more":false}"#)).await;
    let error = client(&stub).stop_sessions(&StopFilter { all: true, ..StopFilter::default() }).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn get_delete_and_initialise_are_sent_again() {
    let session = format!(
        r#"{{"id":"{ID}","email":"a@b","persona":"P","phase":"RUNNING","epoch":1,"revision":1,"created":"then"}}"#
    );
    for number in 0..3 {
        let stub = at_last(2, &keep_alive(200, &session)).await;
        let client = client(&stub);
        let seen = match number {
            0 => client.session(id()).await,
            1 => client.stop(id(), false).await,
            _ => client.initialize(id(), Duration::from_secs(1)).await,
        };
        assert_eq!((seen.unwrap().id, stub.requests()), (id(), 2));
    }
}

#[tokio::test]
async fn a_server_that_says_when_is_asked_again_and_one_that_does_not_is_not() {
    for (status, headers, requests) in
        [(503, "retry-after: 0\r\n", 4), (429, "retry-after: 0\r\n", 4), (503, "", 1), (429, "retry-after: 60\r\n", 1)]
    {
        let stub = Stub::answering(problem(status, "server_busy", headers)).await;
        let error = client(&stub).session(id()).await.unwrap_err();
        assert_no_secret(&error);
        assert_eq!((error.code(), stub.requests()), (Some(Code::ServerBusy), requests), "{status} {headers}");
    }
}

#[tokio::test]
async fn a_refusal_has_its_code_and_is_not_argued_with() {
    for (name, code) in [("session_not_found", Some(Code::SessionNotFound)), ("of_a_newer_server", None)] {
        let stub = Stub::answering(problem(404, name, "")).await;
        let error = client(&stub).session(id()).await.unwrap_err();
        assert_eq!((error.code(), stub.requests()), (code, 1));
        assert_eq!(error.to_string(), format!("No. ({name})"));
    }
}

#[tokio::test]
async fn what_is_no_frontdesk_is_called_so() {
    for answer in [keep_alive(404, "no"), keep_alive(200, "<html>")] {
        let stub = Stub::answering(answer).await;
        let error = client(&stub).session(id()).await.unwrap_err();
        assert!(matches!(error, ClientError::Stranger { .. }), "{error}");
        assert_eq!(stub.requests(), 1);
    }
}

#[tokio::test]
async fn events_are_followed_over_connections_and_each_is_given_once() {
    let event = |number: u64| {
        format!(
            "id: {number}\nevent: log\ndata: {{\"number\":{number},\"kind\":\"log\",\"at\":\"then\",\"epoch\":1,\
             \"body\":{number}}}\n\n"
        )
    };
    let streams = [
        stream(&format!("event: snapshot\ndata: {{}}\n\n{}{}id: 3\nevent: log\n", event(1), event(2))),
        // An older event again, and one too far ahead.
        stream(&format!("{}{}{}", event(2), event(3), event(5))),
        stream(&format!("event: gap\ndata: {{\"first\":7}}\n\n{}", event(7))),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    ];
    let (known, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let stub = Stub::serve(move |mut peer| {
        let (streams, known) = (streams.clone(), known.clone());
        async move {
            let head = peer.read_request().await.unwrap();
            let line = head.lines().find(|line| line.starts_with("last-event-id")).unwrap();
            known.send(line.to_owned()).unwrap();
            peer.send(&streams[peer.number - 1]).await;
        }
    })
    .await;
    let mut events = client(&stub).events(id(), 0);
    let mut told = Vec::new();
    while let Some(happened) = events.next().await.unwrap() {
        told.push(match happened {
            Happened::Event(event) => event.number.to_string(),
            Happened::Gap(gap) => format!("gap to {}", gap.first),
        });
    }
    assert_eq!(told, ["1", "2", "3", "gap to 7", "7"]);
    drop(stub);
    for expected in ["last-event-id: 0", "last-event-id: 2", "last-event-id: 3", "last-event-id: 7"] {
        assert_eq!(seen.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn parts_that_were_given_are_not_given_again() {
    let streams = [
        stream("event: output\ndata: 1\n\nevent: output\ndata: 2\n\n"),
        stream(
            "event: output\ndata: 1\n\nevent: output\ndata: 2\n\nevent: output\ndata: 3\n\nevent: response\ndata: {\"response\":4.0}\n\n",
        ),
    ];
    let stub = Stub::serve(move |mut peer| {
        let streams = streams.clone();
        async move {
            peer.read_request().await;
            peer.send(&streams[peer.number - 1]).await;
        }
    })
    .await;
    let request: Box<RawValue> = serde_json::from_str("1").unwrap();
    let mut answer = client(&stub).ask_in_parts(id(), &request, None);
    let mut told = Vec::new();
    while let Some(part) = answer.next().await.unwrap() {
        told.push(match part {
            Part::Output(output) => format!("part {output}"),
            Part::Answer(answer) => format!("answer {answer}"),
        });
    }
    assert_eq!(told, ["part 1", "part 2", "part 3", "answer 4.0"]);
}

#[test]
fn a_key_has_1_to_255_bytes() {
    assert!(IdempotencyKey::new("").is_err() && IdempotencyKey::new(&"k".repeat(256)).is_err());
    assert!(IdempotencyKey::new("a\nb").is_err());
    assert!(IdempotencyKey::new(&"k".repeat(255)).is_ok());
    assert_ne!(IdempotencyKey::random(), IdempotencyKey::random());
}

#[test]
fn a_server_is_named_by_its_url() {
    for (server, address) in
        [("http://localhost:5500/", "http://localhost:5500"), ("https://desk.example.org", "https://desk.example.org")]
    {
        assert_eq!(super::address(server).unwrap(), address);
    }
    for wrong in ["", "localhost:5500", "127.0.0.1:5500", "ftp://x", "http://", "http://a:b@x", "http://x/?q=1"] {
        assert!(super::address(wrong).is_err(), "{wrong}");
    }
}
