//! What a damaged store is refused for, and whom a damaged row concerns.

use super::*;
use crate::principal::{OperatorTokenId, Scope};
use crate::store::{Action, Actor, Audit, AuditEntry, AuditFilter, OperatorToken, Operators};

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
                assert!(matches!(refused, Err(StoreError::SetAside(_))), "{refused:?}");
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
    let refused = runtime().block_on(store.admit(session_of("ann", 10)));
    assert!(matches!(refused, Err(StoreError::SetAside(_))), "its customer is known: {refused:?}");
    runtime().block_on(admitted(&store, session_of("bob", 10)));
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
    spoil_the_leaf_with(&place, LEAF, ids[SESSIONS / 2].as_bytes());

    let store = place.open();

    let set_aside: Vec<_> = ids.iter().filter(|id| store.is_set_aside(**id)).collect();
    assert!(set_aside.contains(&&ids[SESSIONS / 2]), "{set_aside:?}");
    assert_eq!(store.census().live() + set_aside.len(), SESSIONS);
    runtime().block_on(async {
        for (n, id) in ids.iter().enumerate().filter(|(_, id)| set_aside.contains(id)) {
            let refused = store.admit(session_of(&format!("customer {n}"), 10)).await;
            assert!(matches!(&refused, Err(StoreError::SetAside(why)) if why.contains(&id.to_string())), "{refused:?}");
        }
        admitted(&store, session_of("somebody else", 10)).await;
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

    spoil_the_leaf_with(&place, LEAF, ids[SESSIONS / 2].as_bytes());

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
    runtime().block_on(async {
        let ann = CustomerKey::new("ann");
        let live = store.live(&ann).await.unwrap().unwrap();
        assert_eq!(live.record.id, id);
        store.put(ended(&live.record), NOW).await.unwrap();
        let refused = store.admit(session_of("ann", 10)).await;
        assert!(matches!(refused, Err(StoreError::SetAside(_))), "the second one may have an agent: {refused:?}");
    });
}

#[test]
fn nobody_new_is_admitted_while_a_session_may_be_anybodys_until_that_is_given_up() {
    let (place, ids) = place_with_sessions_of_many();
    // Nothing but the rows tells whose they are, and a table that is damaged gets no new index.
    change(&place, "DROP INDEX sessions_by_id");
    spoil_the_leaf_with(&place, LEAF, ids[ids.len() / 2].as_bytes());

    let store = place.open();

    let set_aside: Vec<_> = ids.iter().copied().filter(|id| store.is_set_aside(*id)).collect();
    let sound = ids.iter().position(|id| !set_aside.contains(id)).unwrap();
    runtime().block_on(async {
        let refused = store.admit(session_of("somebody", 10)).await;
        let Err(StoreError::SetAside(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("its customer can't be read either"), "{why}");
        assert!(store.damage().in_words().unwrap().contains("nobody without a live session is admitted"));
        let known = store.admit(session_of(&format!("customer {sound}"), 10)).await.unwrap();
        assert!(matches!(known, Admission::AlreadyLive(_)), "{known:?}");

        for (n, id) in set_aside.iter().enumerate() {
            assert!(store.admit(session_of("somebody", 10)).await.is_err(), "{n} of {}", set_aside.len());
            store.give_up(*id, Revision(7), Reason::new("given up"), NOW).await.unwrap();
        }
        admitted(&store, session_of("somebody", 10)).await;
        let record = store.session(set_aside[0]).await.unwrap().unwrap().record.clone();
        assert_eq!(
            (record.customer.as_str(), &*record.persona, record.revision),
            ("(unreadable)", "(unreadable)", Revision(8))
        );
    });
}

#[test]
fn a_claim_from_before_a_reopening_is_lost_where_a_session_turns_out_to_be_set_aside() {
    let index = Arc::new(Index::new());
    let claims = ["ann", "bob"].map(|customer| match index.claim(&CustomerKey::new(customer)) {
        ClaimOutcome::Won(claim) => claim,
        other @ (ClaimOutcome::Live(_) | ClaimOutcome::Wait(_)) => panic!("{other:?}"),
    });
    let found = index.empty_twin();
    let mut set_aside = index::SetAside::default();
    set_aside.add(Some(SessionId::from_bytes([1; 16])), vec![CustomerKey::new("ann")], "bad");
    found.set_aside(set_aside.clone());
    index.replace(&found);
    assert_eq!(claims.each_ref().map(index::Claim::holds), [false, true]);

    set_aside.add(Some(SessionId::from_bytes([2; 16])), Vec::new(), "bad");
    found.set_aside(set_aside);
    index.replace(&found);
    assert!(!claims[1].holds(), "it may be his");
}

#[test]
fn a_session_that_is_given_up_is_history_with_what_could_be_read_and_its_customer_is_free() {
    for damage in ["phase = '{'", "customer = CAST(x'ff' AS TEXT)", "tokens = x'0102'"] {
        let (place, id) = place_with_a_session();
        change(&place, &format!("UPDATE sessions SET {damage}"));
        let store = place.open();
        runtime().block_on(async {
            let given_up = store.give_up(id, Revision::FIRST, Reason::new("given up"), NOW).await.unwrap();
            assert_eq!(given_up.revision, Revision(2));
            let is_known = !damage.starts_with("customer");
            assert_eq!(given_up.customer.as_str(), if is_known { "ann" } else { "(unreadable)" });
            assert_eq!(&*given_up.persona, "default");
            let stored = store.session(id).await.unwrap().unwrap();
            assert_eq!(stored.record, given_up);
            assert!(matches!(&stored.record.phase, Phase::Ended { ending, .. } if ending.outcome == Outcome::Failed));
            assert!(!store.is_set_aside(id) && store.damage().in_words().is_none(), "{:?}", store.damage());
            let again = store.give_up(id, Revision::FIRST, Reason::new("given up"), NOW).await;
            assert!(matches!(again, Err(StoreError::Missing)), "{again:?}");
            admitted(&store, session_of("ann", 10)).await;
        });
        drop(store);
        assert_eq!(count(&place, "sessions"), 1, "the damaged row is gone");
        assert_eq!(count(&place, "given_up"), 0);
        assert!(place.open().damage().in_words().is_none());
    }
}

#[test]
fn a_session_in_a_page_that_nothing_can_write_is_given_up_all_the_same_and_stays_so() {
    let (place, ids) = place_with_sessions_of_many();
    let lost = ids.len() / 2;
    spoil_the_leaf_with(&place, LEAF, ids[lost].as_bytes());
    let customer = format!("customer {lost}");
    let store = place.open();
    runtime().block_on(async {
        let given_up = store.give_up(ids[lost], Revision(3), Reason::new("given up"), NOW).await.unwrap();
        assert_eq!((given_up.customer.as_str(), given_up.revision), (&*customer, Revision(4)));
        assert!(store.damage().malformed.is_none(), "the page was left alone");
        let record = admitted(&store, session_of(&customer, 10)).await;
        store.put(ended(&record), NOW).await.unwrap();
    });
    drop(store);

    let store = place.open();

    assert!(!store.is_set_aside(ids[lost]));
    let damage = store.damage();
    assert!(
        damage.names.iter().any(|name| name.starts_with("the table of live sessions")),
        "the page is still damaged"
    );
    assert!(!damage.names.iter().any(|name| name.contains(&ids[lost].to_string())), "{damage:?}");
    runtime().block_on(async {
        assert!(!store.session(ids[lost]).await.unwrap().unwrap().record.phase.is_live());
        admitted(&store, session_of(&customer, 10)).await;
        let found = store.audit(AuditFilter { session: Some(ids[lost]), ..AuditFilter::default() }, 9).await.unwrap();
        assert_eq!(found.len(), 1, "one admission: {found:?}");
    });
}

#[test]
fn a_row_that_a_crash_left_beside_its_end_counts_for_nothing_and_goes_at_the_next_start() {
    let (place, id) = place_with_a_session();
    change(&place, "INSERT INTO given_up SELECT id FROM sessions");
    let store = place.open();
    assert!(!store.is_set_aside(id) && store.census().live() == 0);
    drop(store);
    assert_eq!((count(&place, "sessions"), count(&place, "given_up")), (0, 0));
}

#[test]
fn lists_pass_over_a_damaged_page_of_customers_tokens_and_the_audit_and_name_what_is_in_it() {
    const MANY: u8 = 120;
    let place = Place::new();
    let store = place.open();
    let hash = |n: u8| format!("password hash of customer {n:03} {}", "x".repeat(100));
    runtime().block_on(async {
        for n in 0..MANY {
            let key = format!("customer {n:03}");
            let customer = Customer {
                key: CustomerKey::new(&key),
                email: key,
                password_hash: hash(n),
                created: WallTime::from_unix_millis(1),
                disabled: None,
            };
            store.add_customer(customer).await.unwrap();
            store.add_operator_token(token(n)).await.unwrap();
            store.note(entry(n)).await.unwrap();
        }
    });
    drop(store);
    let middle = MANY / 2;
    spoil_the_leaf_with(&place, INDEX_LEAF, hash(middle).as_bytes());
    spoil_the_leaf_with(&place, INDEX_LEAF, &[middle; 32]);
    spoil_the_leaf_with(&place, INDEX_LEAF, entry(middle).detail.as_bytes());

    let store = place.open();

    runtime().block_on(async {
        let all = usize::from(MANY);
        let customers = store.customers(None, all).await.unwrap();
        let keys: Vec<_> = customers.iter().map(|customer| customer.key.as_str()).collect();
        assert!(keys.is_sorted() && keys.len() < all, "{}", keys.len());
        assert_eq!((keys[0], keys[keys.len() - 1]), ("customer 000", "customer 119"));
        let mut paged = Vec::new();
        while let page @ [_, ..] =
            &store.customers(paged.last().map(|key: &String| CustomerKey::new(key)), 7).await.unwrap()[..]
        {
            paged.extend(page.iter().map(|customer| customer.key.as_str().to_owned()));
        }
        assert_eq!(paged, keys, "page by page the same");
        assert!(store.customer(&CustomerKey::new("customer 000")).await.unwrap().is_some());
        assert!(store.customer(&CustomerKey::new(&format!("customer {middle:03}"))).await.is_err());

        let tokens = store.operator_tokens().await.unwrap();
        assert!((2..all).contains(&tokens.len()), "{}", tokens.len());
        assert_eq!([tokens[0].id, tokens[tokens.len() - 1].id], [token(0).id, token(MANY - 1).id]);

        let entries = store.audit(AuditFilter::default(), all).await.unwrap();
        assert!(entries.is_sorted_by(|a, b| a.cursor > b.cursor) && entries.len() < all, "{}", entries.len());
        assert_eq!([&entries[0].entry, &entries[entries.len() - 1].entry], [&entry(MANY - 1), &entry(0)]);
        let action = Some(Action::CustomerAdded);
        let of_action = store.audit(AuditFilter { action, ..AuditFilter::default() }, all).await.unwrap();
        assert_eq!(of_action.len(), entries.iter().filter(|found| Some(found.entry.action) == action).count());
    });
    let names = store.damage().names;
    for expected in [
        &format!("customer customer {middle:03}"),
        &format!("the operator's token {}", token(middle).id),
        "an entry of the audit",
    ] {
        assert!(
            names.iter().any(|name| name.starts_with(expected)) || store.damage().has_more,
            "{expected}: {names:?}"
        );
    }
    drop(store);
    let tables = inspect::read(&place.directory.paths().database()).unwrap();
    assert!(
        tables.customers.len() > 1 && tables.operators.tokens.len() > 1,
        "what is sound is looked at: {:?}",
        tables.faults
    );
    for expected in [
        format!("customer customer {middle:03}"),
        format!("the operator's token {}", token(middle).id),
        "its table audit".into(),
    ] {
        assert!(tables.faults.iter().any(|fault| fault.starts_with(&expected)), "{expected}: {:?}", tables.faults);
    }
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

/// A store whose live sessions fill some pages: the customers are `customer 0` and so on.
fn place_with_sessions_of_many() -> (Place, Vec<SessionId>) {
    const SESSIONS: usize = 60;
    let place = Place::new();
    let store = place.open();
    let admit = async || {
        let mut ids = Vec::new();
        for n in 0..SESSIONS {
            ids.push(admitted(&store, session_of(&format!("customer {n}"), 1_000)).await.id);
        }
        ids
    };
    let ids = runtime().block_on(admit());
    drop(store);
    (place, ids)
}

fn token(n: u8) -> OperatorToken {
    OperatorToken {
        id: OperatorTokenId::from_bytes([n; 16]),
        name: format!("operator {n}"),
        scopes: vec![Scope::Admin],
        hash: TokenHash([n; 32]),
        created: WallTime::from_unix_millis(1),
        expires: None,
        revoked: None,
    }
}

fn entry(n: u8) -> AuditEntry {
    AuditEntry {
        at: WallTime::from_unix_millis(1_700_000_000_000 + i64::from(n / 3)),
        actor: Actor::CommandLine,
        action: if n.is_multiple_of(2) { Action::CustomerAdded } else { Action::SessionStopped },
        session: None,
        customer: Some(CustomerKey::new("ann")),
        from: None,
        detail: format!("entry {n:03} {}", "x".repeat(100)),
    }
}

fn change(place: &Place, sql: &str) {
    Connection::open(place.directory.paths().database()).unwrap().execute(sql, []).unwrap();
}

fn count(place: &Place, rows: &str) -> i64 {
    let connection = Connection::open(place.directory.paths().database()).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| row.get(0)).unwrap()
}

/// The first byte of a page with rows of a table, as SQLite's file format has it, and of one with entries of an index, or rows
/// of a table without rowids.
const LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;

/// Overwrites the page of this kind that holds these bytes, in a file that nobody has open.
fn spoil_the_leaf_with(place: &Place, kind: u8, bytes: &[u8]) {
    const PAGE: usize = 4_096;
    let path = place.directory.paths().database();
    let mut file = std::fs::read(&path).unwrap();
    let holds = |page: &&mut [u8]| page[0] == kind && page.windows(bytes.len()).any(|window| window == bytes);
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
