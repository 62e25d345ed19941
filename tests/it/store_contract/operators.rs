//! What every store promises of operators' tokens and of the console's sessions.

use std::sync::Arc;

use frontdesk::clock::WallTime;
use frontdesk::principal::{OperatorTokenId, Scope};
use frontdesk::store::{ConsoleSession, OperatorToken, Store, StoreError};
use frontdesk::token::TokenHash;

use super::{Place, WALL, at, at_once};

pub(super) async fn operators_tokens_are_kept_and_listed_the_oldest_first(place: &dyn Place) {
    let store = place.open();
    let ever = OperatorToken { expires: None, scopes: Scope::ALL.to_vec(), ..token(2, "ever") };
    for token in [&ever, &token(1, "first")] {
        store.add_operator_token(token.clone()).await.unwrap();
    }
    drop(store);
    let store = place.open();
    assert_eq!(store.operator_tokens().await.unwrap(), [token(1, "first"), ever.clone()]);
    assert_eq!(store.operator_token(ever.id).await.unwrap(), Some(ever));
    assert_eq!(store.operator_token(id(3)).await.unwrap(), None);
}

pub(super) async fn a_tokens_name_is_free_again_once_it_is_revoked(place: &dyn Place) {
    let store = place.open();
    store.add_operator_token(token(1, "deploys")).await.unwrap();
    assert!(matches!(store.add_operator_token(token(2, "deploys")).await, Err(StoreError::Conflict)));
    assert!(matches!(store.add_operator_token(token(1, "another")).await, Err(StoreError::Conflict)), "one id");

    store.revoke_operator_token(id(1), WALL).await.unwrap();

    store.add_operator_token(token(2, "deploys")).await.unwrap();
    let names: Vec<_> = store.operator_tokens().await.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["deploys", "deploys"]);
}

pub(super) async fn of_many_tokens_at_once_of_one_name_one_is_made(place: &dyn Place) {
    let store = place.open();
    let made = at_once((0..20).map(|n| {
        let store = Arc::clone(&store);
        async move { store.add_operator_token(token(n, "deploys")).await.is_ok() }
    }))
    .await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
}

pub(super) async fn a_revoked_token_stays_so_since_the_first_time_and_ends_its_console_sessions(place: &dyn Place) {
    let store = place.open();
    for n in [1, 2] {
        store.add_operator_token(token(n, &n.to_string())).await.unwrap();
        store.add_console_session(console(n, n), at(0)).await.unwrap();
        assert_eq!(store.operator_token(id(n)).await.unwrap().unwrap().revoked, None);
    }

    store.revoke_operator_token(id(1), WALL).await.unwrap();
    assert_eq!(store.operator_token(id(1)).await.unwrap().unwrap().revoked, Some(WALL));
    assert_eq!(store.operator_token(id(2)).await.unwrap().unwrap().revoked, None);
    store.revoke_operator_token(id(1), WallTime::from_unix_millis(7)).await.unwrap();

    assert!(matches!(store.revoke_operator_token(id(9), WALL).await, Err(StoreError::Missing)));
    drop(store);
    let store = place.open();
    assert_eq!(store.operator_token(id(1)).await.unwrap().unwrap().revoked, Some(WALL));
    assert_eq!(store.console_session(TokenHash([1; 32])).await.unwrap(), None);
    assert_eq!(store.console_session(TokenHash([2; 32])).await.unwrap(), Some(console(2, 2)));
}

pub(super) async fn a_console_session_needs_a_token_that_is_not_revoked(place: &dyn Place) {
    let store = place.open();
    store.add_operator_token(token(1, "gone")).await.unwrap();
    store.revoke_operator_token(id(1), WALL).await.unwrap();

    assert!(matches!(store.add_console_session(console(1, 1), at(0)).await, Err(StoreError::Conflict)));
    assert!(matches!(store.add_console_session(console(1, 9), at(0)).await, Err(StoreError::Missing)));
    assert_eq!(store.console_session(TokenHash([1; 32])).await.unwrap(), None);
}

pub(super) async fn a_console_session_is_seen_until_it_ends_or_is_forgotten(place: &dyn Place) {
    let store = place.open();
    store.add_operator_token(token(1, "ann")).await.unwrap();
    store.add_console_session(console(1, 1), at(0)).await.unwrap();
    store.add_console_session(console(2, 1), at(0)).await.unwrap();
    let seen = async |store: &dyn Store, n| {
        store.console_session(TokenHash([n; 32])).await.unwrap().map(|session| session.seen)
    };

    store.saw_console_session(TokenHash([1; 32]), at(500)).await.unwrap();
    store.saw_console_session(TokenHash([1; 32]), at(400)).await.unwrap();
    assert_eq!(seen(&*store, 1).await, Some(at(500)), "it is not unseen by a call that was slow");

    store.end_console_session(TokenHash([2; 32])).await.unwrap();
    store.end_console_session(TokenHash([2; 32])).await.unwrap();
    store.saw_console_session(TokenHash([2; 32]), at(900)).await.unwrap();
    assert_eq!(seen(&*store, 2).await, None);

    store.add_console_session(console(3, 1), at(500)).await.unwrap();
    assert_eq!(seen(&*store, 1).await, Some(at(500)), "only those that were last seen before are forgotten");
    store.add_console_session(ConsoleSession { seen: at(600), ..console(4, 1) }, at(501)).await.unwrap();
    drop(store);
    let store = place.open();
    assert_eq!((seen(&*store, 1).await, seen(&*store, 4).await), (None, Some(at(600))));
}

fn id(n: u8) -> OperatorTokenId {
    OperatorTokenId::new(WallTime::from_unix_millis(i64::from(n)), [n; 10])
}

fn token(n: u8, name: &str) -> OperatorToken {
    OperatorToken {
        id: id(n),
        name: name.into(),
        scopes: vec![Scope::SessionsRead, Scope::CustomersWrite],
        hash: TokenHash([n; 32]),
        created: WALL,
        expires: Some(WallTime::from_unix_millis(1_800_000_000_000)),
        revoked: None,
    }
}

fn console(n: u8, token: u8) -> ConsoleSession {
    ConsoleSession { secret: TokenHash([n; 32]), token: id(token), opened: at(100), seen: at(300) }
}
