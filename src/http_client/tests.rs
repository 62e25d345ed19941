use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, Uri};

use super::connector::Connector;
use super::stub::{Peer, Stub, keep_alive};
use super::{FetchError, HttpClient};

const LONG: Duration = Duration::from_secs(20);
const SECRET: &str = "hunter2";

fn client() -> HttpClient {
    HttpClient::over(Connector::without_roots())
}

fn request(method: Method, stub: &Stub) -> Request<Full<Bytes>> {
    let uri = format!("http://{}/path?message={SECRET}", stub.address);
    Request::builder().method(method).uri(uri).body(Full::default()).unwrap()
}

async fn get(client: &HttpClient, stub: &Stub) -> Result<Response<Bytes>, FetchError> {
    fetch(client, request(Method::GET, stub)).await
}

async fn fetch(client: &HttpClient, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, FetchError> {
    let outcome = client.fetch(request, LONG, 1_000).await;
    if let Err(error) = &outcome {
        assert_no_secret(error);
    }
    outcome
}

fn assert_no_secret(error: &FetchError) {
    let text = format!("{error} {error:?} {:?}", error.source());
    assert!(!text.contains(SECRET) && !text.contains("/path"), "{text}");
}

/// Lets the client's tasks notice what the server did to its connections.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Answers the first request of the first connection, then does `then` with that connection; answers all others.
async fn second_request<F>(then: fn(Peer) -> F) -> Stub
where
    F: Future<Output = ()> + Send + 'static,
{
    Stub::serve(move |mut peer| async move {
        while peer.read_request().await.is_some() {
            peer.send(keep_alive(200, "ok")).await;
            if peer.number == 1 {
                return then(peer).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_comes_with_status_headers_and_body() {
    let stub = Stub::answering("HTTP/1.1 418 Teapot\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = get(&client(), &stub).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-a"], &answer.body()[..]),
        (418, &"b".parse().unwrap(), &b"hello"[..])
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let stub = Stub::answering("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(get(&client(), &stub).await.unwrap().status().as_u16(), 302);
    assert_eq!(stub.requests(), 1);
}

#[tokio::test]
async fn an_ipv6_literal_is_an_address() {
    let stub = Stub::serve_on("[::1]:0", |mut peer| async move {
        assert!(peer.read_request().await.unwrap().contains("host: [::1]:"));
        peer.send(keep_alive(200, "six")).await;
    })
    .await;
    assert_eq!(&get(&client(), &stub).await.unwrap().body()[..], b"six");
}

#[tokio::test]
async fn connections_are_reused() {
    let stub = second_request(|mut peer| async move {
        while peer.read_request().await.is_some() {
            peer.send(keep_alive(200, "ok")).await;
        }
    })
    .await;
    let client = client();
    for _ in 0..5 {
        get(&client, &stub).await.unwrap();
        settle().await;
    }
    assert_eq!((stub.connections(), stub.requests()), (1, 5));
}

#[tokio::test]
async fn an_answer_that_is_whole_frees_its_connection_also_unread_and_one_that_is_not_closes_it() {
    let stub = Stub::serve(|mut peer| async move {
        while peer.read_request().await.is_some() {
            let whole = peer.number == 1;
            peer.send(if whole {
                keep_alive(202, "taken")
            } else {
                "HTTP/1.1 202 OK\r\ncontent-length: 9\r\n\r\nhalf".into()
            })
            .await;
        }
    })
    .await;
    let client = client();
    for expected in [1, 1] {
        drop(client.open(request(Method::POST, &stub), false).await.unwrap());
        assert_eq!(stub.connections(), expected);
    }
    let kept = client.open(request(Method::POST, &stub), false).await.unwrap();
    drop(client.open(request(Method::POST, &stub), false).await.unwrap());
    assert_eq!((stub.connections(), stub.requests()), (2, 4), "the first was in use");
    drop(kept);
    drop(client.open(request(Method::POST, &stub), false).await.unwrap());
    assert_eq!((stub.connections(), stub.requests()), (2, 5), "the second was closed");
}

#[tokio::test]
async fn a_body_comes_while_it_is_read() {
    let stub = Stub::serve(|mut peer| async move {
        while peer.read_request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            settle().await;
            peer.send("1\r\nb\r\n").await;
            settle().await;
            peer.send("0\r\n\r\n").await;
        }
    })
    .await;
    let client = client();
    for _ in 0..2 {
        let mut body = client.open(request(Method::POST, &stub), false).await.unwrap().into_body();
        for expected in ["a", "b"] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
        }
        assert!(body.frame().await.is_none());
    }
    assert_eq!((stub.connections(), stub.requests()), (1, 2));
}

#[tokio::test]
async fn an_idle_connection_the_server_closed_is_replaced_silently() {
    let stub = second_request(|peer| async move { drop(peer) }).await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    get(&client, &stub).await.unwrap();
    assert_eq!((stub.connections(), stub.requests()), (2, 2));
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_goes_over_another_connection_whatever_its_method() {
    let stub = second_request(|peer| async move { drop(peer) }).await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    fetch(&client, request(Method::POST, &stub)).await.unwrap();
    assert_eq!((stub.connections(), stub.requests()), (2, 2));
}

#[tokio::test]
async fn a_reused_connection_that_closes_unanswered_costs_one_repetition_on_a_fresh_one() {
    for reset in [false, true] {
        let stub = second_request(if reset {
            |mut peer: Peer| -> Boxed {
                Box::pin(async move {
                    peer.read_request().await;
                    peer.reset();
                })
            }
        } else {
            |mut peer: Peer| -> Boxed {
                Box::pin(async move {
                    peer.read_request().await;
                })
            }
        })
        .await;
        let client = client();
        get(&client, &stub).await.unwrap();
        settle().await;
        assert_eq!(get(&client, &stub).await.unwrap().status(), 200);
        assert_eq!((stub.connections(), stub.requests()), (2, 3), "reset: {reset}");
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test]
async fn the_repetition_is_the_last() {
    let stub = Stub::serve(|mut peer| async move {
        peer.read_request().await;
        if peer.number == 1 {
            peer.send(keep_alive(200, "ok")).await;
            peer.read_request().await;
        }
    })
    .await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    let error = get(&client, &stub).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
    assert_eq!((stub.connections(), stub.requests()), (2, 3));
}

#[tokio::test]
async fn a_post_is_never_repeated() {
    let stub = second_request(|mut peer| async move {
        peer.read_request().await;
    })
    .await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    let error = fetch(&client, request(Method::POST, &stub)).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
    assert_eq!((stub.connections(), stub.requests()), (1, 2));
}

#[tokio::test]
async fn a_fresh_connection_that_closes_unanswered_is_an_error() {
    let stub = Stub::answering("").await;
    let error = get(&client(), &stub).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
    assert_eq!((stub.connections(), stub.requests()), (1, 1));
}

#[tokio::test]
async fn a_reused_connection_that_closes_after_the_first_byte_is_an_error() {
    let stub = second_request(|mut peer| async move {
        peer.read_request().await;
        peer.send("H").await;
    })
    .await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    let error = get(&client, &stub).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
    assert_eq!((stub.connections(), stub.requests()), (1, 2));
}

#[tokio::test]
async fn an_interim_answer_counts_as_a_byte_of_an_answer() {
    let stub = second_request(|mut peer| async move {
        peer.read_request().await;
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    })
    .await;
    let client = client();
    get(&client, &stub).await.unwrap();
    settle().await;
    get(&client, &stub).await.unwrap_err();
    assert_eq!((stub.connections(), stub.requests()), (1, 2));
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error_that_names_the_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/path?message={SECRET}", listener.local_addr().unwrap());
    drop(listener);
    let error = fetch(&client(), Request::get(uri).body(Full::default()).unwrap()).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
    assert!(error.to_string().starts_with("cannot connect: tcp connect error: Connection refused"), "{error}");
}

#[tokio::test]
async fn https_without_certificate_authorities_fails_and_says_so() {
    let stub = Stub::answering("").await;
    let uri = format!("https://{}/path?message={SECRET}", stub.address);
    let error = fetch(&client(), Request::get(uri).body(Full::default()).unwrap()).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
    assert!(error.to_string().contains("certificate authorities"), "{error}");
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn https_to_a_server_that_speaks_no_tls_is_a_connect_error() {
    let stub = Stub::serve(|mut peer| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.read_request().await;
    })
    .await;
    let uri = format!("https://{}/path?message={SECRET}", stub.address);
    let error = fetch(&HttpClient::new(), Request::get(uri).body(Full::default()).unwrap()).await.unwrap_err();
    assert!(matches!(error, FetchError::Connect(_)), "{error}");
}

#[tokio::test]
async fn plain_http_works_whatever_the_machine_trusts() {
    let stub = Stub::answering(keep_alive(200, "ok")).await;
    get(&HttpClient::new(), &stub).await.unwrap();
}

#[tokio::test]
async fn a_uri_that_names_no_web_server_is_refused_unsent() {
    for uri in ["/path?message=hunter2", "ftp://127.0.0.1/path?message=hunter2", "127.0.0.1:80", "*"] {
        let request = Request::get(uri.parse::<Uri>().unwrap()).body(Full::default()).unwrap();
        let error = fetch(&client(), request).await.unwrap_err();
        assert!(matches!(error, FetchError::InvalidUri), "{uri}: {error}");
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let chunked =
        |n| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{n:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(n));
    let until_close = |n| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(n));
    let with_length = |n| keep_alive(200, &"x".repeat(n));
    for framing in [&chunked as &dyn Fn(usize) -> String, &until_close, &with_length] {
        let stub = Stub::answering(framing(1_000)).await;
        assert_eq!(get(&client(), &stub).await.unwrap().body().len(), 1_000);
        let stub = Stub::answering(framing(1_001)).await;
        let error = get(&client(), &stub).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: 1_000 }), "{error}");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_an_error() {
    let stub = Stub::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let error = get(&client(), &stub).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
}

#[tokio::test]
async fn an_endless_head_is_an_error() {
    let stub = Stub::answering(format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1_000_000))).await;
    let error = get(&client(), &stub).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport(_)), "{error}");
}

#[tokio::test]
async fn the_timeout_spans_the_whole_answer() {
    let stub = Stub::serve(|mut peer| async move {
        peer.read_request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n").await;
        while peer.send("x").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let after = Duration::from_millis(200);
    let error = client().fetch(request(Method::GET, &stub), after, 1_000).await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    assert_eq!(error.to_string(), "no complete answer within 200ms");
}
