use tokio::sync::oneshot;

use super::*;
use crate::clock::WallTime;
use crate::id::{Epoch, Revision};
use crate::session::{Ending, Outcome, Phase, Reason, SessionRecord};
use crate::token::TokenHash;

#[test]
fn of_many_sessions_each_is_found_by_its_customer_and_its_id_until_it_ends() {
    const MANY: u32 = 5_000;
    let index = Index::new();
    (0..MANY).for_each(|number| index.show(session(number, 0)));
    // Every other one ends, and some of these customers come again.
    (0..MANY).step_by(2).for_each(|number| index.show(ended(session(number, 0))));
    (0..MANY).step_by(6).for_each(|number| index.show(session(number, 1)));
    for number in 0..MANY {
        let (first, second) = (session(number, 0), session(number, 1));
        let live = match (number % 2, number % 6) {
            (1, _) => Some(&first),
            (_, 0) => Some(&second),
            _ => None,
        };
        assert_eq!(index.by_customer(&first.record.customer).map(|stored| stored.record.clone()), of(live));
        for one in [&first, &second] {
            let is_live = live.is_some_and(|live| live.record.id == one.record.id);
            let found = index.by_id(one.record.id);
            assert_eq!(found.as_ref().map(|stored| stored.record.clone()), of(is_live.then_some(one)));
            assert!(found.is_none_or(|stored| *stored.tokens == *one.tokens));
        }
    }
    let live = (MANY - MANY.div_ceil(2) + MANY.div_ceil(6)) as usize;
    assert_eq!((index.census().pending, index.wanted(|_| true).len()), (live, live));
}

#[test]
fn what_is_overdue_comes_in_the_order_of_deadlines_and_never_for_another_session_in_the_place() {
    let index = Index::new();
    let sessions = [3, 1, 2].map(|number| session(number, 0));
    sessions.iter().cloned().for_each(|stored| index.show(stored));
    let id = |number| session(number, 0).record.id;
    let late = Timestamp::from_micros(1_000);
    assert_eq!(index.overdue(late, 9), [id(1), id(2), id(3)]);
    assert_eq!(index.overdue(late, 2), [id(1), id(2)]);
    assert_eq!(index.overdue(Timestamp::from_micros(2), 9), [id(1), id(2)]);

    index.show(ended(session(1, 0)));
    index.show(started(session(2, 0)));
    // Takes the place of the one that has ended, and waits longer.
    index.show(session(1, 5));
    assert_eq!(index.overdue(late, 9), [id(3), session(1, 5).record.id]);

    let found = index.empty_twin();
    for stored in [session(3, 0), started(session(2, 0)), session(1, 5)] {
        found.add_found(stored).unwrap();
    }
    found.order_deadlines();
    index.replace(&found);
    assert_eq!(index.overdue(late, 9), [id(3), session(1, 5).record.id]);
}

#[test]
fn the_youngest_are_those_of_all_that_are_wanted() {
    let index = Index::new();
    (0..500).for_each(|number| index.show(session(number, 0)));
    index.show(started(session(7, 0)));
    let ids = |found: Vec<Arc<Stored>>| found.iter().map(|stored| stored.record.id).collect::<Vec<_>>();
    let expected = [499, 498, 497].map(|number| session(number, 0).record.id);
    assert_eq!(ids(index.youngest(3, |_| true)), expected);
    assert_eq!(ids(index.youngest(3, |glance| glance.id < expected[0])), ids(index.youngest(4, |_| true))[1..]);
    assert_eq!(ids(index.youngest(3, |glance| glance.phase.epoch() == Epoch(1))), [session(7, 0).record.id]);
    assert_eq!(ids(index.youngest(3, |glance| glance.persona == "OTHERS")), []);
}

#[test]
fn parts_have_their_shares_of_all_hashes_the_largest_twice_the_smallest() {
    let shares: Vec<_> = (0..PARTS).map(share_of).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!((1.9..2.1).contains(&(shares[PARTS - 1] / shares[0])));
    const HASHES: u32 = 100_000;
    let mut found = [0_u32; PARTS];
    (0..HASHES).for_each(|number| found[part_of(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))] += 1);
    for (found, share) in found.iter().zip(shares) {
        assert!((0.9..1.1).contains(&(f64::from(*found) / f64::from(HASHES) / share)), "{found} {share}");
    }
}

#[test]
fn who_waits_for_a_claim_is_woken_when_the_session_is_shown() {
    let index = Arc::new(Index::new());
    let stored = session(1, 0);
    let ClaimOutcome::Won(claim) = index.claim(&stored.record.customer) else { panic!("not free") };
    let ClaimOutcome::Wait(mut resolved) = index.claim(&stored.record.customer) else { panic!("not claimed") };
    assert!(resolved.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    index.show(stored.clone());
    assert!(resolved.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
    drop(claim);
    let ClaimOutcome::Live(live) = index.claim(&stored.record.customer) else { panic!("not live") };
    assert_eq!(live.record, stored.record);
}

/// A customer's session; those of a later `turn` are requested later, and expire later.
fn session(customer: u32, turn: u32) -> Stored {
    let created = WallTime::from_unix_millis(1_700_000_000_000 + i64::from(turn) * 100_000 + i64::from(customer));
    let record = SessionRecord {
        id: SessionId::new(created, [7; 10]),
        customer: CustomerKey::new(&format!("customer{customer}@example.org")),
        email: None,
        persona: if customer.is_multiple_of(2) { "CUSTOMERS" } else { "SALES" }.into(),
        created,
        revision: Revision::FIRST,
        phase: Phase::admitted(Timestamp::from_micros(i64::from(turn * 100 + customer))),
    };
    Stored { record, tokens: [TokenHash([u8::try_from(customer % 256).unwrap(); 32])].into_iter().collect() }
}

fn started(stored: Stored) -> Stored {
    let phase = Phase::Stopping {
        epoch: Epoch(1),
        deadline: Timestamp::from_micros(0),
        ending: Ending::new(Outcome::Stopped, Reason::new("asked")),
    };
    Stored { record: stored.record.after(phase), ..stored }
}

fn ended(stored: Stored) -> Stored {
    let ending = Ending::new(Outcome::Stopped, Reason::new("asked"));
    Stored { record: stored.record.after(Phase::Ended { epoch: Epoch(0), ending, log_bytes: 0 }), ..stored }
}

fn of(stored: Option<&Stored>) -> Option<SessionRecord> {
    stored.map(|stored| stored.record.clone())
}
