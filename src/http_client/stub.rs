//! A raw TCP server for tests: it accepts, counts, and leaves every byte to the test. Used by the tests of the HTTP client
//! and of the remote credential check; never part of the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running server; its tasks end with the test's runtime.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// One accepted connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// Which connection this is, from 1.
    pub(crate) number: usize,
    counts: Arc<Counts>,
}

impl Stub {
    /// Serves every connection with `handle`, each in a task of its own.
    pub(crate) async fn serve<H, F>(handle: H) -> Self
    where
        H: Fn(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::serve_on("127.0.0.1:0", handle).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
    pub(crate) async fn serve_on<H, F>(bind: &str, handle: H) -> Self
    where
        H: Fn(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(handle(Peer { stream, number, counts: Arc::clone(&shared) }));
            }
        });
        Self { address, counts }
    }

    /// Reads one request on every connection, writes `answer`, and closes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::serve(move |mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.read_request().await;
                peer.send(&answer).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

impl Peer {
    /// Reads one request with its body; none if the client closed first.
    pub(crate) async fn read_request(&mut self) -> Option<String> {
        let mut request = Vec::new();
        while !is_whole(&request) {
            match self.stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Some(String::from_utf8(request).unwrap())
    }

    /// Writes as much as the client takes: it may have hung up, which is often the point of the test.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A complete answer that keeps the connection open.
pub(crate) fn keep_alive(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
