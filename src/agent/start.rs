//! Brings an agent up: waits for its time and its turn, readies the session's directory, and orders the shim.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::clock::Timestamp;
use crate::failpoint::Failpoint;
use crate::session::{Reason, SessionData};
use crate::shim::place::Place;

use super::ahead::{self, Ready, Readying};
use super::verdict::not_started;
use super::{AgentEnd, AgentSpec, Ahead, Launcher, initialize, survivors};

/// The number of the call with which every agent's conversation begins.
pub(super) const INITIALIZE_CALL: u64 = 1;

/// An agent that was ordered.
pub(super) struct Started {
    /// The server's end of the shim's socket.
    pub(super) stream: UnixStream,
    /// The session's data as a field of `initialize`.
    pub(super) data: Vec<u8>,
    /// Its turn among the starts that may go on at once.
    pub(super) turn: OwnedSemaphorePermit,
    /// When it has to be ready.
    pub(super) deadline: Timestamp,
}

/// Starts the shim of a new agent.
///
/// # Errors
/// The end, if that is how far it comes: a stop, or what was in the way.
pub(super) async fn bring_up(
    launcher: &Launcher,
    spec: &AgentSpec,
    place: &Place,
    ahead: Ahead,
    stops: &mut mpsc::UnboundedReceiver<Timestamp>,
) -> Result<Started, AgentEnd> {
    let clock = Arc::clone(&launcher.clock);
    let Ahead { turn: had, mut readying, data } = ahead;
    let turn = tokio::select! {
        biased;
        _ = stops.recv() => {
            settle(readying).await;
            return Err(AgentEnd::Stopped);
        }
        turn = turn(launcher, spec, had) => turn,
    };
    // Others that start slowly are no fault of this one: its own time begins with its turn.
    let deadline = clock.now() + spec.persona.start_timeout;
    let started = tokio::select! {
        biased;
        _ = stops.recv() => Err(AgentEnd::Stopped),
        ordered = order(launcher, spec, place, &mut readying, data) => match ordered {
            Ok((stream, data)) => Ok(Started { stream, data, turn, deadline }),
            Err(reason) => Err(AgentEnd::Lost(reason)),
        },
        () = clock.sleep_until(deadline) => {
            let timeout = humantime::format_duration(spec.persona.start_timeout);
            let why = "its session data could not be read, or its directory not be written";
            Err(AgentEnd::Lost(Reason::new(format!("not started in {timeout}: {why}"))))
        }
    };
    settle(readying).await;
    started
}

/// Waits until nothing writes into the session's directory any more: it may be removed next, or be another epoch's.
async fn settle(readying: Option<Readying>) {
    if let Some(readying) = readying {
        // One that has not begun never does.
        readying.abort();
        let _ = readying.await;
    }
}

/// Waits for the time of this start, and then for its turn among all of them, unless it has had that.
async fn turn(launcher: &Launcher, spec: &AgentSpec, had: Option<OwnedSemaphorePermit>) -> OwnedSemaphorePermit {
    if let Some(turn) = had {
        return turn;
    }
    launcher.clock.sleep_until(spec.not_before).await;
    match Arc::clone(&launcher.turns).acquire_owned().await {
        Ok(turn) => turn,
        // Nobody closes it.
        Err(_) => std::future::pending().await,
    }
}

async fn order(
    launcher: &Launcher,
    spec: &AgentSpec,
    place: &Place,
    readying: &mut Option<Readying>,
    data: Option<SessionData>,
) -> Result<(UnixStream, Vec<u8>), Reason> {
    Failpoint::BeforeSpawn.hit();
    let (data, ready) = tokio::join!(initialize::data_field(launcher, spec, data), async {
        let ready = readying.get_or_insert_with(|| ahead::ready(launcher, spec, place)).await;
        // A task that has ended must not be awaited again.
        *readying = None;
        ready
    });
    let (data, ready) = (data?, ready.map_err(not_started)??);
    if !ready.is_free {
        // Usually it is about to leave by itself. If not, it has read the fence before it was changed.
        survivors::end_shim(launcher, spec.session, spec.epoch, place).await;
    }
    end_left(launcher, spec).await?;
    Failpoint::AfterFence.hit();
    let stream = launch(launcher, ready)
        .await
        .map_err(|error| not_started(format_args!("the launcher of agents took no order ({error})")))?;
    Failpoint::AfterSpawn.hit();
    Ok((stream, data))
}

/// Ends what an earlier agent of the session has left under the user that the session has for itself.
async fn end_left(launcher: &Launcher, spec: &AgentSpec) -> Result<(), Reason> {
    if spec.persona.user.as_ref().is_none_or(|user| user.range().is_none()) {
        return Ok(());
    }
    let (uids, session) = (launcher.uids.clone(), spec.session);
    let ended = tokio::task::spawn_blocking(move || uids.end_processes(session)).await;
    ended.unwrap_or_else(|error| Err(error.to_string())).map_err(not_started)
}

async fn launch(launcher: &Launcher, ready: Ready) -> io::Result<UnixStream> {
    let Ready { order, ours, theirs, .. } = ready;
    ours.set_nonblocking(true)?;
    launcher.launch.send(&order, theirs.into()).await?;
    UnixStream::from_std(ours)
}
