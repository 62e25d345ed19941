//! Users of their own for sessions: which session's agents run under which number of a persona's range.
//!
//! A session keeps its number from its first start to its end. The number is free again only when nothing of the session
//! is left: no directory, no process, no shared memory ([`remains`]). What can't be removed keeps its number out of use,
//! and the next start of the server tries again.
//!
//! Each number in use has a file in the data directory, `uids/NUMBER`, that names the session. It is written before the
//! agent is ordered and removed last, so that a crash at any moment leaves a number taken rather than free. Start-up reads
//! these files, and frees what belongs to no session that goes on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::config::UidRange;
use crate::id::SessionId;
use crate::shim::place::Place;

mod remains;

/// The numbers in use on this node. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Uids {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the files of the numbers in use are.
    directory: PathBuf,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    of_session: HashMap<SessionId, u32>,
    /// The numbers of sessions, and those that can't be given for another reason.
    taken: HashSet<u32>,
    last_given: u32,
}

impl Uids {
    /// No number is in use yet; see [`Uids::load`].
    pub(super) fn new(directory: PathBuf) -> Self {
        // Numbers are given in turn, so that one is given again as late as possible. A restart begins anywhere.
        let state = State { last_given: u32::from_ne_bytes(crate::random::bytes()), ..State::default() };
        Self { inner: Arc::new(Inner { directory, state: Mutex::new(state), freed: Notify::new() }) }
    }

    /// Reads which numbers an earlier server has given, and which own a directory below `agents`. Blocks.
    ///
    /// # Errors
    /// What the file system said.
    pub(super) fn load(&self, agents: &Path) -> io::Result<()> {
        let noted = noted(&self.inner.directory)?;
        let owners = owners(agents)?;
        let mut state = self.state();
        state.taken.extend(noted.iter().map(|(uid, _)| *uid).chain(owners));
        state.of_session.extend(noted.into_iter().filter_map(|(uid, session)| Some((session?, uid))));
        Ok(())
    }

    /// Whether the session has a number, or one of the range is free.
    pub(crate) fn has_room(&self, session: SessionId, range: UidRange) -> bool {
        let state = self.state();
        let taken = || state.taken.iter().filter(|uid| range.contains(**uid)).count();
        let size = range.size() as usize;
        state.of_session.contains_key(&session) || state.taken.len() < size || taken() < size
    }

    /// Completes when a number has become free since the last call.
    pub(crate) async fn freed(&self) {
        self.inner.freed.notified().await;
    }

    /// The session's number: the one that it has, or one of the range that nothing on this machine uses. Blocks.
    ///
    /// # Errors
    /// Why there is none, as the end of a sentence that begins with the key.
    pub(super) fn take(&self, session: SessionId, range: UidRange) -> Result<u32, String> {
        let Some((uid, is_new)) = self.reserve(session, range) else {
            let size = range.size();
            return Err(format!(
                "is {range}, and all of its {size} users are in use: widen the range, or wait until a session has ended"
            ));
        };
        if is_new && let Err(error) = self.note(uid, session) {
            self.forget(session, uid);
            return Err(format!("is {range}, and the number given to the session could not be stored ({error})"));
        }
        Ok(uid)
    }

    /// Ends what runs under the session's number, if it has one. To be called while no shim acts for the session. Blocks.
    ///
    /// # Errors
    /// That a process can't be ended, in words.
    pub(super) fn end_processes(&self, session: SessionId) -> Result<(), String> {
        match self.of(session) {
            Some(uid) => remains::end_processes(uid),
            None => Ok(()),
        }
    }

    /// Frees the number of a session whose directory is gone, once nothing else is left of it.
    pub(super) async fn release(&self, session: SessionId) {
        let Some(uid) = self.of(session) else { return };
        let directory = self.inner.directory.clone();
        let cleared = tokio::task::spawn_blocking(move || clear(&directory, uid)).await;
        match cleared.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => {
                self.forget(session, uid);
                self.inner.freed.notify_one();
            }
            Err(why) => {
                tracing::warn!(session.id = %session, user = uid, why, "a session's user is not given again until the next start");
            }
        }
    }

    /// The sessions that have a number.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.state().of_session.keys().copied().collect()
    }

    fn of(&self, session: SessionId) -> Option<u32> {
        self.state().of_session.get(&session).copied()
    }

    /// The session's number, and whether it has just been given to it.
    fn reserve(&self, session: SessionId, range: UidRange) -> Option<(u32, bool)> {
        let mut state = self.state();
        if let Some(uid) = state.of_session.get(&session) {
            return Some((*uid, false));
        }
        let uid = range.after(state.last_given).find(|uid| !state.taken.contains(uid) && !remains::is_in_use(*uid))?;
        state.taken.insert(uid);
        state.of_session.insert(session, uid);
        state.last_given = uid;
        Some((uid, true))
    }

    fn forget(&self, session: SessionId, uid: u32) {
        let mut state = self.state();
        state.of_session.remove(&session);
        state.taken.remove(&uid);
    }

    fn note(&self, uid: u32, session: SessionId) -> io::Result<()> {
        let directory = &self.inner.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let (file, new) = (directory.join(uid.to_string()), directory.join(format!("{uid}.new")));
        fs::write(&new, session.to_string())?;
        fs::rename(new, file)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock()
    }
}

/// Removes what is left of a session's user, and last the file that keeps its number in use.
fn clear(directory: &Path, uid: u32) -> Result<(), String> {
    remains::clear(uid)?;
    match fs::remove_file(directory.join(uid.to_string())) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("its file in uids/ can't be removed: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The numbers in use by what was noted, with their sessions; a note that can't be read keeps its number in use.
pub(crate) fn noted(directory: &Path) -> io::Result<Vec<(u32, Option<SessionId>)>> {
    let names = names(directory)?;
    let uids = names.iter().filter_map(|name| name.parse::<u32>().ok());
    Ok(uids
        .map(|uid| (uid, fs::read_to_string(directory.join(uid.to_string())).ok().and_then(|text| text.parse().ok())))
        .collect())
}

/// The users other than this one that own the directory in which a session's agent runs.
fn owners(agents: &Path) -> io::Result<Vec<u32>> {
    let own = rustix::process::geteuid().as_raw();
    let works = names(agents)?.into_iter().map(|name| Place::new(&agents.join(name)).work());
    let owners = works.filter_map(|work| Some(fs::symlink_metadata(work).ok()?.uid()));
    Ok(owners.filter(|uid| *uid != own).collect())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    const FIRST: u32 = 3_000_000_000;

    fn session(number: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [number; 10])
    }

    fn range(size: u32) -> UidRange {
        UidRange::new(FIRST, FIRST + size - 1).unwrap()
    }

    #[tokio::test]
    async fn each_session_has_a_number_of_its_own_until_it_is_released() {
        let directory = tempfile::tempdir().unwrap();
        let uids = Uids::new(directory.path().join("uids"));
        let [one, two] = [1, 2].map(|number| uids.take(session(number), range(2)).unwrap());
        assert_ne!(one, two);
        assert_eq!(uids.take(session(1), range(2)), Ok(one));
        assert!(uids.has_room(session(2), range(2)) && !uids.has_room(session(3), range(2)));
        assert_eq!(
            uids.take(session(3), range(2)).unwrap_err(),
            "is 3000000000-3000000001, and all of its 2 users are in use: widen the range, or wait until a session has ended"
        );

        uids.release(session(1)).await;

        assert!(uids.has_room(session(3), range(2)));
        assert_eq!(uids.take(session(3), range(2)), Ok(one));
    }

    #[tokio::test]
    async fn what_one_server_has_given_the_next_one_knows() {
        let directory = tempfile::tempdir().unwrap();
        let (notes, agents) = (directory.path().join("uids"), directory.path().join("agents"));
        let uid = Uids::new(notes.clone()).take(session(1), range(2)).unwrap();
        // A crash cut this one off.
        let torn = FIRST + 1 - (uid - FIRST);
        fs::write(notes.join(torn.to_string()), "018b").unwrap();

        let uids = Uids::new(notes);
        uids.load(&agents).unwrap();

        assert_eq!(uids.sessions(), [session(1)]);
        assert_eq!(uids.take(session(1), range(2)), Ok(uid));
        assert!(uids.take(session(2), range(2)).is_err());
    }
}
