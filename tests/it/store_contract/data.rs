//! What every store promises of data that is received after a session was admitted.

use std::sync::Arc;

use bytes::Bytes;
use frontdesk::session::{NewSession, Phase, SessionData};
use frontdesk::store::{Incoming, Store, StoreError};

use super::{NOW, Place, admit, at, at_once, ended, poll_and_drop, poll_once, read, record_of, session_of, text};

pub(super) async fn received_data_takes_the_place_of_what_was_there(place: &dyn Place) {
    for before in [10, 100_000] {
        let store = place.open();
        let new = NewSession { data: SessionData::Inline(text(before)), ..session_of(&format!("{before}")) };
        let record = record_of(&store.admit(new).await.unwrap()).clone();
        let old = store.data(record.id).await.unwrap().unwrap();

        for parts in [vec!["{\"a\"", ":", "2}"], vec!["{}"]] {
            receive(&*store, record.id, &parts).await.unwrap();
            assert_eq!(data(&*store, record.id).await, parts.concat());
        }

        assert_eq!(store.session(record.id).await.unwrap().unwrap().record, record, "its record is the same");
        drop(store);
        let store = place.open();
        assert_eq!(data(&*store, record.id).await, "{}");
        let SessionData::File(new) = store.data(record.id).await.unwrap().unwrap() else { panic!("in the row") };
        store.put(ended(&record), NOW).await.unwrap();
        drop(store);
        assert!(!new.exists(), "it goes with its session");
        assert!(!matches!(old, SessionData::File(path) if path.exists()));
    }
}

pub(super) async fn only_a_pending_session_takes_data(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann").await;
    let mut incoming = store.receive_data(record.id).await.unwrap();
    incoming.write(b"{}").unwrap();
    let starting = record.after(serde_json::from_str(STARTING).unwrap());
    store.put(starting.clone(), NOW).await.unwrap();

    assert!(matches!(incoming.place().await, Err(StoreError::Conflict)));
    assert_eq!(data(&*store, record.id).await, "{\"a\":1}");
    assert!(matches!(store.receive_data(record.id).await.map(drop), Err(StoreError::Conflict)));

    store.put(starting.after(Phase::admitted(at(5))), NOW).await.unwrap();
    let pending_again = starting.after(Phase::admitted(at(5)));
    let mut incoming = store.receive_data(record.id).await.unwrap();
    incoming.write(b"{}").unwrap();
    store.put(ended(&pending_again), NOW).await.unwrap();
    assert!(matches!(incoming.place().await, Err(StoreError::Conflict)));
    assert!(matches!(store.receive_data(record.id).await.map(drop), Err(StoreError::Conflict)));
    let unknown = session_of("bob").record.id;
    assert!(matches!(store.receive_data(unknown).await.map(drop), Err(StoreError::Missing)));
}

pub(super) async fn a_step_tells_the_data_that_stands_with_it(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann").await;
    let starting = record.after(serde_json::from_str(STARTING).unwrap());
    let told = store.put_with_data(starting.clone(), NOW).await.unwrap().unwrap();
    assert_eq!(read(&told), "{\"a\":1}");
    assert_eq!(store.session(record.id).await.unwrap().unwrap().record, starting);

    let pending_again = starting.after(Phase::admitted(at(5)));
    store.put(pending_again.clone(), NOW).await.unwrap();
    receive(&*store, record.id, &["{\"b\":2}"]).await.unwrap();
    let starting = pending_again.after(serde_json::from_str(STARTING).unwrap());
    let told = store.put_with_data(starting.clone(), NOW).await.unwrap().unwrap();
    assert_eq!(read(&told), "{\"b\":2}");

    assert!(matches!(store.put_with_data(starting, NOW).await, Err(StoreError::Conflict)));
    let unknown = session_of("bob").record.after(serde_json::from_str(STARTING).unwrap());
    assert!(matches!(store.put_with_data(unknown, NOW).await, Err(StoreError::Conflict | StoreError::Missing)));
}

pub(super) async fn data_that_is_dropped_on_its_way_leaves_what_was_there(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann").await;
    for polls in 0..20 {
        let mut begun = store.receive_data(record.id);
        if polls % 2 == 0 {
            let _ = poll_once(&mut begun).await;
            continue;
        }
        let mut incoming = begun.await.unwrap();
        incoming.write(&text(1 << 20)).unwrap();
    }
    assert_eq!(data(&*store, record.id).await, "{\"a\":1}");

    let mut placed = false;
    for polls in 0..40 {
        let mut incoming = store.receive_data(record.id).await.unwrap();
        incoming.write(b"{}").unwrap();
        poll_and_drop(incoming.place(), polls * polls).await;
        // What was handed in before this is settled.
        store.greeted().await.unwrap();
        let found = data(&*store, record.id).await;
        assert!(found == "{}" || (!placed && found == "{\"a\":1}"), "{found:?}");
        placed |= found == "{}";
    }
}

pub(super) async fn of_many_that_are_received_at_once_one_stays_whole(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann").await;

    at_once((0..20_u8).map(|n| {
        let store = Arc::clone(&store);
        async move {
            let mut incoming = store.receive_data(record.id).await.unwrap();
            for _ in 0..10 {
                incoming.write(&vec![n; 10_000]).unwrap();
            }
            incoming.place().await.unwrap();
        }
    }))
    .await;

    let whole = data(&*store, record.id).await;
    assert!(whole.len() == 100_000 && whole.iter().all(|byte| *byte == whole[0]));
    drop(store);
    assert!(data(&*place.open(), record.id).await == whole);
}

pub(super) async fn data_that_is_still_on_its_way_does_not_keep_a_store_open(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann").await;
    let mut incoming: Box<dyn Incoming> = store.receive_data(record.id).await.unwrap();

    drop(store);

    incoming.write(b"{}").unwrap();
    assert!(matches!(incoming.place().await, Err(StoreError::Unavailable(_))));
    assert_eq!(data(&*place.open(), record.id).await, "{\"a\":1}");
}

const STARTING: &str = r#"{"STARTING":{"epoch":1,"not_before":1,"deadline":2,"start":{"FIRST":{"failed_starts":0}}}}"#;

async fn receive(
    store: &dyn Store,
    session: frontdesk::id::SessionId,
    parts: &[&'static str],
) -> Result<(), StoreError> {
    let mut incoming = store.receive_data(session).await?;
    for part in parts {
        incoming.write(part.as_bytes())?;
    }
    incoming.place().await
}

async fn data(store: &dyn Store, session: frontdesk::id::SessionId) -> Bytes {
    read(&store.data(session).await.unwrap().unwrap())
}
