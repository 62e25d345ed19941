//! What a damaged store is refused for, and whom a damaged row concerns.

use super::*;
use crate::store::{Audit, AuditFilter, Operators};

#[test]
fn a_live_row_that_makes_no_sense_is_set_aside_and_everybody_else_is_served() {
    for (damage, what) in [
        ("phase = '{\"DANCING\":{}}'", "DANCING"),
        ("phase = CAST(x'22ff22' AS TEXT)", "utf-8"),
        ("tokens = x'0102'", "its tokens are cut off"),
        ("revision = -5", "out of range"),
    ] {
        let (place, id) = place_with_a_session();
        let bob = runtime().block_on(place.open().admit(session_of("bob", 10))).unwrap();
        change(&place, &format!("UPDATE sessions SET {damage} WHERE customer = 'ann'"));
        let store = place.open();
        runtime().block_on(async {
            let named = store.damage().in_words().unwrap();
            assert!(named.contains(&format!("session {id}: ")) && named.contains(what), "{named}");
            for refused in [
                store.session(id).await.map(drop),
                store.live(&CustomerKey::new("ann")).await.map(drop),
                store.admit(session_of("ann", 10)).await.map(drop),
            ] {
                assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
            }
            assert!(store.is_set_aside(id));
            assert!(store.session(record_of(&bob).id).await.unwrap().is_some());
            admitted(&store, session_of("carol", 10)).await;
        });
        drop(store);
        assert_eq!(count(&place, "sessions WHERE customer = 'ann'"), 1, "it is not lost");
    }
}

#[test]
fn a_row_without_a_readable_id_is_told_and_every_unknown_session_may_be_it() {
    let (place, id) = place_with_a_session();
    change(&place, "UPDATE sessions SET id = x'01'");
    let store = place.open();
    assert!(store.damage().in_words().unwrap().contains("a live session that can't be named"));
    assert!(store.is_set_aside(id));
}

#[test]
fn a_damaged_page_sets_aside_the_sessions_in_it_and_no_others() {
    const SESSIONS: usize = 60;
    let place = Place::new();
    let store = place.open();
    let mut ids = Vec::new();
    runtime().block_on(async {
        for n in 0..SESSIONS {
            ids.push(admitted(&store, session_of(&format!("customer {n}"), 1_000)).await.id);
        }
    });
    drop(store);
    spoil_the_leaf_with(&place, ids[SESSIONS / 2].as_bytes());

    let store = place.open();

    let set_aside: Vec<_> = ids.iter().filter(|id| store.is_set_aside(**id)).collect();
    assert!(set_aside.contains(&&ids[SESSIONS / 2]), "{set_aside:?}");
    assert_eq!(store.census().live() + set_aside.len(), SESSIONS);
    runtime().block_on(async {
        // What comes while the first commit is held up becomes one batch, with the first or with the last.
        let (damaged, sound) = (*set_aside[0], *ids.iter().find(|id| !store.is_set_aside(**id)).unwrap());
        let other = Connection::open(place.directory.paths().database()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let add = |id| store.add_token(id, TokenHash([8; 32]));
        let release = async { other.execute_batch("COMMIT").unwrap() };
        let (before, refused, after, ()) = tokio::join!(add(sound), add(damaged), add(sound), release);
        assert!(matches!((&before, &after), (Ok(()), Ok(()))), "{before:?} {after:?}");
        assert!(matches!(refused, Err(StoreError::Malformed(_))), "{refused:?}");
    });
    assert!(store.damage().malformed.is_some());
    assert!(store.ready().is_ok(), "what is sound can still be changed");
}

#[test]
fn a_list_passes_over_rows_of_the_history_that_make_no_sense_or_are_in_a_damaged_page() {
    const SESSIONS: usize = 60;
    let place = Place::new();
    let store = place.open();
    let mut ids = Vec::new();
    runtime().block_on(async {
        for n in 0..SESSIONS {
            let record = admitted(&store, session_of(&format!("customer {n}"), 10)).await;
            ids.push(record.id);
            store.put(ended(&record), NOW).await.unwrap();
        }
    });
    drop(store);
    let all = |place: &Place, outcome| {
        let store = place.open();
        let filter = Filter { ended: true, outcome, ..Filter::default() };
        let listed = runtime().block_on(store.list(filter, SESSIONS)).unwrap();
        (listed.len(), store.damage())
    };
    change(&place, "UPDATE history SET phase = 'no JSON' WHERE customer = 'customer 7'");
    for outcome in [None, Some(Outcome::Stopped)] {
        let (listed, damage) = all(&place, outcome);
        assert_eq!(listed, SESSIONS - 1);
        assert_eq!(damage.in_words().is_some(), outcome.is_none());
    }

    spoil_the_leaf_with(&place, ids[SESSIONS / 2].as_bytes());

    let (listed, damage) = all(&place, None);
    assert!((1..SESSIONS - 1).contains(&listed), "{listed}");
    assert!(damage.names.iter().any(|name| name.contains(&ids[SESSIONS / 2].to_string())), "{damage:?}");
}

#[test]
fn lists_of_customers_tokens_and_the_audit_pass_over_what_makes_no_sense() {
    let place = Place::new();
    let store = place.open();
    runtime().block_on(async {
        for key in ["ann", "bob"] {
            let customer = Customer {
                key: CustomerKey::new(key),
                email: key.into(),
                password_hash: "hash".into(),
                created: WallTime::from_unix_millis(1),
                disabled: None,
            };
            store.add_customer(customer).await.unwrap();
            admitted(&store, session_of(key, 10)).await;
        }
    });
    change(&place, "UPDATE customers SET email = CAST(x'ff' AS TEXT) WHERE key = 'ann'");
    change(&place, "UPDATE sessions SET origin = 'nowhere' WHERE customer = 'ann'");
    change(&place, "INSERT INTO operator_tokens VALUES (x'01', 'ops', 'admin', x'02', 1, NULL, NULL)");
    runtime().block_on(async {
        let customers = store.customers(None, 1).await.unwrap();
        assert_eq!(customers.iter().map(|customer| customer.key.as_str()).collect::<Vec<_>>(), ["bob"]);
        assert!(matches!(store.customer(&CustomerKey::new("ann")).await, Err(StoreError::Corrupt(_))));
        assert_eq!(store.audit(AuditFilter::default(), 9).await.unwrap().len(), 1);
        assert_eq!(store.operator_tokens().await.unwrap().len(), 0);
    });
    let named = store.damage().in_words().unwrap();
    for expected in ["customer ann", "its audit", "the operator's token ops"] {
        assert!(named.contains(expected), "{named}");
    }
}

#[test]
fn a_row_that_makes_no_sense_fails_nobody_else_of_its_batch() {
    let place = Place::new();
    let store = place.open();
    runtime().block_on(async {
        let ann = admitted(&store, session_of("ann", 10)).await.id;
        let bob = admitted(&store, session_of("bob", 10)).await.id;
        change(&place, "UPDATE sessions SET tokens = x'0102' WHERE customer = 'ann'");
        let add = |id| store.add_token(id, TokenHash([8; 32]));
        // What comes while the first commit is held up becomes one batch, with the first or with the last.
        let other = Connection::open(place.directory.paths().database()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let release = async { other.execute_batch("COMMIT").unwrap() };
        let (before, refused, after, ()) = tokio::join!(add(bob), add(ann), add(bob), release);
        assert!(matches!((&before, &after), (Ok(()), Ok(()))), "{before:?} {after:?}");
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    });
}

#[test]
fn a_file_that_sqlite_finds_damaged_is_told_from_a_disk_that_fails() {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let error = file::unavailable(rusqlite::Error::SqliteFailure(code, None));
    assert!(matches!(error.into(), writer::Refusal::Damage(StoreError::Malformed(_))));
}

#[test]
fn of_two_live_sessions_of_one_customer_the_second_is_set_aside() {
    let (place, id) = place_with_a_session();
    change(
        &place,
        "INSERT INTO sessions SELECT x'00112233445566778899aabbccddeeff', customer, email, persona, created, origin,
         revision, phase, tokens, data, creation_key, creation_digest, data_version FROM sessions",
    );
    let store = place.open();
    let named = store.damage().in_words().unwrap();
    assert!(named.contains(&format!("it is live beside session {id} of the same customer")), "{named}");
    let live = runtime().block_on(store.live(&CustomerKey::new("ann"))).unwrap();
    assert_eq!(live.unwrap().record.id, id);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    std::fs::write(place.directory.paths().database(), "x".repeat(10_000)).unwrap();
    let refused = refused(&place);
    assert!(refused.contains("not a database"), "{refused}");
}

fn place_with_a_session() -> (Place, SessionId) {
    let place = Place::new();
    let new = session_of("ann", 10);
    let id = new.record.id;
    runtime().block_on(place.open().admit(new)).unwrap();
    (place, id)
}

fn change(place: &Place, sql: &str) {
    Connection::open(place.directory.paths().database()).unwrap().execute(sql, []).unwrap();
}

fn count(place: &Place, rows: &str) -> i64 {
    let connection = Connection::open(place.directory.paths().database()).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| row.get(0)).unwrap()
}

/// Overwrites the page of a table that holds these bytes, in a file that nobody has open.
fn spoil_the_leaf_with(place: &Place, bytes: &[u8]) {
    const PAGE: usize = 4_096;
    /// The first byte of a page with rows of a table, as SQLite's file format has it.
    const LEAF: u8 = 0x0d;
    let path = place.directory.paths().database();
    let mut file = std::fs::read(&path).unwrap();
    let holds = |page: &&mut [u8]| page[0] == LEAF && page.windows(bytes.len()).any(|window| window == bytes);
    let page = file.chunks_mut(PAGE).find(holds).unwrap();
    page.fill(0xff);
    std::fs::write(path, file).unwrap();
}

fn refused(place: &Place) -> String {
    match SqliteStore::open(place.directory.paths()) {
        Err(error @ StoreError::Malformed(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
