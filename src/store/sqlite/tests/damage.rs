//! What a damaged store is refused for, and whom a damaged row concerns.

use super::*;

#[test]
fn a_phase_that_makes_no_sense_is_reported_with_its_session() {
    let (place, id) = place_with_a_session();
    change(&place, "UPDATE sessions SET phase = '{\"DANCING\":{}}'");
    let refused = refused(&place);
    assert!(refused.contains(&id.to_string()) && refused.contains("DANCING"), "{refused}");
}

#[test]
fn tokens_that_are_cut_off_are_reported_with_their_session() {
    let (place, id) = place_with_a_session();
    change(&place, "UPDATE sessions SET tokens = x'0102'");
    let refused = refused(&place);
    assert!(refused.contains(&format!("session {id}: its tokens are cut off")), "{refused}");
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
fn a_file_that_sqlite_finds_damaged_fails_the_whole_batch() {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let error = file::unavailable(rusqlite::Error::SqliteFailure(code, None));
    assert!(matches!(error.into(), writer::Refusal::Storage(_)));
}

#[test]
fn two_live_sessions_of_one_customer_are_refused() {
    let (place, id) = place_with_a_session();
    change(
        &place,
        "INSERT INTO sessions SELECT x'00112233445566778899aabbccddeeff', customer, email, persona, created, origin,
         revision, phase, tokens, data, creation_key, creation_digest, data_version FROM sessions",
    );
    let refused = refused(&place);
    assert!(refused.contains("are both live for one customer") && refused.contains(&id.to_string()), "{refused}");
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

fn refused(place: &Place) -> String {
    match SqliteStore::open(place.directory.paths()) {
        Err(error @ StoreError::Corrupt(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
