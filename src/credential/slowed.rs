//! Who is being slowed, by name, for operators to see. Holds what `gate` refused lately and nothing that decides.
//!
//! The throttle itself knows nobody's name. So an entry is made by the first attempt that is refused, and is shown while
//! attempts would be; of one that is refused again within a minute, nothing is said anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::throttle::{Account, Kind, Limited, Sender, TooManyAttempts};
use crate::clock::Timestamp;

/// Entries at most; the one that is over first gives way.
const MOST: usize = 1_000;
/// Names that are longer than any email are not kept.
const LONGEST_NAME_BYTES: usize = 320;
/// An attempt that is refused so long after the one before is another episode.
const QUIET: Duration = Duration::from_mins(1);

/// Who is being slowed, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowedOne {
    /// By which limit, whom, and from where.
    pub who: Who,
    /// How many failed attempts count at the moment of the last refusal.
    pub failures: u32,
    /// How many attempts were refused since it began.
    pub refused: u64,
    /// When the next attempt is let through.
    pub until: Timestamp,
}

/// Whom a limit slows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// An account, from one address.
    AccountAndAddress(Name, IpAddr),
    /// An account, from all addresses that never succeeded for it.
    Account(Name),
    /// All accounts, from one address.
    Address(IpAddr),
}

/// The name of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A customer's.
    Customer(Box<str>),
    /// What operators sign in with.
    Operator(Box<str>),
}

/// The table of those who are slowed.
#[derive(Default)]
pub(super) struct Slowed(Mutex<HashMap<Who, Entry>>);

struct Entry {
    failures: u32,
    refused: u64,
    until: Timestamp,
    last: Timestamp,
}

impl Slowed {
    /// Notes an attempt that was refused. Returns whether that begins an episode.
    pub(super) fn note(&self, account: &Account<'_>, sender: Sender, refusal: TooManyAttempts, now: Timestamp) -> bool {
        let Some(who) = who(account, sender, refusal.limit) else { return false };
        let until = now + refusal.retry_after;
        let mut all = self.lock();
        if let Some(entry) = all.get_mut(&who) {
            let is_new = now.saturating_since(entry.last) > QUIET;
            let refused = if is_new { 1 } else { entry.refused.saturating_add(1) };
            *entry = Entry { failures: refusal.failures, refused, until, last: now };
            return is_new;
        }
        if all.len() >= MOST {
            let first = all.iter().min_by_key(|(_, entry)| entry.until).map(|(who, _)| who.clone());
            first.and_then(|who| all.remove(&who));
        }
        all.insert(who, Entry { failures: refusal.failures, refused: 1, until, last: now });
        true
    }

    /// Those who are slowed at `now`, the longest first.
    pub(super) fn at(&self, now: Timestamp) -> Vec<SlowedOne> {
        let all = self.lock();
        let slowed = all.iter().filter(|(_, entry)| entry.until > now);
        let mut slowed: Vec<_> = slowed
            .map(|(who, entry)| SlowedOne {
                who: who.clone(),
                failures: entry.failures,
                refused: entry.refused,
                until: entry.until,
            })
            .collect();
        slowed.sort_by_key(|one| std::cmp::Reverse(one.until));
        slowed
    }

    /// Forgets an account.
    pub(super) fn forget(&self, account: &Account<'_>) {
        let name = name(account);
        self.lock().retain(|who, _| match who {
            Who::AccountAndAddress(known, _) | Who::Account(known) => Some(known) != name.as_ref(),
            Who::Address(_) => true,
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Entry>> {
        self.0.lock()
    }
}

fn who(account: &Account<'_>, Sender { address, .. }: Sender, limit: Limited) -> Option<Who> {
    match limit {
        Limited::AccountAndAddress => Some(Who::AccountAndAddress(name(account)?, address)),
        Limited::Account => Some(Who::Account(name(account)?)),
        Limited::Address => Some(Who::Address(address)),
    }
}

fn name(account: &Account<'_>) -> Option<Name> {
    let text = account.name();
    (text.len() <= LONGEST_NAME_BYTES).then(|| match account.kind() {
        Kind::Customer => Name::Customer(text.into()),
        Kind::Operator => Name::Operator(text.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(0);
    const SECOND: Duration = Duration::from_secs(1);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ann() -> Account<'static> {
        Account::customer("ann")
    }

    fn refusal(limit: Limited) -> TooManyAttempts {
        TooManyAttempts { retry_after: 6 * SECOND, limit, failures: 10 }
    }

    #[test]
    fn whoever_is_refused_is_shown_until_the_next_attempt_is_let_through() {
        let slowed = Slowed::default();
        slowed.note(&ann(), HOME.into(), refusal(Limited::Account), NOW);
        slowed.note(&ann(), HOME.into(), refusal(Limited::Account), NOW + SECOND);
        let until = NOW + 7 * SECOND;
        let who = Who::Account(Name::Customer("ann".into()));
        assert_eq!(slowed.at(NOW + SECOND), [SlowedOne { who, failures: 10, refused: 2, until }]);
        assert_eq!(slowed.at(until), []);
    }

    #[test]
    fn an_episode_begins_once_and_anew_after_a_quiet_minute() {
        let slowed = Slowed::default();
        let begins =
            |second: u32| slowed.note(&ann(), HOME.into(), refusal(Limited::AccountAndAddress), NOW + SECOND * second);
        assert_eq!([0, 6, 12, 72, 133].map(begins), [true, false, false, false, true]);
    }

    #[test]
    fn a_customer_and_an_operator_of_one_name_are_two() {
        let slowed = Slowed::default();
        for account in [ann(), Account::operator("ann")] {
            assert!(slowed.note(&account, HOME.into(), refusal(Limited::Account), NOW));
        }
        slowed.note(&ann(), HOME.into(), refusal(Limited::Address), NOW);
        slowed.forget(&ann());
        let left: Vec<_> = slowed.at(NOW).into_iter().map(|one| one.who).collect();
        assert!(left.contains(&Who::Account(Name::Operator("ann".into()))) && left.len() == 2, "{left:?}");
    }

    #[test]
    fn who_invents_names_does_not_fill_the_memory() {
        let slowed = Slowed::default();
        for n in 0..MOST + 10 {
            slowed.note(&Account::customer(&n.to_string()), HOME.into(), refusal(Limited::Account), NOW);
        }
        assert!(!slowed.note(&Account::customer(&"x".repeat(321)), HOME.into(), refusal(Limited::Account), NOW));
        assert_eq!(slowed.at(NOW).len(), MOST);
    }
}
