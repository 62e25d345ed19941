//! What an earlier server's agents have come to: found in their sessions' directories when a server starts.
//!
//! All of them are asked at once, and each has a second to answer. A shim that does not answer is ended with
//! everything of its agent.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::descriptors;
use crate::id::{Epoch, SessionId};
use crate::session::Reason;
use crate::shim::cgroup;
use crate::shim::place::{Fence, Lock, Place};
use crate::shim::wire::{End, Welcome};

use super::link::{self, Control, Ear, Heard, Mouth};
use super::supervisor::Origin;
use super::{Launcher, leftovers};

/// How long a shim has to answer.
const TO_ANSWER: Duration = Duration::from_secs(1);
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
/// How long a shim that was told to go may take to leave its directory.
const TO_LEAVE: Duration = Duration::from_secs(2);
/// How long one that was killed may take to be gone.
const TO_DIE: Duration = Duration::from_secs(10);

/// An agent of an earlier server.
pub struct Survivor {
    /// The only epoch that may act in its session's directory.
    pub(super) epoch: Epoch,
    pub(super) state: State,
}

/// What has become of it.
pub(super) enum State {
    /// Its shim answers.
    Alive(Box<(Ear, Mouth, Welcome)>),
    /// It ended while nobody looked; so much of its stdout was acknowledged.
    Ended(End, u64),
    /// It is gone without a word, with its shim.
    Killed,
    /// The machine was started anew since.
    Rebooted,
    /// Its shim was never there, and starts nothing if it comes late: its directory is gone or names a newer epoch.
    NeverStarted,
}

impl Survivor {
    /// Whether its shim answers.
    pub fn is_alive(&self) -> bool {
        match self.state {
            State::Alive(_) => true,
            State::Ended(..) | State::Killed | State::Rebooted | State::NeverStarted => false,
        }
    }

    /// The only epoch that may act in its session's directory.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Has it ended within `grace`, without a supervisor.
    pub(super) async fn end(self, grace: Duration) {
        let State::Alive(alive) = self.state else { return };
        let (mut ear, mut mouth, _) = *alive;
        let micros = u64::try_from(grace.as_micros()).unwrap_or(u64::MAX);
        let ended = tokio::time::timeout(grace + TO_LEAVE, async {
            mouth.order(&Control::Stop(micros)).await?;
            while let Some(heard) = ear.next().await? {
                if matches!(heard, Heard::Ended(_)) {
                    break;
                }
            }
            io::Result::Ok(())
        });
        // What has not ended by then is killed by whoever asked for this.
        let _ = ended.await;
    }

    /// Whether nothing of it can be left.
    pub(super) fn is_of_another_boot(&self) -> bool {
        matches!(self.state, State::Rebooted)
    }

    /// With what its supervisor begins; nothing if no agent has ended by a fault of its own.
    pub(super) fn origin(self) -> Option<Origin> {
        match self.state {
            State::Alive(alive) => Some(Origin::Alive(alive)),
            State::Ended(end, acknowledged) => Some(Origin::Ended(end, acknowledged)),
            State::Killed => Some(Origin::Lost(Reason::new(
                "killed: its shim, the process that watches over it, was killed while no server ran",
            ))),
            State::Rebooted | State::NeverStarted => None,
        }
    }
}

/// Finds what is in the directory of agents.
///
/// # Errors
/// What the file system said.
pub(super) async fn find(launcher: &Launcher) -> io::Result<HashMap<SessionId, Survivor>> {
    let root = launcher.agents.clone();
    let boot = launcher.clock.heartbeat().boot_id;
    let found = tokio::task::spawn_blocking(move || look(&root, &boot)).await.map_err(io::Error::other)??;
    let alive = found.iter().filter(|(_, _, state)| state.is_none()).count();
    descriptors::suffice_for(alive).map_err(io::Error::other)?;
    let mut asked = JoinSet::new();
    let mut survivors = HashMap::new();
    for (session, epoch, state) in found {
        match state {
            Some(state) => {
                survivors.insert(session, Survivor { epoch, state });
            }
            None => {
                let launcher = launcher.clone();
                asked.spawn(async move { (session, ask(&launcher, session, epoch).await) });
            }
        }
    }
    while let Some(answer) = asked.join_next().await {
        let (session, survivor) = answer.map_err(io::Error::other)?;
        survivors.insert(session, survivor?);
    }
    Ok(survivors)
}

/// What each directory tells by itself; no state where a shim has to be asked.
fn look(root: &Path, boot: &str) -> io::Result<Vec<(SessionId, Epoch, Option<State>)>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(session) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if entry.file_type()?.is_symlink() {
            let link = entry.path();
            tracing::warn!(link = %link.display(), "removed a symbolic link in the place of a session's directory");
            crate::removal::remove(&link)?;
            continue;
        }
        let place = Place::new(&entry.path());
        // A fence that can't be read was being written when the machine went down.
        let fence = place.fence().ok().flatten().unwrap_or(Fence { epoch: Epoch::default(), boot: String::new() });
        let state = match place.is_held() {
            Ok(true) => None,
            Ok(false) if fence.boot != boot => Some(State::Rebooted),
            // The server went between its word and the shim's start.
            Ok(false) if place.last_shim().ok().flatten().is_none_or(|(_, epoch)| epoch != fence.epoch) => {
                Some(State::NeverStarted)
            }
            Ok(false) => Some(ended(&place, fence.epoch).unwrap_or_else(|| killed(session, &place))),
            Err(_) => Some(State::Rebooted),
        };
        found.push((session, fence.epoch, state));
    }
    Ok(found)
}

fn killed(session: SessionId, place: &Place) -> State {
    end_left(session, place);
    State::Killed
}

/// Ends what a killed shim has left of its agent, whatever marks that carries: in its control group, or else by what the
/// shim has written down.
fn end_left(session: SessionId, place: &Place) {
    if let Err(error) = cgroup::end_left(session) {
        tracing::warn!(session.id = %session, error = %error, "control group of a lost agent not removed");
    }
    if let Err(processes) = leftovers::end_strays(place) {
        tracing::error!(session.id = %session, processes, "processes of a lost agent can't be killed; look at them by hand");
    }
}

fn ended(place: &Place, epoch: Epoch) -> Option<State> {
    let record = place.end().ok().flatten().filter(|record| record.epoch == epoch)?;
    Some(State::Ended(record.end, record.acknowledged))
}

/// Asks a shim that holds its directory's lock.
///
/// # Errors
/// That no descriptor was free to ask it with. It may be well, and is not ended for that.
async fn ask(launcher: &Launcher, session: SessionId, epoch: Epoch) -> io::Result<Survivor> {
    let place = launcher.place(session);
    let answer = tokio::time::timeout(TO_ANSWER, greet(launcher, session, epoch, &place)).await;
    let state = match answer {
        Ok(alive) => State::Alive(Box::new(alive?)),
        Err(_) => {
            tracing::warn!(session.id = %session, epoch = %epoch, "shim does not answer and is ended with its agent");
            match end_shim(launcher, session, epoch, &place).await.end {
                Some(end) => State::Ended(end, 0),
                None => State::Killed,
            }
        }
    };
    Ok(Survivor { epoch, state })
}

/// Connects to the shim of this epoch, if one holds the directory and answers.
pub(super) async fn reach(
    launcher: &Launcher,
    session: SessionId,
    epoch: Epoch,
    place: &Place,
) -> Option<(Ear, Mouth, Welcome)> {
    if place.fence().ok().flatten().is_none_or(|fence| fence.epoch != epoch) {
        return None;
    }
    tokio::select! {
        alive = tokio::time::timeout(TO_ANSWER, greet(launcher, session, epoch, place)) => alive.ok()?.ok(),
        () = is_left(place) => None,
    }
}

/// Completes when no shim has the directory.
async fn is_left(place: &Place) {
    while place.is_held().unwrap_or(false) {
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Connects until the shim says who it is.
///
/// # Errors
/// That no descriptor is free.
async fn greet(
    launcher: &Launcher,
    session: SessionId,
    epoch: Epoch,
    place: &Place,
) -> io::Result<(Ear, Mouth, Welcome)> {
    loop {
        match try_greet(launcher, session, epoch, place).await {
            Ok(alive) => return Ok(alive),
            Err(error) if descriptors::are_lacking(&error) => return Err(error),
            // It may have its lock and not yet its socket.
            Err(error) => tracing::debug!(session.id = %session, error = %error, "shim not reached yet"),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

async fn try_greet(
    launcher: &Launcher,
    session: SessionId,
    epoch: Epoch,
    place: &Place,
) -> io::Result<(Ear, Mouth, Welcome)> {
    let directory = File::open(place.root())?;
    let stream = UnixStream::connect(Place::socket(&directory)).await?;
    if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it runs as another user"));
    }
    let (mut ear, mut mouth) = link::split(stream);
    mouth.hello(u64::from(epoch.0), &launcher.store.desk().token_key.agent_secret(session, epoch)).await?;
    match ear.next().await? {
        Some(Heard::Welcome(welcome)) => Ok((ear, mouth, welcome)),
        Some(_) | None => Err(io::Error::other("it did not say who it is")),
    }
}

/// What is left of an agent after [`end_shim`].
pub(super) struct Remains {
    /// How it had ended, if it had.
    pub(super) end: Option<End>,
    /// Keeps every shim out of its directory; nothing if there is no directory.
    bar: Option<Lock>,
    /// Whether a process holds the directory that can't be ended.
    is_held: bool,
}

/// Sees to it that the session's directory has no shim and the session no process: waits for a shim that is leaving,
/// kills one that is not.
pub(super) async fn end_shim(launcher: &Launcher, session: SessionId, epoch: Epoch, place: &Place) -> Remains {
    let begun = tokio::time::Instant::now();
    // One that has noted its agent's end is about to leave.
    let patience = begun + if place.end().is_ok_and(|end| end.is_some()) { TO_LEAVE } else { Duration::ZERO };
    let mut was_told = false;
    let (bar, is_held) = loop {
        let (named, is_patient) = (place.clone(), tokio::time::Instant::now() < patience);
        match tokio::task::spawn_blocking(move || bar(&named, is_patient)).await {
            Ok(Ok(Some(bar))) => break (Some(bar), false),
            Ok(Ok(None)) => {}
            // Without its directory nobody has it.
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => break (None, false),
            Ok(Err(error)) if !was_told => {
                was_told = true;
                tracing::warn!(session.id = %session, error = %error, "directory of an agent not locked yet");
            }
            Ok(Err(error)) if begun.elapsed() > TO_DIE && descriptors::are_lacking(&error) => {
                tracing::error!(session.id = %session, "an agent could not be ended for want of open files: raise LimitNOFILE=");
                break (None, true);
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(session.id = %session, error = %error, "locking a directory panicked"),
        }
        if begun.elapsed() > TO_DIE {
            let directory = place.root().display();
            tracing::error!(directory = %directory, "this directory can't be locked; end the process that holds it");
            break (None, true);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    };
    let end = place.end().ok().flatten().filter(|record| record.epoch == epoch).map(|record| record.end);
    if end.is_none() {
        // A shim ends everything of its agent before it notes the end.
        let (left, forker) = (place.clone(), launcher.launch.pid().await);
        let ended = tokio::task::spawn_blocking(move || {
            end_left(session, &left);
            forker.map_or(Ok(()), leftovers::end_orphans)
        });
        if let Ok(Err(processes)) = ended.await {
            tracing::error!(processes, "processes of lost agents can't be killed; look at them by hand");
        }
        launcher.sweeper.sweep(session).await;
    }
    Remains { end, bar, is_held }
}

/// Locks a directory against shims; kills the one that has it, unless it is given time to leave.
fn bar(place: &Place, is_patient: bool) -> io::Result<Option<Lock>> {
    let bar = place.bar()?;
    if bar.is_none() && !is_patient {
        place.kill_holder()?;
    }
    Ok(bar)
}

impl Remains {
    /// Whether no process holds the directory.
    pub(super) fn is_free(&self) -> bool {
        !self.is_held
    }

    /// Removes the directory. A shim that comes late finds none, or one whose fence names a newer epoch.
    pub(super) async fn remove(self, launcher: &Launcher, session: SessionId) {
        if !self.is_held {
            launcher.forget(session).await;
        }
        drop(self.bar);
    }
}

/// The spool of an agent whose shim is gone, piece by piece.
pub(super) struct Spool {
    file: Option<File>,
    at: u64,
}

impl Spool {
    /// Opens the spool of which the first `at` bytes are read.
    pub(super) fn open(place: &Place, at: u64) -> Self {
        let Ok(file) = File::open(place.spool()) else { return Self { file: None, at } };
        let at = after_hole(&file, at);
        Self { file: Some(file), at }
    }

    /// Where in the agent's stdout the next piece begins.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        const PIECE_BYTES: usize = 64 << 10;
        let file = self.file.take()?;
        let at = self.at;
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let length = file.read_at(&mut piece, at).unwrap_or(0);
            piece.truncate(length);
            (file, piece)
        });
        let (file, piece) = read.await.ok()?;
        self.file = Some(file);
        self.at += piece.len() as u64;
        (!piece.is_empty()).then(|| piece.into())
    }
}

/// Where to begin if what is acknowledged was punched out beyond `at`: behind the line whose end was left for this.
fn after_hole(file: &File, at: u64) -> u64 {
    let Ok(data) = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) else { return at };
    if data == at {
        return at;
    }
    let mut rest = BufReader::new(file);
    let mut fragment = Vec::new();
    match rest.seek(io::SeekFrom::Start(data)).and_then(|_| rest.read_until(b'\n', &mut fragment)) {
        Ok(length) => data + length as u64,
        Err(_) => data,
    }
}
