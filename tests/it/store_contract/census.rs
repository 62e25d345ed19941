//! The counts of live sessions by phase, which a server reads instead of going through all of them.

use frontdesk::agent::restart::Failures;
use frontdesk::id::Epoch;
use frontdesk::session::{Census, Ending, Outcome, Phase, Reason, SessionRecord, Start};
use frontdesk::store::StoreError;

use super::{NOW, Place, admit, at, ended};

pub(super) async fn the_census_follows_every_move_and_is_the_same_after_reopening(place: &dyn Place) {
    let store = place.open();
    let starting = |start| Phase::Starting { epoch: Epoch(1), not_before: at(1), deadline: at(2), start };
    let first = starting(Start::First { failed_starts: 0, last_failure: None });
    let again = starting(Start::Restart { first_ready: at(1), failures: Failures::default(), reason: None });
    let running = Phase::Running { epoch: Epoch(1), since: at(1), first_ready: at(1), failures: Failures::default() };
    let ending = Ending::new(Outcome::Stopped, Reason::new("asked"));
    let stopping = Phase::Stopping { epoch: Epoch(1), deadline: at(1), ending };
    let mut sessions = Vec::new();
    for customer in ["ann", "bob", "carl"] {
        sessions.push(admit(&*store, customer).await);
    }
    assert_eq!(store.census(), Census { pending: 3, ..Census::default() });
    let expected = [
        (first, Census { pending: 2, starting: 1, ..Census::default() }),
        (running, Census { pending: 2, running: 1, ..Census::default() }),
        (again, Census { pending: 2, starting: 1, restarting: 1, ..Census::default() }),
        (stopping, Census { pending: 2, stopping: 1, ..Census::default() }),
    ];
    for (phase, census) in expected {
        sessions[0] = sessions[0].after(phase);
        store.put(sessions[0].clone(), NOW).await.unwrap();
        assert_eq!(store.census(), census);
        assert!(matches!(store.put(sessions[0].clone(), NOW).await, Err(StoreError::Conflict)));
        assert_eq!(store.census(), census);
    }
    store.put(ended(&sessions[0]), NOW).await.unwrap();
    let left = Census { pending: 2, ..Census::default() };
    assert_eq!((store.census(), store.live_count()), (left, 2));

    drop(store);

    assert_eq!(place.open().census(), left);
}

pub(super) async fn pending_sessions_whose_start_failed_are_known_until_they_move_on(place: &dyn Place) {
    let store = place.open();
    let mut failed = Vec::new();
    for customer in ["ann", "bob", "carl"] {
        let record = admit(&*store, customer).await;
        let moved = record.after(failed_to_start(1));
        store.put(moved.clone(), NOW).await.unwrap();
        failed.push(moved);
    }
    admit(&*store, "dora").await;
    let unstarted = async |most| {
        let found = store.unstarted(most).await.unwrap();
        found.iter().map(|stored| stored.record.clone()).collect::<Vec<SessionRecord>>()
    };

    assert_eq!(unstarted(10).await, failed);
    assert_eq!(unstarted(2).await, failed[..2]);
    store.put(ended(&failed[0]), NOW).await.unwrap();
    failed[1] = failed[1].after(failed_to_start(2));
    store.put(failed[1].clone(), NOW).await.unwrap();
    assert_eq!(unstarted(10).await, failed[1..]);
    drop(store);

    let found = place.open().unstarted(10).await.unwrap();
    assert_eq!(found.iter().map(|stored| stored.record.clone()).collect::<Vec<_>>(), failed[1..]);
}

fn failed_to_start(failed_starts: u32) -> Phase {
    let last_failure = Some(Box::new(Reason::new("no fuel")));
    Phase::Pending { deadline: at(9), epoch: Epoch(failed_starts), failed_starts, last_failure }
}
