//! The directory of a session with an agent.
//!
//! ```text
//! lock          held by the shim for as long as it lives; never opened by an agent
//! epoch         the number of the only agent that may act, and the boot in which it was started
//! socket        where the shim listens for the next server
//! spool         the agent's stdout, byte for byte at its own place; what is acknowledged is punched out of it
//! agent.log     its stderr, and agent.log.1 what came before
//! end           how the agent ended, until a server has taken note
//! tree          the processes below the shim, a line each: what to look for when the shim is gone
//! work/         where it runs, if its persona gives it no other place
//! ```
//!
//! The server writes `epoch`, before it orders the start. It is not synced: it has to outlive processes, not the
//! machine, since after a reboot there is no older shim to fence off; the store's own epoch is durable. The boot's id
//! beside it tells a lost machine from a lost process.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::id::Epoch;

use super::process_table::{self, Identity};
use super::wire::End;

/// How the line begins that a shim writes to the log before it starts its agent: `--- agent 2 ---` for the epoch 2.
pub const LOG_MARK: &str = "--- agent ";

/// The paths in one session's directory. Holds nothing open.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
}

/// What stands in `epoch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The number of the only agent that may act.
    pub epoch: Epoch,
    /// The boot of the machine in which it was written.
    pub boot: String,
}

/// What stands in `end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose end it is.
    pub epoch: Epoch,
    /// How it ended.
    pub end: End,
    /// Bytes of stdout that the server had acknowledged.
    pub acknowledged: u64,
    /// The highest number of a call that the agent was given.
    pub last_call: u64,
}

/// The last shim that had a session's directory, as its lock's file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShimProcess {
    /// Its process id.
    pub pid: u32,
    /// Its agent's epoch.
    pub epoch: Epoch,
    /// When it began; nothing if an older version wrote it.
    pub start: Option<u64>,
    /// The user that its agent runs as; nothing if an older version wrote it.
    pub user: Option<u32>,
}

/// The lock on a session's directory, held as long as this value lives. Its file holds the process id of the last shim
/// that had it, its epoch, when the shim began, and the user of its agent: `4711 2 88213 1001`.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Place {
    /// Names the directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The spool.
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    /// What came before the log.
    pub fn older_log(&self) -> PathBuf {
        self.root.join("agent.log.1")
    }

    /// Where the agent runs, if its persona gives it no other place.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Makes the directory if it is missing, readable by this user only.
    ///
    /// # Errors
    /// What the file system said.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)
    }

    /// Says which agent may act from now on.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write_fence(&self, fence: &Fence) -> io::Result<()> {
        self.replace("epoch", &serde_json::to_vec(fence)?)
    }

    /// Which agent may act; `None` if nobody has said.
    ///
    /// # Errors
    /// What the file system said.
    pub fn fence(&self) -> io::Result<Option<Fence>> {
        self.read("epoch")
    }

    /// Notes how the agent ended.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write_end(&self, record: &Record) -> io::Result<()> {
        self.replace("end", &serde_json::to_vec(record)?)
    }

    /// How the agent ended, if that was noted.
    ///
    /// # Errors
    /// What the file system said.
    pub fn end(&self) -> io::Result<Option<Record>> {
        self.read("end")
    }

    /// Takes the directory's lock for this process as the shim of this epoch, whose agent runs as the user; `None` if
    /// another process has it.
    ///
    /// # Errors
    /// What the file system said.
    pub fn lock(&self, epoch: Epoch, user: u32) -> io::Result<Option<Lock>> {
        let Some(mut file) = self.try_lock()? else { return Ok(None) };
        file.set_len(0)?;
        // At once: who reads it meanwhile finds nothing or all of it.
        let pid = std::process::id();
        let start = process_table::identity(pid).map_or(0, |own| own.start);
        file.write_all(format!("{pid} {epoch} {start} {user}").as_bytes())?;
        Ok(Some(Lock { _file: file }))
    }

    /// Keeps every shim out for as long as the value lives; `None` if another process has the lock.
    ///
    /// # Errors
    /// What the file system said.
    pub fn bar(&self) -> io::Result<Option<Lock>> {
        Ok(self.try_lock()?.map(|file| Lock { _file: file }))
    }

    /// Whether a process has the directory's lock.
    ///
    /// # Errors
    /// What the file system said.
    pub fn is_held(&self) -> io::Result<bool> {
        Ok(self.try_lock()?.is_none())
    }

    fn try_lock(&self) -> io::Result<Option<File>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The process and the epoch of the last shim that had the lock; `None` if none ever had.
    ///
    /// # Errors
    /// What the file system said.
    pub fn last_shim(&self) -> io::Result<Option<(i32, Epoch)>> {
        Ok(self.shim_process()?.and_then(|shim| Some((shim.pid.try_into().ok()?, shim.epoch))))
    }

    /// The same with what tells that process from a later one with its id.
    ///
    /// # Errors
    /// What the file system said.
    pub fn shim_process(&self) -> io::Result<Option<ShimProcess>> {
        let text = fs::read_to_string(self.root.join("lock"))?;
        let mut words = text.split(' ');
        let pid = words.next().and_then(|pid| pid.parse().ok());
        let epoch = words.next().and_then(|epoch| epoch.parse().ok()).map(Epoch);
        let start = words.next().and_then(|start| start.parse().ok());
        let user = words.next().and_then(|user| user.parse().ok());
        Ok(pid.zip(epoch).map(|(pid, epoch)| ShimProcess { pid, epoch, start, user }))
    }

    /// Writes down the processes below the shim.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write_tree(&self, processes: &HashSet<Identity>) -> io::Result<()> {
        let lines: String = processes.iter().map(|process| format!("{} {}\n", process.pid, process.start)).collect();
        self.replace("tree", lines.as_bytes())
    }

    /// The processes that were below the last shim when it last wrote them down.
    ///
    /// # Errors
    /// What the file system said.
    pub fn tree(&self) -> io::Result<HashSet<Identity>> {
        let text = match fs::read_to_string(self.root.join("tree")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let process = |line: &str| {
            let (pid, start) = line.split_once(' ')?;
            Some(Identity { pid: pid.parse().ok()?, start: start.parse().ok()? })
        };
        Ok(text.lines().filter_map(process).collect())
    }

    /// Kills whoever holds the lock; false if nobody does, or it can't be told who.
    ///
    /// # Errors
    /// What the system said.
    pub fn kill_holder(&self) -> io::Result<bool> {
        let Some(shim) = self.shim_process()? else { return Ok(false) };
        let Some(pid) = i32::try_from(shim.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        // Still held, and by the same, which began when the lock says or has it open: so the handle is the holder's, and
        // not that of a process that got its id later.
        let is_holder = || match shim.start {
            Some(start) => process_table::identity(shim.pid) == Some(Identity { pid: shim.pid, start }),
            None => self.is_open_in(pid),
        };
        if !self.is_held()? || self.shim_process()? != Some(shim) || !is_holder() {
            return Ok(false);
        }
        Ok(rustix::process::pidfd_send_signal(handle, Signal::KILL).is_ok())
    }

    /// Whether a process has the lock's file open. That of a shim can be told only by root: it is not dumpable.
    fn is_open_in(&self, pid: Pid) -> bool {
        let Ok(lock) = self.root.join("lock").canonicalize() else { return false };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|file| file == lock)
    }

    /// The socket's path by way of an open directory, which fits into an address however long the directory's own path is.
    /// To be used while `directory`, the open [`Place::root`], is open.
    pub fn socket(directory: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/socket", directory.as_raw_fd()))
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> io::Result<Option<T>> {
        let mut text = Vec::new();
        match File::open(self.root.join(name)) {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// Replaces a file as a whole: whoever reads it finds the old content or the new. A first one is written at once: its
    /// readers come later.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let file = self.root.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created?.write_all(content),
        }
        let new = self.root.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        fs::rename(new, self.root.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::wire::How;

    fn place() -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(&directory.path().join("session"));
        place.make().unwrap();
        (directory, place)
    }

    #[test]
    fn what_was_said_of_an_agent_is_read_again() {
        let (_directory, place) = place();
        assert_eq!((place.fence().unwrap(), place.end().unwrap()), (None, None));
        let fence = Fence { epoch: Epoch(7), boot: "this".into() };
        place.write_fence(&fence).unwrap();
        let end = End { how: How::Exited(3), because: None, last_begun: Some(1) };
        let record = Record { epoch: Epoch(7), end, acknowledged: 40, last_call: 2 };
        place.write_end(&record).unwrap();
        assert_eq!(place.fence().unwrap(), Some(fence));
        assert_eq!(place.end().unwrap(), Some(record));
    }

    #[test]
    fn a_lock_that_nobody_holds_has_no_holder_to_be_killed() {
        let (_directory, place) = place();
        assert!(place.kill_holder().is_err());
        drop(place.lock(Epoch(2), 0).unwrap());
        assert!(!place.kill_holder().unwrap());
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(place.last_shim().unwrap(), Some((own, Epoch(2))));
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let (_directory, place) = place();
        let held = place.lock(Epoch(1), 0).unwrap();
        assert!(held.is_some());
        assert!(place.lock(Epoch(1), 0).unwrap().is_none());
        drop(held);
        assert!(place.lock(Epoch(1), 0).unwrap().is_some());
    }
}
