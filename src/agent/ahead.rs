//! What is done for a start while its step is still on the way to the disk. Nothing of it acts for the session: should the
//! step not be stored, a directory is left that names an epoch which nobody has.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use crate::config::AgentKind;
use crate::failpoint::Failpoint;
use crate::id::SessionId;
use crate::session::{Reason, SessionData};
use crate::shim::launch::WrittenOrder;
use crate::shim::place::{Fence, Place};

use super::verdict::not_started;
use super::{AgentSpec, Launcher, command};

/// A start of which some is done.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Its turn among the starts that may go on at once.
    pub(super) turn: Option<OwnedSemaphorePermit>,
    /// What comes before the order is given, under way.
    pub(super) readying: Option<Readying>,
    /// The session's data, as it stood with the step.
    pub(super) data: Option<SessionData>,
}

/// What comes before the order is given, or what is in its way.
pub(super) type Readying = JoinHandle<Result<Ready, Reason>>;

/// All that an order needs to be given.
#[derive(Debug)]
pub(super) struct Ready {
    /// Whether no shim holds the session's directory.
    pub(super) is_free: bool,
    /// The order.
    pub(super) order: WrittenOrder,
    /// The server's end of the shim's socket.
    pub(super) ours: UnixStream,
    /// The shim's end.
    pub(super) theirs: UnixStream,
}

impl Ahead {
    /// Whether the session's data would be of use now.
    pub fn wants_data(&self) -> bool {
        self.turn.is_some()
    }

    /// Adds the data that the session has with the step.
    #[must_use]
    pub fn with_data(self, data: Option<SessionData>) -> Self {
        Self { data, ..self }
    }
}

impl Launcher {
    /// Begins with the start of a process whose step is about to be stored, if it need not wait for its time or its turn. The
    /// session must have no agent, and nothing in its directory that still counts.
    pub fn begin_ahead(&self, spec: &AgentSpec) -> Ahead {
        if spec.persona.agent != AgentKind::Process || spec.not_before > self.clock.now() {
            return Ahead::default();
        }
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return Ahead::default() };
        let readying = ready(self, spec, &self.place(spec.session));
        Ahead { turn: Some(turn), readying: Some(readying), data: None }
    }

    /// Takes back what was begun for a session that has never had an agent, since its step was not stored.
    pub async fn take_back(&self, ahead: Ahead, session: SessionId) {
        if let Some(readying) = ahead.readying {
            let _ = readying.await;
            self.forget(session).await;
        }
    }
}

/// Makes the session's directory if it is missing, says there who may act, and writes the order.
pub(super) fn ready(launcher: &Launcher, spec: &AgentSpec, place: &Place) -> Readying {
    let (launcher, spec, place) = (launcher.clone(), spec.clone(), place.clone());
    tokio::task::spawn_blocking(move || {
        let order = command::order(&launcher, &spec, &place)?;
        let fence = Fence { epoch: spec.epoch, boot: launcher.clock.heartbeat().boot_id };
        let is_free = say_who_may_act(&place, &fence).map_err(|error| {
            let path = place.root().display();
            not_started(format_args!(
                "its directory {path} could not be made ready ({error}); check that the disk has room"
            ))
        })?;
        let written = WrittenOrder::new(&order).and_then(|order| Ok((order, UnixStream::pair()?)));
        let (order, (ours, theirs)) =
            written.map_err(|error| not_started(format_args!("its order could not be written: {error}")))?;
        Ok(Ready { is_free, order, ours, theirs })
    })
}

fn say_who_may_act(place: &Place, fence: &Fence) -> io::Result<bool> {
    Failpoint::BeforePlace.hit();
    place.make()?;
    place.write_fence(fence)?;
    Failpoint::AfterPlace.hit();
    Ok(!place.is_held()?)
}
