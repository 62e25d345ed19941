//! A line that waits to be written to an agent, and can be taken back until it is.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// A line on its way to the agent, until it is written or taken back. Its place in the queue is that of its number; its
/// text may come later.
#[derive(Clone, Debug)]
pub(super) struct QueuedLine {
    number: u64,
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    text: Mutex<Text>,
    changed: Notify,
}

/// What stands in a line.
#[derive(Debug)]
enum Text {
    /// It is being made, or has to be noted before the agent may get it.
    ToCome,
    There(Bytes),
    /// It was written, or taken back.
    Gone,
}

impl QueuedLine {
    /// A line for the call of this number, whose text is to come.
    pub(super) fn to_come(number: u64) -> Self {
        Self::with(number, Text::ToCome)
    }

    /// One without a number, which is complete.
    pub(super) fn of_notification(text: Bytes) -> Self {
        Self::with(0, Text::There(text))
    }

    fn with(number: u64, text: Text) -> Self {
        Self { number, slot: Arc::new(Slot { text: Mutex::new(text), changed: Notify::new() }) }
    }

    /// Puts the text into the line.
    pub(super) fn fill(&self, text: Bytes) {
        *self.slot.text() = Text::There(text);
        self.slot.changed.notify_one();
    }

    /// Takes the line back, and returns whether it was too late: it was written, or taken back before.
    pub(super) fn take_back(&self) -> bool {
        let before = std::mem::replace(&mut *self.slot.text(), Text::Gone);
        self.slot.changed.notify_one();
        matches!(before, Text::Gone)
    }

    /// The number of its call, or zero for a notification.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The text, once it is there; `None` if it was taken back. Cancel-safe: what is not returned stays.
    pub(super) async fn text(&self) -> Option<Bytes> {
        loop {
            {
                let mut text = self.slot.text();
                if !matches!(*text, Text::ToCome) {
                    return match std::mem::replace(&mut *text, Text::Gone) {
                        Text::There(text) => Some(text),
                        Text::ToCome | Text::Gone => None,
                    };
                }
            }
            self.slot.changed.notified().await;
        }
    }
}

impl Slot {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock()
    }
}
