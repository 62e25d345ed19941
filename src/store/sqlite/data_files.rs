//! Session data too large for a row: one file a session, durable before the row that means it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use crate::data_dir;
use crate::failpoint::Failpoint;
use crate::id::SessionId;

/// Data above this many bytes gets a file.
pub(super) const LARGEST_INLINE_BYTES: usize = 64 << 10;

const FINISHED: &str = "json";
const UNFINISHED: &str = "part";

/// The directory of those files, and the thread that removes them: to let go of much data takes a file system long.
#[derive(Debug)]
pub(super) struct DataFiles {
    directory: PathBuf,
    removals: Mutex<Option<Removals>>,
}

#[derive(Debug)]
pub(super) struct Removals {
    queue: mpsc::Sender<SessionId>,
    thread: JoinHandle<()>,
}

impl DataFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        let (queue, ids) = mpsc::channel();
        let place = directory.clone();
        let thread = std::thread::Builder::new().name("data-removal".into()).spawn(move || {
            for id in ids {
                Failpoint::BeforeDataRemoval.hit();
                remove(&place, id);
            }
        });
        let thread = thread.inspect_err(|error| tracing::warn!(error = %error, "no thread for removals")).ok();
        Self { directory, removals: Mutex::new(thread.map(|thread| Removals { queue, thread })) }
    }

    /// Where the session's file is.
    pub(super) fn path(&self, id: SessionId) -> PathBuf {
        self.directory.join(format!("{id}.{FINISHED}"))
    }

    /// Writes the session's file; when this returns, it survives a loss of power. It goes again unless it is kept.
    pub(super) fn write(self: &Arc<Self>, id: SessionId, data: &[u8]) -> io::Result<PlacedFile> {
        match self.place(id, data) {
            Ok(()) => Ok(PlacedFile { files: Arc::clone(self), id, keep: false }),
            Err(error) => {
                // Before the answer, so that a full disk does not stay full of what was refused.
                remove(&self.directory, id);
                Err(error)
            }
        }
    }

    fn place(&self, id: SessionId, data: &[u8]) -> io::Result<()> {
        let path = self.path(id);
        let unfinished = path.with_extension(UNFINISHED);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(data)?;
        file.sync_all()?;
        fail_at(Failpoint::BeforeDataFile)?;
        fs::rename(&unfinished, &path)?;
        data_dir::sync_directory(&self.directory)?;
        fail_at(Failpoint::AfterDataFile)
    }

    /// Has the session's file removed, if it has one, without waiting for it. What a crash leaves, the next start
    /// removes.
    pub(super) fn remove(&self, id: SessionId) {
        let sent = self.removals().as_ref().is_some_and(|removals| removals.queue.send(id).is_ok());
        if !sent {
            remove(&self.directory, id);
        }
    }

    /// Waits until everything is removed that was to be.
    pub(super) fn close(&self) {
        let Some(Removals { queue, thread }) = self.removals().take() else { return };
        drop(queue);
        let _ = thread.join();
    }

    pub(super) fn removals(&self) -> MutexGuard<'_, Option<Removals>> {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what a crash left: files of sessions that are not live, and unfinished ones. What this store did not
    /// name is somebody else's and stays.
    pub(super) fn remove_strays(&self, is_live: impl Fn(SessionId) -> bool) -> io::Result<()> {
        let (mut removed, mut foreign) = (0, 0);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            match session_of(&path).filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                None => foreign += 1,
                Some((id, extension)) if extension == FINISHED && is_live(id) => {}
                Some(_) => {
                    fs::remove_file(&path)?;
                    removed += 1;
                }
            }
        }
        if removed > 0 {
            tracing::info!(files = removed, "removed session data that no session means");
        }
        if foreign > 0 {
            let directory = self.directory.display();
            tracing::warn!(files = foreign, directory = %directory, "left alone what is no session data");
        }
        Ok(())
    }
}

/// Whose file this is and with which extension, if the store gives a file such a name.
pub(super) fn session_of(path: &Path) -> Option<(SessionId, &str)> {
    let (stem, extension) = path.file_name()?.to_str()?.split_once('.')?;
    let id: SessionId = stem.parse().ok()?;
    let is_ours = id.to_string() == stem && [FINISHED, UNFINISHED].contains(&extension);
    is_ours.then_some((id, extension))
}

/// A file that no row means yet. Dropping it removes the file: its session was refused, or whoever asked is gone.
#[derive(Debug)]
pub(super) struct PlacedFile {
    files: Arc<DataFiles>,
    id: SessionId,
    keep: bool,
}

impl PlacedFile {
    /// Lets the file stay: a row means it, or may.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for PlacedFile {
    fn drop(&mut self) {
        // A writer that panics leaves open what it has committed: the next start knows, and removes strays.
        if self.keep || std::thread::panicking() {
            return;
        }
        self.files.remove(self.id);
    }
}

/// Removes the session's file, finished or not.
fn remove(directory: &Path, id: SessionId) {
    for extension in [UNFINISHED, FINISHED] {
        match fs::remove_file(directory.join(format!("{id}.{extension}"))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(session.id = %id, error = %error, "session data file could not be removed");
            }
        }
    }
}

fn fail_at(point: Failpoint) -> io::Result<()> {
    if point.hit() { Err(io::Error::other("a failpoint says so")) } else { Ok(()) }
}
