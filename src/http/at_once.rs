//! Calls that last long and hold something meanwhile: so many at once in all, and so many of one session.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::id::SessionId;

/// A limit of calls at once. Cloning shares it.
#[derive(Clone, Debug)]
pub struct AtOnce {
    most: usize,
    most_of_one: usize,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by_session: HashMap<SessionId, usize>,
}

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub struct Begun {
    limit: AtOnce,
    session: Option<SessionId>,
}

impl AtOnce {
    /// A limit of `most` in all, and `most_of_one` of one session.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, under_way: Arc::default() }
    }

    /// Begins a call, of a session or of none; `None` if there are as many as may be.
    pub fn begin(&self, session: Option<SessionId>) -> Option<Begun> {
        let mut under_way = self.under_way();
        if under_way.all >= self.most {
            return None;
        }
        if let Some(session) = session {
            let of_session = under_way.by_session.get(&session).copied().unwrap_or(0);
            if of_session >= self.most_of_one {
                return None;
            }
            under_way.by_session.insert(session, of_session + 1);
        }
        under_way.all += 1;
        Some(Begun { limit: self.clone(), session })
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.under_way().all
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut under_way = self.limit.under_way();
        under_way.all -= 1;
        let Some(session) = self.session else { return };
        if let Some(of_session) = under_way.by_session.get_mut(&session) {
            *of_session -= 1;
            if *of_session == 0 {
                under_way.by_session.remove(&session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_under_way_than_may_be_in_all_and_of_one_session() {
        let [ada, bob] = [1, 2].map(|byte| Some(SessionId::from_bytes([byte; 16])));
        let limit = AtOnce::new(3, 2);
        let (first, _second) = (limit.begin(ada).unwrap(), limit.begin(ada).unwrap());
        assert!(limit.begin(ada).is_none(), "as many of one session as may be");
        let of_none = limit.begin(None).unwrap();
        assert!(limit.begin(bob).is_none(), "as many in all as may be");
        drop(of_none);
        let bobs = limit.begin(bob).unwrap();
        drop((first, bobs));
        assert!(limit.begin(ada).is_some());
        assert_eq!(limit.under_way().by_session.len(), 1, "nothing is left of a session that has none");
    }
}
