//! Connections: accepts them, speaks HTTP/1.1 and HTTP/2 on them, plain or over TLS, and lets them end in order.
//!
//! It owns the listening socket and the number of open connections. Above the limit of all nothing is accepted and
//! clients wait in the kernel's queue; above that of one address a connection is closed at once. When the server drains,
//! idle connections are closed at once and busy ones after the answers under way.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::forwarded::Proxies;
use crate::http::router::Answers;
use crate::metrics::Metrics;
use crate::metrics::level::Present;
use crate::shutdown::{AtStop, Tasks};

mod connection;
mod http1;
mod http2;
mod lingering;
pub mod listener;
mod per_address;
mod preface;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
pub mod tls;
pub(crate) mod unix;

use connection::Surface;
use listener::Listener;
use per_address::{Complaints, PerAddress, Place};
use tls::Tls;

/// How a server listens, and to how many.
pub struct Server {
    /// Answers the requests.
    pub answers: Arc<dyn Answers>,
    /// Tell who asks.
    pub proxies: Proxies,
    /// With a certificate every connection is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// How many connections may be open.
    pub connections: u32,
    /// How many of them one address may have, unless it is this machine's or a proxy's.
    pub connections_per_address: u32,
    /// Counts connections.
    pub metrics: Arc<Metrics>,
}

impl Server {
    /// Serves until the tasks are told to drain; the connections' tasks end by themselves after that.
    pub async fn run(self, listener: Listener, tasks: Tasks) {
        let Self { answers, proxies, tls, connections, connections_per_address, metrics } = self;
        let known = proxies.clone();
        let room = Room {
            all: Arc::new(Semaphore::new(connections as usize)),
            per_address: PerAddress::new(connections_per_address),
            is_unlimited: move |address| is_unlimited(&known, address),
        };
        let surface = Arc::new(Surface { answers, proxies, tls, tasks: tasks.clone() });
        accept(listener, room, surface, tasks, metrics).await;
    }
}

/// Whether an address has no limit of its own: many share it, or it is trusted with this machine. Over a Unix socket
/// nobody has one.
fn is_unlimited(proxies: &Proxies, address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || proxies.is_proxy(address)
}

/// How many connections may be open.
struct Room<F> {
    all: Arc<Semaphore>,
    per_address: PerAddress,
    /// Whether an address has no limit of its own.
    is_unlimited: F,
}

impl<F: Fn(IpAddr) -> bool> Room<F> {
    /// The place that a connection from this address takes beside that among all; an error if it has no place.
    fn enter(&self, address: IpAddr) -> Result<Option<Place>, ()> {
        if (self.is_unlimited)(address) { Ok(None) } else { self.per_address.enter(address).map(Some).ok_or(()) }
    }
}

async fn accept(
    listener: Listener,
    room: Room<impl Fn(IpAddr) -> bool>,
    surface: Arc<Surface>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
) {
    let mut complaints = Complaints::default();
    loop {
        let permit = tokio::select! {
            () = tasks.draining() => return,
            permit = Arc::clone(&room.all).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let (stream, address) = tokio::select! {
            () = tasks.draining() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        match address.map_or(Ok(None), |address| room.enter(address)) {
            Ok(place) => {
                let serving = connection::serve(stream, Arc::clone(&surface));
                tasks.spawn(holding((permit, place, metrics.connections.enter()), serving));
            }
            Err(()) => {
                metrics.connections_refused.add_one();
                address.inspect(|address| complaints.note(*address));
            }
        }
    }
}

/// Gives a connection's places back when it has ended.
async fn holding(_places: (OwnedSemaphorePermit, Option<Place>, Present), serving: impl Future<Output = ()>) {
    serving.await;
}

/// A client that went away while it waited is nothing; a lack of descriptors needs others to end first.
async fn pause_after(error: &std::io::Error) {
    const PAUSE: Duration = Duration::from_millis(100);
    if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset) {
        tracing::error!(error = %error, "no connection could be accepted");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Completes at the first SIGTERM or Ctrl-C, and says which it was. SIGTERM is what an upgrade or a service manager
/// sends, and leaves the agents running; whoever presses Ctrl-C wants everything gone.
///
/// # Errors
/// What the system said when a signal could not be watched.
pub fn stop_signal() -> std::io::Result<impl Future<Output = (&'static str, AtStop)>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => ("SIGTERM", AtStop::LeaveAgents),
            _ = interrupt.recv() => ("Ctrl-C", AtStop::EndAgents),
        }
    })
}
