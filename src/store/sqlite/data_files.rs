//! Session data too large for a row: one file a session, durable before the row that means it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir;
use crate::failpoint::Failpoint;
use crate::id::SessionId;

/// Data above this many bytes gets a file.
pub(super) const LARGEST_INLINE_BYTES: usize = 64 << 10;

const UNFINISHED: &str = "part";

/// The directory of those files.
#[derive(Debug)]
pub(super) struct DataFiles {
    directory: PathBuf,
}

impl DataFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where the session's file is.
    pub(super) fn path(&self, id: SessionId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    /// Writes the session's file; when this returns, it survives a loss of power. It goes again unless it is kept.
    pub(super) fn write(self: &Arc<Self>, id: SessionId, data: &[u8]) -> io::Result<PlacedFile> {
        // From here on, so that a full disk does not stay full of what was refused.
        let placed = PlacedFile { files: Arc::clone(self), id, keep: false };
        let path = self.path(id);
        let unfinished = path.with_extension(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(data)?;
        file.sync_all()?;
        fail_at(Failpoint::BeforeDataFile)?;
        fs::rename(&unfinished, &path)?;
        data_dir::sync_directory(&self.directory)?;
        fail_at(Failpoint::AfterDataFile)?;
        Ok(placed)
    }

    /// Removes the session's file, if it has one.
    pub(super) fn remove(&self, id: SessionId) {
        remove(&self.path(id), id);
    }

    /// Removes what a crash left: files of sessions that are not live, and unfinished ones.
    pub(super) fn remove_strays(&self, is_live: impl Fn(SessionId) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let finished = path.extension().is_some_and(|extension| extension != UNFINISHED);
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if finished && id.is_some_and(&is_live) {
                continue;
            }
            fs::remove_file(&path)?;
            removed += 1;
        }
        Ok(removed)
    }
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
        let path = self.files.path(self.id);
        remove(&path.with_extension(UNFINISHED), self.id);
        remove(&path, self.id);
    }
}

fn remove(path: &Path, id: SessionId) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(session.id = %id, error = %error, "session data file could not be removed"),
    }
}

fn fail_at(point: Failpoint) -> io::Result<()> {
    if point.hit() { Err(io::Error::other("a failpoint says so")) } else { Ok(()) }
}
