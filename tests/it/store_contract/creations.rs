//! What every store promises of creations that carry an idempotency key.

use std::collections::BTreeSet;
use std::sync::Arc;

use frontdesk::session::{CreationKey, NewSession, SessionData};
use frontdesk::store::{Admission, Filter};

use super::{NOW, Place, admit, at_once, ended, key, poll_and_drop, record_of, session_of, text};

pub(super) async fn a_keyed_creation_that_comes_again_is_told_of_its_session_live_or_ended(place: &dyn Place) {
    let store = place.open();
    let Admission::Admitted(first) = store.admit(keyed("ann", 1)).await.unwrap() else { panic!("not admitted") };

    assert_repeated(&store.admit(keyed("ann", 1)).await.unwrap(), &first, 1);
    drop(store);
    let store = place.open();
    assert_repeated(&store.admit(keyed("ann", 1)).await.unwrap(), &first, 1);
    store.put(ended(&first), NOW).await.unwrap();
    assert_repeated(&store.admit(keyed("ann", 1)).await.unwrap(), &ended(&first), 1);
    drop(store);
    let store = place.open();
    assert_repeated(&store.admit(keyed("ann", 1)).await.unwrap(), &ended(&first), 1);
    assert_eq!(store.live_count(), 0);
}

pub(super) async fn a_key_is_its_customers_alone_and_tells_of_no_other_call(place: &dyn Place) {
    let store = place.open();
    let first = record_of(&store.admit(keyed("ann", 1)).await.unwrap()).clone();

    assert!(matches!(store.admit(keyed("bob", 1)).await.unwrap(), Admission::Admitted(_)));
    assert!(matches!(store.admit(keyed("ann", 2)).await.unwrap(), Admission::AlreadyLive(live) if live == first));
    assert!(matches!(store.admit(session_of("ann")).await.unwrap(), Admission::AlreadyLive(live) if live == first));
    store.put(ended(&first), NOW).await.unwrap();
    let second = admit(&*store, "ann").await;
    assert!(matches!(store.admit(keyed("ann", 2)).await.unwrap(), Admission::AlreadyLive(live) if live == second));
    assert_repeated(&store.admit(keyed("ann", 1)).await.unwrap(), &ended(&first), 1);
}

pub(super) async fn a_key_tells_with_what_it_was_used_first(place: &dyn Place) {
    let store = place.open();
    let first = record_of(&store.admit(keyed("ann", 1)).await.unwrap()).clone();
    let mut other = keyed("ann", 1);
    other.key = other.key.map(|key| CreationKey { digest: [9; 32], ..key });
    assert_repeated(&store.admit(other).await.unwrap(), &first, 1);
}

pub(super) async fn a_key_is_forgotten_with_its_sessions_history(place: &dyn Place) {
    let store = place.open();
    let first = record_of(&store.admit(keyed("ann", 1)).await.unwrap()).clone();
    store.put(ended(&first), NOW).await.unwrap();

    store.delete_history(vec![first.id]).await.unwrap();

    assert!(matches!(store.admit(keyed("ann", 1)).await.unwrap(), Admission::Admitted(_)));
}

pub(super) async fn of_many_creations_at_once_with_one_key_one_session_results_even_if_it_ends_at_once(
    place: &dyn Place,
) {
    let store = place.open();
    let admissions = at_once((0..60).map(|n| {
        let store = Arc::clone(&store);
        async move {
            // Large data of some, so that they are at different steps.
            let data = SessionData::Inline(text(if n % 3 == 0 { 100_000 } else { 10 }));
            let admission = store.admit(NewSession { data, ..keyed("ann", 1) }).await.unwrap();
            if let Admission::Admitted(record) = &admission {
                store.put(ended(record), NOW).await.unwrap();
            }
            admission
        }
    }))
    .await;

    let ids: BTreeSet<_> = admissions.iter().map(|admission| record_of(admission).id).collect();
    assert_eq!(ids.len(), 1);
    let admitted = admissions.iter().filter(|admission| matches!(admission, Admission::Admitted(_))).count();
    let repeated = admissions.iter().filter(|admission| matches!(admission, Admission::Repeated(_, [1, ..]))).count();
    assert_eq!((admitted, repeated), (1, 59));
    drop(store);
    let all = place.open().list(Filter { ended: true, ..Filter::default() }, 10).await.unwrap();
    assert_eq!(all.iter().map(|record| record.id).collect::<BTreeSet<_>>(), ids);
}

pub(super) async fn a_keyed_creation_dropped_half_way_results_in_one_session(place: &dyn Place) {
    let store = place.open();
    for polls in 0..30 {
        let customer = format!("{polls}");
        poll_and_drop(store.admit(keyed(&customer, 1)), polls * polls / 2).await;
        let first = record_of(&store.admit(keyed(&customer, 1)).await.unwrap()).clone();
        assert_repeated(&store.admit(keyed(&customer, 1)).await.unwrap(), &first, 1);
        assert_eq!(store.live(&key(&customer)).await.unwrap().unwrap().record, first);
    }
    assert_eq!(store.live_count(), 30);
}

fn keyed(customer: &str, n: u8) -> NewSession {
    NewSession { key: Some(CreationKey { key: [n; 32], digest: [n; 32] }), ..session_of(customer) }
}

fn assert_repeated(admission: &Admission, record: &frontdesk::session::SessionRecord, digest: u8) {
    let Admission::Repeated(found, of) = admission else { panic!("{admission:?}") };
    assert_eq!((found, of), (record, &[digest; 32]));
}
