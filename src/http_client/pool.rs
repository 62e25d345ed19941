//! The connections that wait for the next request, by server.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use parking_lot::{Mutex, MutexGuard};

use crate::clock::{Timestamp, boot_time};

use super::connection::Connection;

/// How long an idle connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How many idle connections are kept for one server: as many as the credential check may use at once.
const MAX_IDLE_PER_SERVER: usize = 1_024;

/// Idle connections; the one that was used last goes first, so that no more are kept than are needed.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: HashMap<Server, Vec<Idle>>,
    /// Whether a task closes what was not used for long.
    is_swept: bool,
}

struct Idle {
    connection: Box<Connection>,
    since: Timestamp,
}

/// Whom a connection leads to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Server {
    scheme: Scheme,
    authority: Authority,
}

impl Server {
    /// The server of an absolute URI.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(Self { scheme: uri.scheme()?.clone(), authority: uri.authority()?.clone() })
    }
}

impl Pool {
    /// A connection that was open when it was last used.
    pub(super) fn take(&self, server: &Server) -> Option<Box<Connection>> {
        Some(self.state().servers.get_mut(server)?.pop()?.connection)
    }

    /// Keeps a connection for the next request, if it may carry one.
    pub(super) fn put(self: &Arc<Self>, server: Server, mut connection: Box<Connection>) {
        if !connection.is_idle() {
            return;
        }
        let idle = Idle { connection, since: boot_time() };
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_swept, true) {
            TokioExecutor::new().execute(sweep(Arc::downgrade(self)));
        }
        let others = state.servers.entry(server).or_default();
        if others.len() < MAX_IDLE_PER_SERVER {
            others.push(idle);
        }
    }

    /// Closes what was not used for long; `false` if nothing is left that could be.
    fn close_old(&self, now: Timestamp) -> bool {
        let mut old = Vec::new();
        let mut state = self.state();
        state.servers.retain(|_, idle| {
            let fresh = idle.partition_point(|idle| now.saturating_since(idle.since) >= IDLE_TIMEOUT);
            old.extend(idle.drain(..fresh));
            !idle.is_empty()
        });
        state.is_swept = !state.servers.is_empty();
        state.is_swept
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Closes old connections for as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    const BETWEEN_SWEEPS: Duration = Duration::from_secs(10);
    loop {
        tokio::time::sleep(BETWEEN_SWEEPS).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_old(boot_time())) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::connector::Connector;
    use crate::http_client::stub::Stub;

    #[tokio::test]
    async fn a_connection_that_nobody_used_for_long_is_closed() {
        let stub = Stub::serve(|mut peer| async move { while peer.read_request().await.is_some() {} }).await;
        let uri: Uri = format!("http://{}/", stub.address).parse().unwrap();
        let (server, pool) = (Server::of(&uri).unwrap(), Arc::<Pool>::default());
        let stream = Connector::without_roots().connect(uri).await.unwrap();
        let before = boot_time();
        pool.put(server.clone(), Box::new(Connection::over(stream).await.unwrap()));

        assert!(pool.close_old(before + IDLE_TIMEOUT / 2), "one is left");
        let kept = pool.take(&server).unwrap();
        pool.put(server.clone(), kept);
        assert!(!pool.close_old(boot_time() + IDLE_TIMEOUT));

        assert!(pool.take(&server).is_none());
    }
}
