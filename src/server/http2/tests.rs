use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::Config;
use crate::http::forwarded::Proxies;
use crate::server::connection::Surface;
use crate::shutdown::AtStop;

/// Longer than any client may be idle; nobody waits for it, since the tests' time moves by itself.
const HOUR: Duration = Duration::from_secs(3_600);

/// More than is handed over at once.
const LARGE_BYTES: usize = 1 << 20;

/// Connects a client that takes so much of each answer until it says that it takes more; returns it, and what completes
/// with the connection's end.
async fn connect(window_bytes: u32, tasks: &Tasks) -> (SendRequest<Empty<Bytes>>, impl Future<Output = ()>) {
    let answers = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/large", get(|| async { vec![7; LARGE_BYTES] }))
        .route("/slow", get(|| async { sleep(HOUR).await }));
    let surface = Surface {
        answers: Arc::new(answers),
        proxies: Proxies::new(&Config::default(), None),
        tls: None,
        tasks: tasks.clone(),
    };
    let ends = Ends { addresses: None, is_encrypted: false, surface: Arc::new(surface) };
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tasks.spawn(async move {
        let _ = serve(ours, ends).await;
    });
    let (client, connection) = client::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window_bytes)
        .handshake(TokioIo::new(theirs))
        .await
        .unwrap();
    let (tell, ended) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let _ = connection.await;
        let _ = tell.send(());
    });
    (client, async move { ended.await.unwrap() })
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_while() {
    let tasks = Tasks::default();
    let (mut client, ended) = connect(65_535, &tasks).await;
    assert_eq!(client.send_request(request("/")).await.unwrap().status(), 200);
    let idle_since = Instant::now();
    ended.await;
    assert!((IDLE_TIMEOUT..IDLE_TIMEOUT + PARTING * 2).contains(&idle_since.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_its_time_is_not_idle() {
    let tasks = Tasks::default();
    let (mut client, _ended) = connect(65_535, &tasks).await;
    assert_eq!(client.send_request(request("/slow")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_answer_lying_does_not_hold_its_connection() {
    for (path, window_bytes) in [("/", 0), ("/large", 10_000)] {
        let tasks = Tasks::default();
        let (mut client, ended) = connect(window_bytes, &tasks).await;
        let answer = client.send_request(request(path)).await.unwrap();
        let answered_at = Instant::now();
        ended.await;
        assert!((IDLE_TIMEOUT..IDLE_TIMEOUT + PARTING * 2).contains(&answered_at.elapsed()), "{path}");
        drop(answer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_left_lying_behind_another_one_that_takes_its_time() {
    let tasks = Tasks::default();
    let (mut client, _ended) = connect(10_000, &tasks).await;
    let slow = client.send_request(request("/slow"));
    let mut left_lying = client.send_request(request("/large")).await.unwrap().into_body();
    let answered_at = Instant::now();

    // What it has been sent is not taken before the rest is given up.
    sleep(IDLE_TIMEOUT * 2).await;

    let mut taken = 0;
    let error = loop {
        match left_lying.frame().await.expect("the whole answer does not come") {
            Ok(frame) => taken += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => break error,
        }
    };
    assert!(taken <= 10_000 && answered_at.elapsed() < HOUR, "{taken}: {error}");
    assert_eq!(slow.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let tasks = Tasks::default();
    let (mut client, _ended) = connect(65_535, &tasks).await;
    let mut answer = client.send_request(request("/large")).await.unwrap().into_body();
    let mut taken = 0;
    while let Some(frame) = answer.frame().await {
        let bytes = frame.unwrap().data_ref().map_or(0, Bytes::len);
        taken += bytes;
        // 2 KiB a second.
        sleep(Duration::from_millis(bytes as u64 / 2)).await;
    }
    assert_eq!(taken, LARGE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_finishes_what_is_under_way_and_waits_for_nobody_else() {
    let tasks = Tasks::default();
    let (mut busy, _) = connect(65_535, &tasks).await;
    let answer = busy.send_request(request("/slow"));
    let (mut lazy, ended) = connect(0, &tasks).await;
    let left_lying = lazy.send_request(request("/")).await.unwrap();
    tasks.drain(AtStop::LeaveAgents);
    ended.await;
    assert_eq!(answer.await.unwrap().status(), 200);
    drop((left_lying, busy, lazy));
    tasks.ended().await;
}
