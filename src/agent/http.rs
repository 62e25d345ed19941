//! An agent that is a service: the same JSON-RPC, each message a POST to an address of the service mapping.
//!
//! ```text
//!   caller ──request──> exchanges ──POST──> service ──> answer (notifications before it) ──> caller
//!   supervisor ──initialize, ping, shutdown──┘
//! ```
//!
//! There is no process and no stream that ends, so that life is told by `ping`: a service that does not answer, or does
//! not know the session any more, is a lost agent. What is sent twice: a message whose connection could not be made or
//! was closed while idle before any byte of the answer; and `initialize`, `ping` and `shutdown`, which mean the same the
//! second time. Each keeps its number. Notifications have none, so `cancel` goes out once.
//!
//! | what | module |
//! | --- | --- |
//! | the task that starts, watches and ends | `supervisor` |
//! | requests in flight, and what the service tells | `exchanges` |
//! | when a service that fails its pings is lost (pure) | `health` |
//! | one message to wherever the service is now | `service` |
//! | the answer's body | `answer` |

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Timestamp;

use super::{AgentSpec, CallError, Herald, Json, KeptCall, Launcher};

mod answer;
mod exchanges;
mod health;
mod service;
mod supervisor;
#[cfg(test)]
mod tests;

pub use answer::UNKNOWN_SESSION;
pub use service::Services;

use exchanges::Exchanges;
use service::Service;
use supervisor::{Beginning, Supervisor};

/// The handle on one session's use of a service. Cloning shares it.
#[derive(Clone, Debug)]
pub struct HttpAgent {
    exchanges: Arc<Exchanges>,
    stop: mpsc::UnboundedSender<Timestamp>,
}

/// Starts an agent and its supervisor.
pub(super) fn start(launcher: Launcher, spec: AgentSpec, events: Herald) -> HttpAgent {
    supervise(launcher, spec, events, Beginning::Start)
}

/// Goes on with an agent that an earlier server has started under this very epoch, without `initialize` and without
/// another [`AgentEvent::Ready`](super::AgentEvent::Ready). A service that does not confirm it is a lost agent.
pub fn adopt(launcher: Launcher, spec: AgentSpec, events: Herald) -> HttpAgent {
    supervise(launcher, spec, events, Beginning::Adopt)
}

fn supervise(launcher: Launcher, spec: AgentSpec, events: Herald, beginning: Beginning) -> HttpAgent {
    let service = Service {
        services: launcher.services.clone(),
        name: spec.persona.service.as_deref().unwrap_or_default().into(),
        session: spec.session,
        epoch: spec.epoch,
        line_bytes: launcher.limits.line_bytes,
    };
    let (clock, tasks) = (Arc::clone(&launcher.clock), launcher.tasks.clone());
    let exchanges =
        Arc::new(Exchanges::new(service, launcher.limits.requests, clock, tasks.clone(), launcher.events.clone()));
    // Unbounded, and short all the same: a driver sends a stop and perhaps a harder one.
    let (stop, stops) = mpsc::unbounded_channel();
    let agent = HttpAgent { exchanges: Arc::clone(&exchanges), stop };
    tasks.spawn(Supervisor { launcher, spec, exchanges, stops, events }.run(beginning));
    agent
}

impl HttpAgent {
    /// Hands a request to the service and waits for its answer. `request` is JSON text, and so is the answer; `begun` is
    /// given the number of the call before the service is. A caller that goes away cancels the request.
    ///
    /// # Errors
    /// A [`CallError`] if the service refused, did not answer, was lost, took longer than `timeout`, or has too much to
    /// do.
    pub(super) async fn request(
        &self,
        request: &[u8],
        timeout: Duration,
        begun: impl FnOnce(u64),
    ) -> Result<Json, CallError> {
        let call = self.exchanges.begin()?;
        begun(call.number());
        call.request(request, timeout).await
    }

    /// Hands over a request whose answer is to be stored; `note` is given its number first and may prevent it.
    pub(super) async fn request_once<E: From<CallError>>(
        &self,
        request: &[u8],
        timeout: Duration,
        note: impl AsyncFnOnce(u64) -> Result<(), E>,
    ) -> Result<KeptCall<'_>, E> {
        let call = self.exchanges.begin()?;
        note(call.number()).await?;
        Ok(KeptCall::of_service(call.request(request, timeout).await))
    }

    /// Waits until everything that the service said before is durable, but not longer than this; whether it is.
    pub(super) async fn flushed(&self, patience: Duration) -> bool {
        self.exchanges.flushed(patience).await
    }

    /// Orders the agent to end, and to be given up at `kill_at`. A later order can only make it sooner.
    pub fn stop(&self, kill_at: Timestamp) {
        // Without a supervisor the agent has ended already.
        let _ = self.stop.send(kill_at);
    }

    /// When the last request was handed over or answered: now, while one is in flight.
    pub fn last_activity(&self) -> Timestamp {
        self.exchanges.last_activity()
    }

    /// How many requests wait for its answer.
    pub fn open_requests(&self) -> usize {
        self.exchanges.open_requests()
    }

    /// What the service last said of the session's progress.
    pub fn progress(&self) -> Option<String> {
        self.exchanges.progress()
    }
}
