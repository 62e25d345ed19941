//! What the audit says of sign-ins to a session that is live already. A customer can repeat them at will, so that within a
//! minute each address of a session is noted once, eight addresses at most; the next entry says how many there were beyond
//! that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::id::SessionId;

const WINDOW: Duration = Duration::from_secs(60);
const MOST_ADDRESSES: usize = 8;
/// When there are that many, those whose minute is over are forgotten.
const MANY: usize = 4_096;

/// The sign-ins of the last minute, by session.
#[derive(Debug, Default)]
pub struct SignIns {
    recent: Mutex<HashMap<SessionId, Recent>>,
}

/// Those of one session.
#[derive(Debug)]
struct Recent {
    began: Timestamp,
    noted: Vec<IpAddr>,
    /// How many were not noted.
    more: u64,
}

impl SignIns {
    /// What is to be noted of a sign-in; nothing if one like it was noted within the minute.
    pub fn detail(&self, session: SessionId, from: IpAddr, now: Timestamp) -> Option<String> {
        // Nothing panics under this lock.
        let mut recent = self.recent.lock();
        if recent.len() >= MANY {
            recent.retain(|_, of_session| of_session.is_current(now));
        }
        let of_session = recent.entry(session).or_insert(Recent { began: now, noted: Vec::new(), more: 0 });
        if !of_session.is_current(now) {
            let more = of_session.more;
            *of_session = Recent { began: now, noted: vec![from], more: 0 };
            return Some(if more == 0 { String::new() } else { format!("{more} more since the last entry") });
        }
        if of_session.noted.contains(&from) || of_session.noted.len() == MOST_ADDRESSES {
            of_session.more += 1;
            return None;
        }
        of_session.noted.push(from);
        Some(String::new())
    }
}

impl Recent {
    fn is_current(&self, now: Timestamp) -> bool {
        now.saturating_since(self.began) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn session(number: u8) -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [number; 10])
    }

    fn address(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn repeated_sign_ins_are_one_entry_a_minute_and_the_next_one_counts_them() {
        let sign_ins = SignIns::default();
        let at = |seconds| sign_ins.detail(session(1), address(1), NOW + Duration::from_secs(seconds));
        assert_eq!(at(0).as_deref(), Some(""));
        assert!((1..60).all(|second| at(second).is_none()));
        assert_eq!(at(60).as_deref(), Some("59 more since the last entry"));
        assert_eq!(at(120).as_deref(), Some(""));
    }

    #[test]
    fn another_address_and_another_session_are_noted_at_once_and_many_addresses_are_not() {
        let sign_ins = SignIns::default();
        let noted = (1..=100).filter(|n| sign_ins.detail(session(1), address(*n), NOW).is_some()).count();
        assert_eq!(noted, MOST_ADDRESSES);
        assert!(sign_ins.detail(session(2), address(1), NOW).is_some());
    }

    #[test]
    fn sessions_whose_minute_is_over_are_forgotten() {
        let sign_ins = SignIns::default();
        for n in 0..MANY {
            let id = SessionId::new(WallTime::from_unix_millis(i64::try_from(n).unwrap()), [0; 10]);
            sign_ins.detail(id, address(1), NOW);
        }
        sign_ins.detail(session(1), address(1), NOW + WINDOW);
        assert_eq!(sign_ins.recent.lock().len(), 1);
    }
}
