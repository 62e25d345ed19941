use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use tower::ServiceExt;

use crate::config::{Config, Listen};
use crate::http::auth::Peer;
use crate::http::router::Answering;

/// Answers of a few words, whoever asks.
impl Answers for Router {
    fn answer(&self, _: Peer, request: Request) -> Answering {
        let answer = self.clone().oneshot(request);
        Answering {
            may_take_long: false,
            reply: Box::pin(async { answer.await.unwrap_or_else(|never| match never {}) }),
        }
    }
}

/// A server that treats this machine as any other: each of its addresses has so many connections.
async fn serve(connections_per_address: u32, tasks: &Tasks) -> SocketAddr {
    let config = Config { listen: Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into()), ..Config::default() };
    let listener = Listener::open(&config, None).await.unwrap();
    let address = listener.address().tcp().unwrap();
    let room = Room {
        all: Arc::new(Semaphore::new(100)),
        per_address: PerAddress::new(connections_per_address),
        is_unlimited: |_| false,
    };
    let answers = Arc::new(Router::new().route("/", get(|| async { "here" })));
    let surface =
        Arc::new(Surface { answers, proxies: Proxies::new(&Config::default(), None), tls: None, tasks: tasks.clone() });
    tasks.spawn(accept(listener, room, surface, tasks.clone(), Arc::default()));
    address
}

async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the connection is served; one that is refused ends without an answer.
async fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 12];
    // What is written to a connection that was closed is lost.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stream.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 200"
}

#[tokio::test]
async fn an_address_that_has_all_its_connections_gets_no_more_and_others_do() {
    let tasks = Tasks::default();
    let address = serve(2, &tasks).await;
    let mut first = connect([127, 0, 0, 1], address).await;
    let mut second = connect([127, 0, 0, 1], address).await;
    assert!(is_served(&mut first).await && is_served(&mut second).await);

    assert!(!is_served(&mut connect([127, 0, 0, 1], address).await).await);
    assert!(is_served(&mut connect([127, 0, 0, 2], address).await).await);

    first.shutdown().await.unwrap();
    // The answer's rest and the end: the server has closed, too.
    first.read_to_end(&mut Vec::new()).await.unwrap();
    while !is_served(&mut connect([127, 0, 0, 1], address).await).await {
        tokio::task::yield_now().await;
    }
    tasks.drain(AtStop::EndAgents);
    tasks.ended().await;
}

#[test]
fn this_machine_and_proxies_may_have_any_number() {
    let proxies =
        Proxies::new(&Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() }, None);
    for (address, is_counted) in [
        ("127.0.0.1", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("10.1.2.3", false),
        ("192.0.2.1", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(!is_unlimited(&proxies, address.parse().unwrap()), is_counted, "{address}");
    }
}
