//! What stands between a client and a server: it goes on when the server is another one, and can lose answers and cut
//! connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A relay; its threads end with the test.
pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: Mutex<SocketAddr>,
    /// Answers that are still to be lost.
    to_lose: AtomicUsize,
    /// The open connections to clients.
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to a server.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { server: Mutex::new(server), to_lose: AtomicUsize::new(0), open: Mutex::default() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state) = (client.unwrap(), Arc::clone(&shared));
                thread::spawn(move || state.pass(client));
            }
        });
        Self { address, state }
    }

    /// Connections from here on are to this server.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.state.server.lock().unwrap() = server;
    }

    /// Loses the next answers, of which the first byte has come: whatever was asked has been done.
    pub fn lose(&self, answers: usize) {
        self.state.to_lose.store(answers, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub fn still_to_lose(&self) -> usize {
        self.state.to_lose.load(Ordering::SeqCst)
    }

    /// Breaks off all connections.
    pub fn cut(&self) {
        for client in self.state.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn pass(&self, mut client: TcpStream) {
        let server = *self.server.lock().unwrap();
        let Ok(mut server) = TcpStream::connect(server) else { return };
        self.open.lock().unwrap().push(client.try_clone().unwrap());
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            // Either end may go at any time.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        let mut bytes = [0; 16 << 10];
        while let Ok(length @ 1..) = server.read(&mut bytes) {
            let lose = |left: usize| left.checked_sub(1);
            let is_lost = self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok();
            if is_lost || client.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}
