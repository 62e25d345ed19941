//! The ends of the logs of sessions that failed, which stay with the sessions' history.
//!
//! ```text
//!   agent gone ──> logs/ID.part, synced ──> logs/ID.log ──> end of the session stored ──> its directory removed
//!   history pruned: row deleted ──> logs/ID.log removed
//! ```
//!
//! A crash leaves a file without a row at most, never a row without its file. The next start removes such files, and
//! writes the file of a session that lives anew if that session fails again. The row says how many bytes are kept.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::data_dir::{LOGS, sync_directory};
use crate::failpoint::Failpoint;
use crate::id::SessionId;
use crate::shim::log_file;
use crate::shim::place::Place;
use crate::store::{Store, StoreError};

use super::Launcher;

const FINISHED: &str = "log";
const UNFINISHED: &str = "part";

/// Logs that are being kept at once: each takes memory and two syncs, and very many sessions may fail together.
const AT_ONCE: usize = 4;

/// The directory of kept logs. Holds nothing open; cloning shares the bound on what is done at once.
#[derive(Clone, Debug)]
pub(crate) struct KeptLogs {
    directory: PathBuf,
    turns: Arc<Semaphore>,
}

impl Launcher {
    /// Keeps the end of the log of a session that has failed and has no agent any more; returns how many bytes. A disk that
    /// refuses costs the log, and not the session its end.
    pub(crate) async fn keep_log(&self, session: SessionId) -> u32 {
        let Some(most) = self.settings.get().history.log else { return 0 };
        let _turn = self.kept_logs.turns.acquire().await;
        let (logs, place) = (self.kept_logs.clone(), self.place(session));
        let kept = tokio::task::spawn_blocking(move || logs.keep(session, &place, most)).await;
        kept.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!(session.id = %session, error = %error, "the log of a failed session is not kept");
            0
        })
    }
}

impl KeptLogs {
    /// Names the directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The one beside the sessions' directories.
    pub(crate) fn beside(agents: &Path) -> Self {
        Self::new(agents.with_file_name(LOGS))
    }

    /// Keeps up to `most` bytes of the end of a session's log, and returns how many; none if there is no log. When this
    /// returns, the file survives a loss of power. After an error there is none. Blocks.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn keep(&self, session: SessionId, place: &Place, most: u64) -> io::Result<u32> {
        let text = log_file::end_within(place, most)?;
        if text.is_empty() {
            return Ok(0);
        }
        let kept = self.write(session, &text);
        if kept.is_err() {
            self.remove(session);
        }
        kept.map(|()| u32::try_from(text.len()).unwrap_or(u32::MAX))
    }

    fn write(&self, session: SessionId, text: &[u8]) -> io::Result<()> {
        let unfinished = self.path(session, UNFINISHED);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(text)?;
        file.sync_all()?;
        fail_at(Failpoint::BeforeKeptLog)?;
        fs::rename(unfinished, self.path(session, FINISHED))?;
        sync_directory(&self.directory)?;
        fail_at(Failpoint::AfterKeptLog)
    }

    /// The last lines of a kept log, 1 MiB of them at most; nothing if it is not there, or can't be read. Blocks.
    pub(crate) fn end(&self, session: SessionId, lines: usize) -> Option<Bytes> {
        let read = File::open(self.path(session, FINISHED)).and_then(|file| log_file::last_lines(&file, lines));
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if let Err(error) = read.as_ref()
            && !is_missing(error)
        {
            tracing::warn!(session.id = %session, error = %error, "kept log not read");
        }
        read.ok()
    }

    /// The bytes that a session's kept log takes. Blocks.
    pub(crate) fn size(&self, session: SessionId) -> u64 {
        fs::metadata(self.path(session, FINISHED)).map_or(0, |metadata| metadata.len())
    }

    /// Removes what is kept of a session's log, if anything is. Blocks.
    pub(crate) fn remove(&self, session: SessionId) {
        for extension in [FINISHED, UNFINISHED] {
            if let Err(error) = fs::remove_file(self.path(session, extension))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(session.id = %session, error = %error, "kept log not removed; the next start tries again");
            }
        }
    }

    /// Removes what a crash left: files of sessions that have not ended with a log, and unfinished ones. What has another
    /// name is somebody else's and stays. To be called before any session goes on.
    pub(crate) async fn remove_strays(&self, store: &dyn Store) {
        /// Rows that are read in one turn.
        const ROWS: usize = 1_000;
        let logs = self.clone();
        let found = tokio::task::spawn_blocking(move || logs.all()).await.map_err(io::Error::other).flatten();
        let found = found.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "kept logs not looked through");
            Vec::new()
        });
        for some in found.chunks(ROWS) {
            if let Err(error) = self.remove_strays_among(some, store).await {
                tracing::warn!(error = %error, "kept logs not held against the history");
                return;
            }
        }
    }

    async fn remove_strays_among(&self, found: &[KeptLog], store: &dyn Store) -> Result<(), StoreError> {
        let sessions = found.iter().map(|log| log.session).collect();
        let meant = store.with_kept_log(sessions).await?;
        let is_stray = |log: &&KeptLog| !log.is_finished || !meant.contains(&log.session);
        let strays: Vec<_> = found.iter().filter(is_stray).map(|log| log.path.clone()).collect();
        let number = strays.len();
        let removed = tokio::task::spawn_blocking(move || strays.iter().try_for_each(fs::remove_file)).await;
        match removed.map_err(io::Error::other).flatten() {
            Ok(()) if number > 0 => tracing::info!(files = number, "removed kept logs that no session means"),
            Ok(()) => {}
            Err(error) => tracing::warn!(error = %error, "kept logs that no session means were not removed"),
        }
        Ok(())
    }

    /// All files that a server has named here. Blocks.
    ///
    /// # Errors
    /// What the file system said; a directory that is not there has none.
    pub(crate) fn all(&self) -> io::Result<Vec<KeptLog>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut logs = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Some(log) = KeptLog::of(entry.path())
                && entry.file_type()?.is_file()
            {
                logs.push(log);
            }
        }
        Ok(logs)
    }

    fn path(&self, session: SessionId, extension: &str) -> PathBuf {
        self.directory.join(format!("{session}.{extension}"))
    }
}

/// A file in the directory of kept logs.
#[derive(Clone, Debug)]
pub struct KeptLog {
    /// Where it is.
    pub path: PathBuf,
    /// Whose log it is.
    pub session: SessionId,
    /// Whether all of it is there.
    pub is_finished: bool,
}

impl KeptLog {
    /// The file with this path, if a server gives a file such a name.
    pub(crate) fn of(path: PathBuf) -> Option<Self> {
        let session: SessionId = path.file_stem()?.to_str()?.parse().ok()?;
        let extension =
            path.extension().and_then(OsStr::to_str).filter(|name| [FINISHED, UNFINISHED].contains(name))?;
        let is_finished = extension == FINISHED;
        let is_its_name = path.file_name()?.to_str()? == format!("{session}.{extension}");
        is_its_name.then_some(Self { path, session, is_finished })
    }

    /// The name of a session's finished file.
    pub(crate) fn name(session: SessionId) -> String {
        format!("{session}.{FINISHED}")
    }
}

fn fail_at(point: Failpoint) -> io::Result<()> {
    if point.hit() { Err(io::Error::other("a failpoint says so")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A session's directory with this log, and where logs are kept.
    fn desk(older: &str, newer: &str) -> (tempfile::TempDir, Place, KeptLogs) {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(&root.path().join("agents/session"));
        place.make().unwrap();
        fs::create_dir(root.path().join(LOGS)).unwrap();
        fs::write(place.older_log(), older).unwrap();
        fs::write(place.log(), newer).unwrap();
        let logs = KeptLogs::beside(&root.path().join("agents"));
        (root, place, logs)
    }

    fn session() -> SessionId {
        SessionId::from_bytes([7; 16])
    }

    #[test]
    fn the_end_of_a_log_is_kept_over_the_file_that_was_begun_anew_from_a_line_s_beginning() {
        let (_root, place, logs) = desk("one\ntwo\n", "three\nfour\n");
        assert_eq!(logs.keep(session(), &place, 1 << 10).unwrap(), 19);
        assert_eq!(logs.end(session(), 9).unwrap(), "one\ntwo\nthree\nfour\n");
        assert_eq!(logs.keep(session(), &place, 13).unwrap(), 11, "what is cut is left out as a line");
        assert_eq!(logs.end(session(), 9).unwrap(), "three\nfour\n");
        assert_eq!((logs.end(session(), 1).unwrap(), logs.size(session())), ("four\n".into(), 11));
        let mode = fs::metadata(logs.path(session(), FINISHED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        logs.remove(session());
        assert_eq!((logs.end(session(), 9), logs.size(session()), logs.all().unwrap().len()), (None, 0, 0));
    }

    #[test]
    fn a_line_that_is_longer_than_what_is_kept_is_kept_by_its_end() {
        let (_root, place, logs) = desk("", &"x".repeat(100));
        assert_eq!(logs.keep(session(), &place, 10).unwrap(), 10);
        assert_eq!(logs.end(session(), 1).unwrap(), "x".repeat(10));
    }

    #[test]
    fn without_a_log_and_without_a_place_for_it_nothing_is_left() {
        let (root, place, logs) = desk("", "");
        assert_eq!(logs.keep(session(), &place, 10).unwrap(), 0);
        fs::write(place.log(), "why").unwrap();
        fs::create_dir(logs.path(session(), FINISHED)).unwrap();
        logs.keep(session(), &place, 10).unwrap_err();
        fs::remove_dir(logs.path(session(), FINISHED)).unwrap();
        assert_eq!(fs::read_dir(root.path().join(LOGS)).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_known_by_exactly_the_names_that_it_is_given() {
        for (name, is_finished) in [(KeptLog::name(session()), true), (format!("{}.part", session()), false)] {
            let log = KeptLog::of(name.into()).unwrap();
            assert_eq!((log.session, log.is_finished), (session(), is_finished));
        }
        for name in
            [session().to_string(), format!("{}.json", session()), format!("{}.log.log", session()), "x.log".into()]
        {
            assert!(KeptLog::of(name.into()).is_none());
        }
    }
}
