//! The data directory: one server's whole state, locked against a second one.
//!
//! ```text
//! frontdesk.lock   held by whoever has the directory open; its text is that process's id
//! frontdesk.db     the store (with -wal and -shm beside it)
//! events.db        the log of events (likewise)
//! ballast          room kept back for a full disk: see [`crate::store::sqlite::ballast`]
//! data/            session data too large for a row, one file a session
//! agents/          a directory for each session with an agent: see [`crate::shim::place`]
//! logs/            the ends of the logs of sessions that failed, one file a session: see [`crate::agent`]
//! uids/            a file for each user that a session has for itself: see [`crate::agent`]
//! control.sock     where operators' commands reach a running server
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, IFlags, OFlags};

mod trust;

/// The directory that says which users sessions have for themselves.
pub(crate) const UIDS: &str = "uids";
/// The directory of the logs of sessions that failed.
pub(crate) const LOGS: &str = "logs";

/// Where things are in a data directory. Holds nothing open.
#[derive(Clone, Debug)]
pub struct DataPaths {
    root: PathBuf,
}

impl DataPaths {
    /// Names the directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's file.
    pub fn database(&self) -> PathBuf {
        self.root.join("frontdesk.db")
    }

    /// The store's file and those that SQLite keeps beside it.
    pub fn database_files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| self.root.join(format!("frontdesk.db{suffix}")))
    }

    /// The log of events.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.db")
    }

    /// The log of events and the files that SQLite keeps beside it.
    pub fn events_files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| self.root.join(format!("events.db{suffix}")))
    }

    /// The directory of session data files.
    pub fn session_data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The directory of the sessions with an agent.
    pub fn agents(&self) -> PathBuf {
        self.root.join("agents")
    }

    /// The directory of the logs of sessions that failed.
    pub fn logs(&self) -> PathBuf {
        self.root.join(LOGS)
    }

    /// The directory that says which users sessions have for themselves.
    pub fn uids(&self) -> PathBuf {
        self.root.join(UIDS)
    }

    /// Room that the store keeps back for the time when the disk is full.
    pub fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// The lock's file.
    pub fn lock(&self) -> PathBuf {
        self.root.join("frontdesk.lock")
    }

    /// Where operators' commands reach a running server.
    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// What is there of a desk beside its store, in words; empty if nothing is.
    pub fn remains(&self) -> String {
        let events = fs::metadata(self.events()).is_ok_and(|file| file.len() > 0).then_some("events.db has events");
        let data = holds_something(&self.session_data()).then_some("data/ has session data");
        let agents = holds_something(&self.agents()).then_some("agents/ has directories of agents");
        let logs = holds_something(&self.logs()).then_some("logs/ has logs of agents");
        let found: Vec<_> = [events, data, agents, logs].into_iter().flatten().collect();
        found.join(" and ")
    }

    /// Refuses a directory whose store is missing: a start would take it for a new one, and remove what it still holds.
    fn expect_store(&self) -> Result<(), DataDirError> {
        let [database, log, _] = self.database_files();
        // A log alone is a store whose first pages are not in its file yet.
        let is_there = [database, log].iter().any(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0));
        let held = if is_there { String::new() } else { self.remains() };
        if held.is_empty() { Ok(()) } else { Err(DataDirError::NoStore { path: self.root.clone(), held }) }
    }

    /// The file that holds the demo customer's password when nobody could be shown it.
    pub fn demo_password(&self) -> PathBuf {
        self.root.join("demo-password")
    }
}

/// Tries to take the lock of a directory whose holder has ended. A server that is killed while it spawns a process leaves
/// the lock with that process until its program runs, which a busy machine delays.
const LOCK_ATTEMPTS: u32 = 500;
/// Between two of them.
const BETWEEN_LOCK_ATTEMPTS: Duration = Duration::from_millis(10);

/// An open data directory: as long as this value lives, no other process has it.
#[derive(Debug)]
pub struct DataDir {
    paths: DataPaths,
    _lock: File,
}

/// Why a data directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "{} is in use by another frontdesk (process {pid}); stop that one, or choose another directory with --data-dir",
        .path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process's id, as it wrote it.
        pid: String,
    },
    /// Sessions are on record there, and the store that they belong to is missing.
    #[error(
        "{} has no frontdesk.db, but {held} of a desk that had one; put frontdesk.db back, restore a backup to another \
         directory (`frontdesk restore`), or move this directory away to begin a new desk",
        .path.display()
    )]
    NoStore {
        /// The directory.
        path: PathBuf,
        /// What is still there, in words.
        held: String,
    },
    /// The directory or something in it belongs to another user, who could change what the server trusts.
    #[error(
        "{} belongs to user {owner}, and this is user {own}; run this command as that user, or give the data directory to this \
         one (`chown -R {own}`)",
        .path.display()
    )]
    Foreign {
        /// What belongs to somebody else.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        own: u32,
    },
    /// Something in the directory leads elsewhere.
    #[error(
        "{} is a symbolic link; put the file or directory itself there, or name another place with `data_dir`",
        .0.display()
    )]
    Link(PathBuf),
    /// This user may not look into it, or not reach it.
    #[error(
        "this user may not use {} as the data directory; run this as the user that the server runs as, or name another one \
         with --data-dir",
        .0.display()
    )]
    NotAllowed(PathBuf),
    /// The file system refused.
    #[error("cannot use {} as the data directory: {source}; check that it is a writable directory on a local disk", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDirError {
    /// What the file system said of a data directory or something in it.
    fn refused(path: &Path, source: io::Error) -> Self {
        let is_permission = source.kind() == io::ErrorKind::PermissionDenied;
        let path = path.to_owned();
        if is_permission { Self::NotAllowed(path) } else { Self::Io { path, source } }
    }
}

impl DataDir {
    /// Creates the directory if it is missing (mode 0700) and takes its lock.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another process has it, [`DataDirError::NotAllowed`] or [`DataDirError::Io`] if the file
    /// system refuses, and the others if the directory can't be trusted or its store is missing.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::refused(root, source);
        make_directory(root).map_err(failed)?;
        // Where agents run and data files lie must not depend on the directory in which somebody started the server.
        let paths = DataPaths::new(&root.canonicalize().map_err(failed)?);
        trust::check(&paths, rustix::process::geteuid().as_raw())?;
        paths.expect_store()?;
        for own in [paths.session_data(), paths.agents(), paths.logs()] {
            make_directory(&own).map_err(failed)?;
            if is_open_to_others(&own) {
                fs::set_permissions(&own, Permissions::from_mode(0o700)).map_err(failed)?;
            }
        }
        // Most file systems know no such thing, and do as well without it.
        let _ = spread(&paths.agents());
        if is_open_to_others(paths.root()) {
            let directory = paths.root().display();
            tracing::warn!(directory = %directory, "other users may look into the data directory; make its mode 0700");
        }
        let lock = take_lock(&paths)?;
        Ok(Self { paths, _lock: lock })
    }

    /// Where things are in it.
    pub fn paths(&self) -> &DataPaths {
        &self.paths
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in missing.iter().filter_map(|made| made.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        // One that this user may not read can't be synced, and is no reason to do without the directory.
        let _ = sync_directory(parent);
    }
    Ok(())
}

/// Tells the file system that the directories in this one have nothing to do with each other. As it is, ext4 puts all that
/// sessions make into one group of inodes, where every start searches among what ended lately and waits for the others.
fn spread(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    let flags = rustix::fs::ioctl_getflags(&directory)?;
    if !flags.contains(IFlags::TOPDIR) {
        rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR)?;
    }
    Ok(())
}

/// Whether there is anything but what a file system keeps for itself and trees that are being removed.
fn holds_something(directory: &Path) -> bool {
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name != "lost+found" && !name.as_encoded_bytes().starts_with(b"."))
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

fn take_lock(paths: &DataPaths) -> Result<File, DataDirError> {
    let failed = |source| DataDirError::refused(&paths.root, source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
        .open(paths.lock())
        .map_err(failed)?;
    let mut attempts = 1..LOCK_ATTEMPTS;
    while !try_lock(&file).map_err(failed)? {
        let pid = holder(&mut file);
        if is_running(&pid) || attempts.next().is_none() {
            return Err(DataDirError::InUse { path: paths.root.clone(), pid });
        }
        std::thread::sleep(BETWEEN_LOCK_ATTEMPTS);
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Whether nobody else has the lock.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The id of the process that took the lock last, as it wrote it; empty if it can't be read.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut pid));
    pid.trim().to_owned()
}

/// Whether there is such a process and it has not ended, reaped or not.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Writes a file that only this user may read, and makes it durable.
///
/// # Errors
/// What the file system said.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the file if it is missing, and lets only this user read it. It is not opened if it is there: to close it would
/// give free the locks that this process has on it.
///
/// # Errors
/// What the file system said.
pub fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => close_to_others(path),
        Err(error) => Err(error),
    }
}

/// Lets only this user read the file.
///
/// # Errors
/// What the file system said.
pub fn close_to_others(path: &Path) -> io::Result<()> {
    if is_open_to_others(path) { fs::set_permissions(path, Permissions::from_mode(0o600)) } else { Ok(()) }
}

/// Makes the directory's entries durable, as a new or renamed file in it needs.
///
/// # Errors
/// What the file system said.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_names_the_process_that_has_it() {
        let root = tempfile::tempdir().unwrap();
        let _held = DataDir::open(root.path()).unwrap();
        let refused = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    }

    #[test]
    fn a_lock_that_an_ended_server_left_with_a_process_it_was_spawning_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let left = DataDir::open(root.path()).unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        fs::write(left.paths().lock(), format!("{}\n", ended.id())).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DataDir::open(root.path()));
            std::thread::sleep(Duration::from_millis(100));
            drop(left);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_directory_is_free_again_once_its_holder_is_gone() {
        let root = tempfile::tempdir().unwrap();
        drop(DataDir::open(root.path()).unwrap());
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_mode_and_what_lies_in_it_is_private() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        for path in [root.path(), &data] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let directory = DataDir::open(root.path()).unwrap();
        assert_eq!((mode(root.path()), mode(&data), mode(&directory.paths().lock())), (0o755, 0o700, 0o600));
    }

    #[test]
    fn the_directories_of_sessions_are_spread_where_the_file_system_can() {
        // Beside the build, which lies on a disk: a temporary directory may not.
        let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let probe = root.path().join("probe");
        fs::create_dir(&probe).unwrap();
        let can_spread = spread(&probe).is_ok();
        let directory = DataDir::open(&root.path().join("desk")).unwrap();
        let agents = File::open(directory.paths().agents()).unwrap();
        let flags = rustix::fs::ioctl_getflags(&agents).unwrap_or(IFlags::empty());
        assert_eq!(flags.contains(IFlags::TOPDIR), can_spread);
    }

    #[test]
    fn a_directory_that_holds_anything_of_a_desk_without_a_store_is_refused_and_stays_as_it_is() {
        for left in ["data/left.json", "agents/left", "logs/left.log", "events.db"] {
            let root = tempfile::tempdir().unwrap();
            drop(DataDir::open(root.path()).unwrap());
            fs::write(root.path().join(left), "x").unwrap();
            let refused = DataDir::open(root.path()).unwrap_err().to_string();
            assert!(refused.contains("put frontdesk.db back, restore a backup"), "{refused}");
            fs::write(root.path().join("frontdesk.db"), "a store").unwrap();
            DataDir::open(root.path()).unwrap();
            assert!(root.path().join(left).exists());
        }
    }

    #[test]
    fn what_is_being_removed_and_what_a_file_system_keeps_make_no_desk() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("agents/.removed/left")).unwrap();
        fs::create_dir_all(root.path().join("data/lost+found")).unwrap();
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn a_path_that_can_be_no_directory_is_refused_in_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(refused.contains("check that it is a writable directory"), "{refused}");
    }
}
