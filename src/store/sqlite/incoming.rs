//! Session data that is received in parts: each goes to the file before the next is taken, so that memory stays small.

use std::io;
use std::sync::Arc;

use crate::id::SessionId;
use crate::store::{Answer, Incoming, StoreError};

use super::changes::ReplaceData;
use super::data_files::{DataFile, DataFiles, Unfinished};
use super::file::storage_failed;
use super::writer::Entrance;

/// Data on its way into a file. The file goes with this, unless it was placed.
pub(super) struct Receiving {
    files: Arc<DataFiles>,
    entrance: Entrance,
    name: DataFile,
    /// Nothing once a part could not be written.
    unfinished: Option<Unfinished>,
}

impl Receiving {
    /// Begins a file for a session's data.
    pub(super) async fn begin(
        files: &Arc<DataFiles>,
        entrance: Entrance,
        session: SessionId,
    ) -> Result<Self, StoreError> {
        let (files, name) = (Arc::clone(files), DataFile::another(session));
        let beginning = Arc::clone(&files);
        let unfinished = off_thread(name, move || beginning.begin(name)).await?;
        Ok(Self { files, entrance, name, unfinished: Some(unfinished) })
    }

    fn take(&mut self) -> Result<Unfinished, StoreError> {
        self.unfinished.take().ok_or_else(|| StoreError::Unavailable("a part of the data was not written".into()))
    }
}

impl Incoming for Receiving {
    fn write(&mut self, part: &[u8]) -> Result<(), StoreError> {
        let written = self.take()?.write(part);
        self.unfinished = Some(written.map_err(|error| not_stored(self.name, &error))?);
        Ok(())
    }

    fn place(mut self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            let unfinished = self.take()?;
            let file = Some(off_thread(self.name, move || unfinished.finish()).await?);
            let Self { files, entrance, .. } = *self;
            // From here on the change owns the file: whoever asked may go, it is placed or removed.
            entrance.submit(move |reply| Box::new(ReplaceData { file, before: None, files, reply })).await
        })
    }
}

/// Works on a file where it may block.
pub(super) async fn off_thread<T: Send + 'static>(
    file: DataFile,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
        .map_err(|error| not_stored(file, &error))
}

fn not_stored(file: DataFile, error: &io::Error) -> StoreError {
    let error = storage_failed(error);
    tracing::error!(session.id = %file.session, error = %error, "session data not stored");
    error
}
