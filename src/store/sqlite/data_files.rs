//! Session data too large for a row, or received later: files, each durable before the row that means it.
//!
//! A session has one file at most that its row means. One that takes its place has a name of its own, so that the row
//! always means a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::{Mutex, MutexGuard};

use crate::data_dir;
use crate::failpoint::Failpoint;
use crate::id::SessionId;
use crate::store::StoreError;

use super::file::storage_failed;

/// Data above this many bytes gets a file.
pub(super) const LARGEST_INLINE_BYTES: usize = 64 << 10;

const FINISHED: &str = "json";
const UNFINISHED: &str = "part";

/// Which file holds a session's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataFile {
    /// Whose it is.
    pub(super) session: SessionId,
    /// Zero for the file that came with the session's admission.
    pub(super) version: i64,
}

impl DataFile {
    /// The file that comes with the session's admission.
    pub(super) fn first(session: SessionId) -> Self {
        Self { session, version: 0 }
    }

    /// A file that takes another one's place.
    pub(super) fn another(session: SessionId) -> Self {
        // By chance, so that no two of any number at once have one name.
        let random = i64::from_be_bytes(crate::random::bytes()) & i64::MAX;
        Self { session, version: random.max(1) }
    }

    /// The name that it has once it is finished.
    pub(super) fn name(self) -> String {
        self.name_with(FINISHED)
    }

    fn name_with(self, extension: &str) -> String {
        match self.version {
            0 => format!("{}.{extension}", self.session),
            version => format!("{}.{version:016x}.{extension}", self.session),
        }
    }

    /// Which file this is, and whether it is finished, if the store gives a file such a name.
    pub(super) fn of(path: &Path) -> Option<(Self, bool)> {
        let name = path.file_name()?.to_str()?;
        let (stem, extension) = name.rsplit_once('.')?;
        let (session, version) = match stem.split_once('.') {
            None => (stem, 0),
            Some((session, version)) => (session, i64::from_str_radix(version, 16).ok()?),
        };
        let file = Self { session: session.parse().ok()?, version };
        let is_finished = match extension {
            FINISHED => true,
            UNFINISHED => false,
            _ => return None,
        };
        (file.name_with(extension) == name).then_some((file, is_finished))
    }
}

/// The directory of those files, and the thread that removes them: to let go of much data takes a file system long.
#[derive(Debug)]
pub(super) struct DataFiles {
    directory: PathBuf,
    removals: Mutex<Option<Removals>>,
}

#[derive(Debug)]
pub(super) struct Removals {
    queue: mpsc::Sender<DataFile>,
    thread: JoinHandle<()>,
}

impl DataFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        let (queue, files) = mpsc::channel();
        let place = directory.clone();
        let thread = std::thread::Builder::new().name("data-removal".into()).spawn(move || {
            for file in files {
                Failpoint::BeforeDataRemoval.hit();
                remove(&place, file);
            }
        });
        let thread = thread.inspect_err(|error| tracing::warn!(error = %error, "no thread for removals")).ok();
        Self { directory, removals: Mutex::new(thread.map(|thread| Removals { queue, thread })) }
    }

    /// Where a finished file is.
    pub(super) fn path(&self, file: DataFile) -> PathBuf {
        self.directory.join(file.name())
    }

    /// Begins a file. It goes again unless it is finished and kept.
    pub(super) fn begin(self: &Arc<Self>, name: DataFile) -> io::Result<Unfinished> {
        let path = self.directory.join(name.name_with(UNFINISHED));
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Unfinished { file, placed: PlacedFile { files: Arc::clone(self), name, keep: false } })
    }

    /// Writes a file; when this returns, it survives a loss of power. It goes again unless it is kept.
    pub(super) fn write(self: &Arc<Self>, name: DataFile, data: &[u8]) -> io::Result<PlacedFile> {
        self.begin(name)?.write(data)?.finish()
    }

    /// Has a file removed, if it is there, without waiting for it. What a crash leaves, the next start removes.
    pub(super) fn remove(&self, file: DataFile) {
        let sent = self.removals().as_ref().is_some_and(|removals| removals.queue.send(file).is_ok());
        if !sent {
            remove(&self.directory, file);
        }
    }

    /// Has every finished file of a session removed. Blocks.
    ///
    /// # Errors
    /// What the file system said of the directory.
    pub(super) fn remove_all_of(&self, session: SessionId) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            if let Some((file, true)) = DataFile::of(&entry?.path())
                && file.session == session
            {
                self.remove(file);
            }
        }
        Ok(())
    }

    /// Waits until everything is removed that was to be.
    pub(super) fn close(&self) {
        let Some(Removals { queue, thread }) = self.removals().take() else { return };
        drop(queue);
        let _ = thread.join();
    }

    pub(super) fn removals(&self) -> MutexGuard<'_, Option<Removals>> {
        self.removals.lock()
    }

    /// Removes what a crash left: files that no row means, and unfinished ones. What this store did not name is somebody
    /// else's and stays.
    pub(super) fn remove_strays(
        &self,
        is_meant: impl Fn(DataFile) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (mut removed, mut foreign) = (0, 0);
        for entry in fs::read_dir(&self.directory).map_err(|error| storage_failed(&error))? {
            let entry = entry.map_err(|error| storage_failed(&error))?;
            let path = entry.path();
            match DataFile::of(&path).filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                None => foreign += 1,
                Some((file, true)) if is_meant(file)? => {}
                Some(_) => {
                    fs::remove_file(&path).map_err(|error| storage_failed(&error))?;
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

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    placed: PlacedFile,
}

impl Unfinished {
    /// Writes the next part.
    pub(super) fn write(mut self, part: &[u8]) -> io::Result<Self> {
        match self.file.write_all(part) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.placed.discard(error)),
        }
    }

    /// Puts the whole in its place; when this returns, it survives a loss of power.
    pub(super) fn finish(self) -> io::Result<PlacedFile> {
        let Self { file, placed } = self;
        let finished = || {
            file.sync_all()?;
            fail_at(Failpoint::BeforeDataFile)?;
            let directory = &placed.files.directory;
            fs::rename(directory.join(placed.name.name_with(UNFINISHED)), directory.join(placed.name.name()))?;
            data_dir::sync_directory(directory)?;
            fail_at(Failpoint::AfterDataFile)
        };
        match finished() {
            Ok(()) => Ok(placed),
            Err(error) => Err(placed.discard(error)),
        }
    }
}

/// A file that no row means yet. Dropping it removes the file: its session was refused, or whoever asked is gone.
#[derive(Debug)]
pub(super) struct PlacedFile {
    files: Arc<DataFiles>,
    name: DataFile,
    keep: bool,
}

impl PlacedFile {
    /// Which file it is.
    pub(super) fn name(&self) -> DataFile {
        self.name
    }

    /// Lets the file stay: a row means it, or may.
    pub(super) fn keep(mut self) -> DataFile {
        self.keep = true;
        self.name
    }

    /// Removes the file before anybody is told of the error, so that a full disk does not stay full of what was refused.
    fn discard(mut self, error: io::Error) -> io::Error {
        self.keep = true;
        remove(&self.files.directory, self.name);
        error
    }
}

impl Drop for PlacedFile {
    fn drop(&mut self) {
        // A writer that panics leaves open what it has committed: the next start knows, and removes strays.
        if self.keep || std::thread::panicking() {
            return;
        }
        self.files.remove(self.name);
    }
}

/// Removes a file, finished or not.
fn remove(directory: &Path, file: DataFile) {
    for extension in [UNFINISHED, FINISHED] {
        match fs::remove_file(directory.join(file.name_with(extension))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(session.id = %file.session, error = %error, "session data file could not be removed");
            }
        }
    }
}

fn fail_at(point: Failpoint) -> io::Result<()> {
    if point.hit() { Err(io::Error::other("a failpoint says so")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_exactly_the_names_that_it_is_given() {
        let session = SessionId::from_bytes([0xab; 16]);
        for file in [DataFile::first(session), DataFile { session, version: 10 }, DataFile::another(session)] {
            assert_eq!(DataFile::of(Path::new(&file.name())), Some((file, true)));
            assert_eq!(DataFile::of(Path::new(&file.name_with(UNFINISHED))), Some((file, false)));
        }
        for stem in [session.to_string().to_uppercase(), format!("{session}.a"), format!("{session}.0000000000000000")]
        {
            assert_eq!(DataFile::of(Path::new(&format!("{stem}.json"))), None, "{stem}");
        }
        assert_eq!(DataFile::of(Path::new(&format!("{session}.json.bak"))), None);
    }
}
