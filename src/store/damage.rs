//! What was found damaged in storage and set aside, named once each, so that operators learn of it while the rest goes on.
//!
//! Nothing here is stored: the damage itself is in the file, and `frontdesk verify` finds it there.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};

use crate::id::SessionId;

/// What to do about data that is damaged: one advice, whoever gives it.
pub const CURE: &str = "restore the data directory from a backup with `frontdesk restore`";

/// What the audit says of a session that was given up because of its damaged record.
pub const GIVEN_UP: &str = "given up: its record is damaged";

/// Names beyond this are only counted as more.
const MOST_NAMES: usize = 100;

/// The damage that one file has shown since it was opened.
#[derive(Debug, Default)]
pub struct Damage {
    found: Mutex<Found>,
}

/// What is known of the damage of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is set aside: each names a record, and says what is wrong with it.
    pub names: BTreeSet<String>,
    /// Whether there is more than is named.
    pub has_more: bool,
    /// Why changes were refused, if SQLite found the file itself malformed when it was to be changed.
    pub malformed: Option<String>,
}

impl Damage {
    /// Notes something damaged. It is logged the first time.
    pub(crate) fn note(&self, what: &str) {
        let mut found = self.lock();
        if found.names.contains(what) {
            return;
        }
        if found.names.len() >= MOST_NAMES {
            found.has_more = true;
            return;
        }
        found.names.insert(what.to_owned());
        drop(found);
        tracing::error!(damage = what, "stored data is damaged and set aside; everything else goes on");
    }

    /// Forgets the damage of a live session's record that was given up.
    pub(crate) fn forget_session(&self, id: SessionId) {
        let of_session = format!("session {id}: ");
        self.lock().names.retain(|name| !name.starts_with(&of_session));
    }

    /// Notes whether SQLite found the file malformed when it was last to be changed.
    pub(crate) fn set_malformed(&self, why: Option<&str>) {
        self.lock().malformed = why.map(str::to_owned);
    }

    /// What is known so far.
    pub fn found(&self) -> Found {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        // Nothing panics under this lock.
        self.found.lock()
    }
}

impl Found {
    /// What is set aside, in words; nothing if nothing is.
    pub fn in_words(&self) -> Option<String> {
        const MOST: usize = 5;
        let mut names = self.names.iter();
        let mut words = names.by_ref().take(MOST).cloned().collect::<Vec<_>>().join("; ");
        let more = names.count();
        if more > 0 || self.has_more {
            let least = if self.has_more { "more than " } else { "" };
            words.push_str(&format!("; and {least}{more} more"));
        }
        (!words.is_empty()).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_named_once_and_the_names_are_bounded() {
        let damage = Damage::default();
        for number in 0..MOST_NAMES {
            damage.note(&format!("session {number}"));
            damage.note("session 0");
        }
        assert_eq!((damage.found().names.len(), damage.found().has_more), (MOST_NAMES, false));
        damage.note("one more");
        assert_eq!((damage.found().names.len(), damage.found().has_more), (MOST_NAMES, true));
    }
}
