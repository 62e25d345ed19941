//! HTTP/2 on plain connections, by prior knowledge.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use super::{LONG, curl, relayed, with_a_session};
use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Server, Setup, percent, signal, until};
use crate::wire::Wire;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[test]
fn a_client_that_knows_may_speak_http_2_at_once() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let base = format!("http://{}", server.address);
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let json = ["--header", "Content-Type: application/json", "--data", &body];
    let url = format!("{base}/requestSessionCreation");
    let (version, answer) = curl(&[&["--http2-prior-knowledge", &url][..], &json].concat());
    assert_eq!((version.as_str(), answer.pair()), ("2", (200, "SESSION_CREATION_REQUEST_ACCEPTED".into())));
    assert_eq!(curl(&["--http1.1", &format!("{base}/livez")]).0, "1.1");
}

#[test]
fn without_a_token_the_target_names_the_host_and_must_be_this_server() {
    let server = Server::start(Setup::default());
    let message = percent(&json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": "nobody"}).to_string());
    let url = format!("http://{}/sessionSTATUS?message={message}", server.address);
    assert_eq!(curl(&["--http2-prior-knowledge", &url]).1.pair(), (200, "IDLE".into()));
    let rebound = curl(&["--http2-prior-knowledge", "--header", "Host: example.org", &url]).1;
    assert_eq!(rebound.pair(), (401, "TOKEN_REQUIRED".into()));
}

#[test]
fn many_requests_share_a_connection_and_a_reset_one_is_cancelled_at_the_agent() {
    let (desk, ada) = with_a_session();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = connect(&desk.server).await;
        let body = relayed(&ada, &json!({"do": "wait-for-cancel"}));
        let mut waiting = client.clone();
        let asking = tokio::time::timeout(LONG, waiting.send_request(put(body)));
        let mut asking = Box::pin(asking);
        tokio::select! {
            answered = &mut asking => panic!("{answered:?}"),
            // Answered while the other request is open.
            () = async {
                while say(&client, relayed(&ada, &json!({"say": 1}))).await != json!({"say": 1}) {}
            } => {}
        }
        drop(asking);
        let cancels = relayed(&ada, &json!({"do": "cancels"}));
        let told = async { while say(&client, cancels.clone()).await == json!([]) {} };
        tokio::time::timeout(LONG, told).await.expect("the agent was told");
    });
}

#[test]
fn a_draining_server_says_goaway_and_answers_what_is_under_way() {
    let stub = CredentialStub::start(Behaviour::DecideAfter(std::time::Duration::from_secs(2)));
    let mut server = Server::start(stub.setup(""));
    let mut idle = Wire::open(server.address);
    idle.write(&[PREFACE, EMPTY_SETTINGS].concat());
    let (kind, _) = frame(&mut idle);
    assert_eq!(kind, SETTINGS);
    let body = json!({"EMAIL": "ada", "PASSWORD": "good", "PERSONA_TYPE": "CUSTOMERS", "DATA": {}}).to_string();
    let url = format!("http://{}/requestSessionCreation", server.address);

    std::thread::scope(|scope| {
        let json = "Content-Type: application/json";
        let under_way = scope.spawn(|| curl(&["--http2-prior-knowledge", "--header", json, "--data", &body, &url]));
        until("it is under way", || stub.asked().len() == 1);
        signal(server.pid(), rustix::process::Signal::TERM);
        while frame(&mut idle).0 != GOAWAY {}
        let (version, answer) = under_way.join().unwrap();
        assert_eq!((version.as_str(), answer.pair()), ("2", (200, "SESSION_CREATION_REQUEST_ACCEPTED".into())));
    });
    assert!(server.wait().success());
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Reads one frame (RFC 9113, section 4.1); returns its type and payload.
fn frame(wire: &mut Wire) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    wire.read_exact(&mut head);
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    wire.read_exact(&mut payload);
    (head[3], payload)
}

async fn connect(server: &Server) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    drive(connection);
    client
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(connection);
}

fn put(body: String) -> Request<Full<Bytes>> {
    let url = "http://localhost/handleSessionRequests";
    Request::put(url).body(Full::new(Bytes::from(body))).unwrap()
}

/// What the agent answers.
async fn say(client: &SendRequest<Full<Bytes>>, body: String) -> serde_json::Value {
    let answer = client.clone().send_request(put(body)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["RESPONSE"].clone()
}
