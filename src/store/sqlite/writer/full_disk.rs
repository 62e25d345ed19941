//! What the writer does while the disk is full: it refuses what needs room, and lives on its ballast.
//!
//! ```text
//!   a batch meets a full disk, nothing of it is written ──> some of the ballast released ──> the log begun anew in its
//!   place ──> pages freed within the database ──> what needs no room is written again
//! ```

use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::boot_time;
use crate::store::StoreError;
use crate::store::sqlite::file;

use super::{Change, Needs, Writer};

impl Writer {
    /// Waits for a change; nothing once the last sender is gone. While room is short it looks meanwhile whether there is
    /// enough again.
    pub(super) fn next(&mut self) -> Option<Box<dyn Change>> {
        const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
        while self.shortage.is_on() {
            self.end_shortage();
            match self.queue.try_recv() {
                Ok(change) => return Some(change),
                Err(mpsc::error::TryRecvError::Empty) => std::thread::sleep(BETWEEN_LOOKS),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
        self.queue.blocking_recv()
    }

    /// Refuses what came before room was short, and would make the store larger.
    pub(super) fn refuse_growth(&self, batch: &mut Vec<Box<dyn Change>>) {
        if self.shortage.is_on() {
            let growing = batch.extract_if(.., |change| change.needs() == Needs::Room);
            growing.for_each(|change| change.answer(Err(StoreError::Full)));
        }
    }

    /// Refuses growth from here on, and releases some of the ballast; false if none was left.
    pub(super) fn make_room(&mut self) -> bool {
        if !self.shortage.set(true) {
            let needed_bytes = self.ballast.needed();
            tracing::error!(needed_bytes, "the disk is full; its reserve is released, and nothing new is taken");
        }
        self.connection.as_ref().is_some_and(|connection| self.ballast.release(connection))
    }

    /// The same while there is no connection: then the room is everybody's.
    pub(super) fn make_room_while_closed(&mut self) -> bool {
        self.shortage.set(true);
        self.ballast.give_step()
    }

    /// Begins with a disk that was full at the start.
    pub(super) fn begin_short(&mut self) {
        let needed_bytes = self.ballast.needed();
        tracing::error!(needed_bytes, "the disk has too little room for its reserve; nothing new is taken");
        // There may be no log yet to reserve room for.
        self.use_room();
        self.make_room();
        self.use_room();
    }

    /// Begins the log anew in the room that it has, and makes room within the database.
    pub(super) fn use_room(&self) {
        let Some(connection) = &self.connection else { return };
        let used = file::settle_in_place(connection).and_then(|()| self.ballast.make_room_within(connection));
        if let Err(error) = used {
            tracing::warn!(error = %error, "the reserve could not be used");
        }
    }

    /// Makes the ballast whole if there is room for that, and admits growth again.
    fn end_shortage(&mut self) {
        const BETWEEN_TRIES: Duration = Duration::from_secs(1);
        let now = boot_time();
        if now.saturating_since(self.tried) < BETWEEN_TRIES {
            return;
        }
        self.tried = now;
        if self.ballast.take().is_ok() {
            self.shortage.set(false);
            tracing::info!("the disk has room again; its reserve is whole, and everything is taken");
        }
    }
}
