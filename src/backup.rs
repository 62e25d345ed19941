//! Backups: a whole desk in one file, taken beside a running server or without one, and put back elsewhere.
//!
//! ```text
//! links to data files ──┐
//! log of events, store ─┴─ one moment ──> copies ──> FILE.tar ──> restore: checked, a desk of its own
//! ```
//!
//! A backup is taken by whoever asks for it, not by the server: it reads both databases in one transaction each, as
//! [`crate::verify`] does, so that a server that hangs can be backed up as well, and one that runs is not held up. What it
//! holds is of one moment, and everything that was answered before is in it. Agents are processes of this machine and are
//! not: what they were about to say is not, either.
//!
//! A restored desk keeps its tokens, passwords and sessions, and gets an id of its own: agents are told apart by their
//! desk's, and two desks out of one backup on one machine must not end each other's.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::data_dir::DataDirError;
use crate::removal;
use crate::store::StoreError;

mod archive;
mod moment;
mod restore;
mod take;
#[cfg(test)]
mod tests;

pub use moment::clear_links;
pub use restore::{Restored, restore};
pub use take::take;

/// The form of the file, which a later version may change.
const FORMAT: u32 = 1;
/// What tells of all other members; the last one.
const MANIFEST: &str = "manifest.json";
const STORE: &str = "frontdesk.db";
const EVENTS: &str = "events.db";
/// The demo customer's password, if nobody could be shown it.
const DEMO_PASSWORD: &str = "demo-password";
/// The directory of data files.
const DATA: &str = "data";
/// The directory of the logs of sessions that failed.
const LOGS: &str = crate::data_dir::LOGS;

/// Told as it goes: what is being done, and how many bytes of how many.
pub type Report<'a> = &'a dyn Fn(&str, u64, u64);

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the file.
    pub format: u32,
    /// The version of frontdesk that took it.
    pub version: String,
    /// The version of the store's schema.
    pub schema: i64,
    /// The version of the schema of the log of events; nothing if there was none yet.
    pub events_schema: Option<i64>,
    /// The desk's id.
    pub desk: String,
    /// When it was taken, in RFC 3339.
    pub taken: String,
    /// How many live sessions it has.
    pub live: u64,
    /// How many ended ones.
    pub ended: u64,
    /// How many customers of the embedded credential server.
    pub customers: u64,
    /// Everything else that is in the file.
    pub members: Vec<Member>,
}

/// One file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path in the data directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The hash of its content, in hexadecimal digits.
    pub blake3: String,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to take.
    #[error("{} is not a data directory of frontdesk: it has no frontdesk.db; name the right one with --data-dir", .0.display())]
    NoDataDirectory(PathBuf),
    /// This user may not read it.
    #[error("this user may not read {}; run this as the user that the server runs as, such as with `sudo -u USER`", .0.display())]
    NotAllowed(PathBuf),
    /// There is no such backup.
    #[error("there is no file {}; name the file that `frontdesk backup` wrote", .0.display())]
    Missing(PathBuf),
    /// The file is there.
    #[error("{} exists; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// The data directory, or something in it, may not be used.
    #[error(transparent)]
    Untrusted(DataDirError),
    /// Somebody else does the same.
    #[error("another command works on {}; wait for it", .0.display())]
    UnderWay(PathBuf),
    /// A directory is to be restored over another one.
    #[error("{} is not empty; restore to a new directory with --data-dir, or move that one away", .0.display())]
    NotEmpty(PathBuf),
    /// What was to be restored from is no whole backup.
    #[error("{} is no whole backup: {why}; nothing was restored, take another one", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A session's data is not there.
    #[error("{} is missing, and a live session needs it; `frontdesk verify` says which one: stop it, and take the backup again", .0.display())]
    Lost(PathBuf),
    /// The file system refused.
    #[error("{}: {source}; check that it is there, may be used, and that the disk has room", .path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A database refused.
    #[error("the store can't be copied: {0}")]
    Store(#[from] StoreError),
}

/// Names the file in an error of the file system.
fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::Io { path: path.to_owned(), source }
}

/// A directory for what is not finished, beside what it will become. What an earlier command left there is removed; the
/// directory goes when this value does.
struct Workshop {
    path: PathBuf,
    _lock: File,
}

impl Workshop {
    /// `.NAME.partial`, beside the file or directory of that name.
    fn beside(target: &Path) -> Result<Self, BackupError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = parent(target).join(format!(".{name}.partial"));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(at(&path))?;
        let lock = File::open(&path).map_err(at(&path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(BackupError::UnderWay(target.to_owned()));
        }
        let workshop = Self { path, _lock: lock };
        workshop.empty().map_err(at(&workshop.path))?;
        Ok(workshop)
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            removal::remove(&entry.path())?;
        }
        Ok(())
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What can't be removed, the next command of the same name removes.
        let _ = removal::remove(&self.path);
    }
}

/// The directory in which a file is or will be.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
