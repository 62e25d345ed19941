//! Session data too large for a row: one file a session, durable before the row that means it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

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

    /// Writes the session's file; when this returns, it survives a loss of power.
    pub(super) fn write(&self, id: SessionId, data: &[u8]) -> io::Result<PathBuf> {
        let path = self.path(id);
        let unfinished = path.with_extension(UNFINISHED);
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(data)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // A full disk must not stay full of what was refused.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        Failpoint::BeforeDataFile.hit();
        fs::rename(&unfinished, &path)?;
        data_dir::sync_directory(&self.directory)?;
        Failpoint::AfterDataFile.hit();
        Ok(path)
    }

    /// Removes the session's file, if it has one.
    pub(super) fn remove(&self, id: SessionId) {
        match fs::remove_file(self.path(id)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(session.id = %id, error = %error, "session data file could not be removed"),
        }
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
