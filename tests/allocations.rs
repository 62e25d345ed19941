//! How often the busiest calls allocate, held to a bound: a guard that a slow or busy machine can't trip.
//!
//! A node of its own on one thread, called through its router without a connection. Counted is what that thread
//! allocates from the request to the last byte of the answer; the store's writer and the hashing threads are not. Of
//! several calls the one with the least counts, since a table that happens to grow is nobody's fault.
//!
//! A binary of its own, because counting takes another allocator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use frontdesk::config::Config;
use frontdesk::http::auth::{Ends, Peer};
use frontdesk::http::router::{Answers, Router};
use frontdesk::node::Node;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ADA: &str = "ada@example.org";
const PASSWORD: &str = "four birds on two wires";
/// So many calls are looked at.
const CALLS: usize = 20;

#[test]
fn the_busiest_calls_allocate_no_more_than_is_recorded() {
    let desk = Desk::start(None);
    let remote = Desk::start(Some(credential_server()));
    // Its answer is remembered from here on.
    let token = desk.create().1;
    let message = "%7B%22PERSONA_TYPE%22%3A%22CUSTOMERS%22%2C%22EMAIL%22%3A%22ada%40example.org%22%7D";
    let status = format!("/sessionSTATUS?message={message}");
    let view = format!("/v1/sessions/{}", desk.session(&token));

    let counts = [
        ("GET /sessionSTATUS", desk.least(|| desk.get(&status, None)), 15),
        ("GET /v1/sessions/{id}", desk.least(|| desk.get(&view, Some(&token))), 21),
        ("POST /requestSessionCreation", desk.least_of_creations(token), 33),
        ("the same, which asks a remote credential server", remote.least_of_creations(remote.create().1), 46),
    ];

    let wrong: Vec<String> =
        counts.into_iter().filter_map(|(call, count, recorded)| complaint(call, count, recorded)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What to do if a call allocates more than is recorded, or so much less that the bound guards nothing.
fn complaint(call: &str, count: u64, recorded: u64) -> Option<String> {
    let advice = if count > recorded {
        "take the new ones out of the request's path, or record the number and say in the commit what they are for"
    } else if count + recorded / 5 < recorded {
        "record the number, so that it stays so low"
    } else {
        return None;
    };
    Some(format!("{call} allocates {count} times, and {recorded} are recorded in tests/allocations.rs: {advice}"))
}

/// A credential server that knows everybody, on a thread of its own.
fn credential_server() -> SocketAddr {
    const YES: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"MESSAGE\":\"REGISTERED\"}";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // Each question comes in one piece, and the next one when this is answered.
            let mut question = [0; 4_096];
            while connection.read(&mut question).is_ok_and(|read| read > 0) {
                connection.write_all(YES).unwrap();
            }
        }
    });
    address
}

/// A node that is called without connections.
struct Desk {
    runtime: Runtime,
    router: Router,
    address: SocketAddr,
    node: Node,
    _directory: TempDir,
}

impl Desk {
    /// Starts it with a remote credential server, or one that knows Ada.
    fn start(credential_server: Option<SocketAddr>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mapping = directory.path().join("mapping.json");
        let services: Value = credential_server.map_or(json!({}), |address| json!({"CREDENTIAL_SERVER": address}));
        std::fs::write(&mapping, services.to_string()).unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().join("data"),
            service_mapping: credential_server.map(|_| mapping),
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(async {
            let node = Node::start(config, None).await.unwrap();
            node.embedded.add(ADA, PASSWORD.into()).await.unwrap();
            node
        });
        let router = Router::new(node.app.clone());
        let address = node.address().tcp().unwrap();
        Self { runtime, router, address, node, _directory: directory }
    }

    /// The least that one of several calls allocates; each is made from a request that is there already.
    fn least(&self, request: impl Fn() -> Request<Body>) -> u64 {
        (0..CALLS).map(|_| self.counted(request()).0).min().unwrap()
    }

    /// The same for creations, each after a stop of the session before.
    fn least_of_creations(&self, mut token: String) -> u64 {
        let mut least = u64::MAX;
        for _ in 0..CALLS {
            let path = format!("/v1/sessions/{}", self.session(&token));
            self.counted(self.request("DELETE", &path, Some(&token), String::new()));
            let (count, fresh) = self.create();
            token = fresh;
            least = least.min(count);
        }
        least
    }

    /// Creates Ada's session; what that allocated, and its token.
    fn create(&self) -> (u64, String) {
        let body = json!({"EMAIL": ADA, "PASSWORD": PASSWORD, "PERSONA_TYPE": "CUSTOMERS", "DATA": {"topic": "tea"}});
        let (count, answer) = self.counted(self.request("POST", "/requestSessionCreation", None, body.to_string()));
        assert_eq!(answer["MESSAGE"], "SESSION_CREATION_REQUEST_ACCEPTED", "{answer}");
        (count, answer["TOKEN"].as_str().unwrap().to_owned())
    }

    /// The id of the session that is live.
    fn session(&self, token: &str) -> String {
        let claimed = self.node.app.store.desk().token_key.read(token).unwrap();
        claimed.session.to_string()
    }

    fn get(&self, path: &str, token: Option<&str>) -> Request<Body> {
        self.request("GET", path, token, String::new())
    }

    /// A request as the server hands it to the router.
    fn request(&self, method: &str, path: &str, token: Option<&str>, body: String) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.header(CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap()
    }

    /// Makes a call that succeeds; how often this thread allocated meanwhile, and the answer.
    fn counted(&self, request: Request<Body>) -> (u64, Value) {
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let ends = Some(Ends { remote, local: self.address });
        let peer = Peer { ends, client: remote.ip(), is_proxy: false, is_secure: false };
        let mut answer = None;
        let info = allocation_counter::measure(|| {
            answer = Some(self.runtime.block_on(async {
                let response = self.router.answer(peer, request).reply.await;
                (response.status(), response.into_body().collect().await.unwrap().to_bytes())
            }));
        });
        let (status, body) = answer.unwrap();
        assert!(status.is_success(), "{status}: {body:?}");
        (info.count_total, serde_json::from_slice(&body).unwrap_or_default())
    }
}
