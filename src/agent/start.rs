//! Brings an agent up: waits for its time and its turn, readies the session's directory, and orders the shim.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::clock::Timestamp;
use crate::failpoint::Failpoint;
use crate::session::Reason;
use crate::shim::order::Order;
use crate::shim::place::{Fence, Place};

use super::{AgentEnd, AgentSpec, Launcher, command, initialize, survivors};

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
    stops: &mut mpsc::UnboundedReceiver<Timestamp>,
) -> Result<Started, AgentEnd> {
    let clock = Arc::clone(&launcher.clock);
    let turn = tokio::select! {
        biased;
        _ = stops.recv() => return Err(AgentEnd::Stopped),
        turn = turn(launcher, spec) => turn,
    };
    // Others that start slowly are no fault of this one: its own time begins with its turn.
    let deadline = clock.now() + spec.persona.start_timeout;
    tokio::select! {
        biased;
        _ = stops.recv() => Err(AgentEnd::Stopped),
        ordered = order(launcher, spec, place) => match ordered {
            Ok((stream, data)) => Ok(Started { stream, data, turn, deadline }),
            Err(reason) => Err(AgentEnd::Lost(reason)),
        },
        () = clock.sleep_until(deadline) => {
            let timeout = humantime::format_duration(spec.persona.start_timeout);
            let why = "its session data could not be read, or its directory not be written";
            Err(AgentEnd::Lost(Reason::new(format!("not started in {timeout}: {why}"))))
        }
    }
}

/// Waits for the time of this start, and then for its turn among all of them.
async fn turn(launcher: &Launcher, spec: &AgentSpec) -> OwnedSemaphorePermit {
    launcher.clock.sleep_until(spec.not_before).await;
    match Arc::clone(&launcher.turns).acquire_owned().await {
        Ok(turn) => turn,
        // Nobody closes it.
        Err(_) => std::future::pending().await,
    }
}

async fn order(launcher: &Launcher, spec: &AgentSpec, place: &Place) -> Result<(UnixStream, Vec<u8>), Reason> {
    let order = command::order(launcher, spec, place)?;
    Failpoint::BeforeSpawn.hit();
    let (data, place_ready) = tokio::join!(initialize::data_field(launcher, spec), ready_place(launcher, spec, place));
    let data = data?;
    place_ready.map_err(|error| {
        let path = place.root().display();
        Reason::new(format!("its directory {path} could not be made ready ({error}); check that the disk has room"))
    })?;
    Failpoint::AfterFence.hit();
    let stream = launch(launcher, &order).await.map_err(|error| {
        Reason::new(format!("it could not be started: the launcher of agents took no order ({error})"))
    })?;
    Failpoint::AfterSpawn.hit();
    Ok((stream, data))
}

/// Says in the session's directory who may act, and sees to it that nobody of an older epoch does.
async fn ready_place(launcher: &Launcher, spec: &AgentSpec, place: &Place) -> io::Result<()> {
    let fence = Fence { epoch: spec.epoch, boot: launcher.clock.heartbeat().boot_id };
    let named = place.clone();
    let is_free = tokio::task::spawn_blocking(move || -> io::Result<bool> {
        named.make()?;
        named.write_fence(&fence)?;
        Ok(!named.is_held()?)
    });
    if !is_free.await.map_err(io::Error::other)?? {
        // Usually it is about to leave by itself. If not, it has read the fence before it was changed.
        survivors::end_shim(launcher, spec.session, spec.epoch, place).await;
    }
    Ok(())
}

async fn launch(launcher: &Launcher, order: &Order) -> io::Result<UnixStream> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    launcher.launch.send(order, theirs.into()).await?;
    UnixStream::from_std(ours)
}
