//! Bare servers: what a call costs where nothing but its HTTP is done, on hyper and tokio as the server uses them.
//!
//! - `lookup FILE BYTES`: `GET /sessionSTATUS?message=...`, decoded and parsed, and `GET /v1/sessions/ID`, each looked up
//!   among the emails and ids of the file; the latter is answered with so many bytes.
//! - `post BYTES`: reads a body whole and answers with so many bytes.
//! - `append FILE BYTES`: the same, but answers when the body is on the disk: one thread appends all that waits and syncs
//!   it at once.
//! - `proxy ADDRESS BYTES`: reads a body whole, asks the address with it as the message of a GET, and answers.
//! - `credentials`: says `REGISTERED` to everything: the credential server behind the proxy and the desk.
//!
//! Nothing is checked or logged. The first line of stdout is the address; it ends when its stdin does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock, mpsc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::oneshot;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let kind = match arguments.as_slice() {
        ["lookup", file, bytes] => Kind::lookup(file, number(bytes)),
        ["post", bytes] => Kind::Post { answer: filler(number(bytes)) },
        ["append", file, bytes] => Kind::Append { rows: writer(file), answer: filler(number(bytes)) },
        ["proxy", address, bytes] => Kind::proxy(address, number(bytes)),
        ["credentials"] => Kind::Credentials,
        _ => panic!("no such server: {arguments:?}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    runtime.spawn(serve(listener, Arc::new(kind)));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

enum Kind {
    Lookup { by_email: RwLock<HashMap<Box<str>, Persona>>, by_id: RwLock<HashMap<u128, Persona>>, answer: Bytes },
    Post { answer: Bytes },
    Append { rows: mpsc::Sender<Row>, answer: Bytes },
    Proxy { client: Client<HttpConnector, Full<Bytes>>, address: SocketAddr, answer: Bytes },
    Credentials,
}

type Persona = &'static str;

/// A body, and who waits until it is on the disk.
type Row = (Bytes, oneshot::Sender<()>);

impl Kind {
    /// Each line of the file is an email and an id.
    fn lookup(file: &str, bytes: usize) -> Self {
        let (mut by_email, mut by_id) = (HashMap::new(), HashMap::new());
        for line in std::fs::read_to_string(file).expect("a file of emails and ids").lines() {
            let (email, id) = line.split_once(' ').expect("an email and an id");
            by_email.insert(Box::from(email), "CUSTOMERS");
            by_id.insert(uuid(id).expect("an id"), "CUSTOMERS");
        }
        Self::Lookup { by_email: by_email.into(), by_id: by_id.into(), answer: filler(bytes) }
    }

    fn proxy(address: &str, bytes: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self::Proxy { client, address: address.parse().expect("an address"), answer: filler(bytes) }
    }

    async fn answer(&self, request: Request<Incoming>) -> (StatusCode, Bytes) {
        match self {
            Self::Lookup { by_email, by_id, answer } => {
                if let Some(id) = request.uri().path().strip_prefix("/v1/sessions/") {
                    let is_known = uuid(id).is_some_and(|id| by_id.read().expect("a lock").contains_key(&id));
                    return (if is_known { StatusCode::OK } else { StatusCode::NOT_FOUND }, answer.clone());
                }
                let query = request.uri().query().and_then(|query| query.strip_prefix("message=")).unwrap_or_default();
                let message: Cow<'_, [u8]> = percent_decode(query.as_bytes()).into();
                let Ok(message) = serde_json::from_slice::<Message<'_>>(&message) else {
                    return (StatusCode::BAD_REQUEST, Bytes::new());
                };
                match by_email.read().expect("a lock").get(&*message.email) {
                    Some(persona) if *persona == message.persona_type => {
                        (StatusCode::OK, Bytes::from_static(br#"{"MESSAGE":"PENDING"}"#))
                    }
                    Some(_) | None => (StatusCode::NOT_FOUND, Bytes::from_static(br#"{"MESSAGE":"IDLE"}"#)),
                }
            }
            Self::Post { answer } => {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                (if body.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK }, answer.clone())
            }
            Self::Append { rows, answer } => {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let (tell, written) = oneshot::channel();
                rows.send((body, tell)).expect("a thread that writes");
                let is_written = written.await.is_ok();
                (if is_written { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, answer.clone())
            }
            Self::Proxy { client, address, answer } => {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let text = std::str::from_utf8(&body).expect("a text");
                let message = utf8_percent_encode(text, NON_ALPHANUMERIC);
                let uri = format!("http://{address}/check_node?message={message}").parse().expect("a URL");
                let mut question = Request::new(Full::default());
                *question.uri_mut() = uri;
                let verdict = client.request(question).await.expect("an answer");
                let status = verdict.status();
                verdict.into_body().collect().await.expect("a body");
                (status, answer.clone())
            }
            Self::Credentials => (StatusCode::OK, Bytes::from_static(br#"{"MESSAGE":"REGISTERED"}"#)),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Message<'a> {
    #[serde(borrow)]
    persona_type: Cow<'a, str>,
    #[serde(borrow)]
    email: Cow<'a, str>,
}

async fn serve(listener: tokio::net::TcpListener, kind: Arc<Kind>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let kind = Arc::clone(&kind);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| async {
                let (status, body) = kind.answer(request).await;
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status;
                let json = hyper::header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
                Ok::<_, Infallible>(response)
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A thread that appends and syncs whatever has come while it was at the batch before.
fn writer(path: &str) -> mpsc::Sender<Row> {
    let (rows, waiting) = mpsc::channel::<Row>();
    let mut file = File::create(path).expect("a file");
    std::thread::spawn(move || {
        while let Ok(first) = waiting.recv() {
            let batch: Vec<Row> = std::iter::once(first).chain(waiting.try_iter()).collect();
            let bytes: Vec<u8> = batch.iter().flat_map(|(body, _)| body).copied().collect();
            file.write_all(&bytes).expect("room on the disk");
            file.sync_data().expect("a disk that syncs");
            for (_, tell) in batch {
                let _ = tell.send(());
            }
        }
    });
    rows
}

fn filler(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn uuid(text: &str) -> Option<u128> {
    let mut digits = text.chars().filter(|digit| *digit != '-');
    digits.try_fold(0, |value, digit| Some(value << 4 | u128::from(digit.to_digit(16)?)))
}
