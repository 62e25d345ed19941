//! What every store promises, as one suite that each backend is run against with `contract!`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use frontdesk::clock::{Heartbeat, Timestamp, WallTime};
use frontdesk::data_dir::DataDir;
use frontdesk::id::{CustomerKey, Revision, SessionId};
use frontdesk::session::{Ending, NewSession, Outcome, Phase, PhaseName, Reason, SessionData, SessionRecord};
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{Admission, Answer, Customer, Filter, Store, StoreError, Stored, TOKENS_PER_SESSION};
use frontdesk::token::TokenHash;
use tokio::task::JoinSet;

use accounts::{
    a_disabled_customer_stays_so_since_the_first_time_until_it_is_enabled,
    an_account_that_changed_since_it_was_checked_is_to_be_checked_again,
    an_account_that_only_others_changes_came_after_is_admitted_with,
    creations_and_changes_of_their_account_at_once_leave_nobody_in_who_is_gone,
    the_known_addresses_of_an_account_are_kept_and_those_that_changed_longest_ago_give_way,
};
use audit::{
    an_admission_is_in_the_audit_while_its_session_lives_is_over_and_is_forgotten,
    entries_of_one_millisecond_noted_at_once_are_all_kept, the_audit_is_filtered_by_session_customer_and_action,
    the_audit_is_paged_without_a_gap_whatever_its_entries_are, what_is_noted_is_there_word_for_word_the_youngest_first,
};
use census::{
    pending_sessions_whose_start_failed_are_known_until_they_move_on,
    the_census_follows_every_move_and_is_the_same_after_reopening,
};
use creations::{
    a_key_is_forgotten_with_its_sessions_history, a_key_is_its_customers_alone_and_tells_of_no_other_call,
    a_key_tells_with_what_it_was_used_first, a_keyed_creation_dropped_half_way_results_in_one_session,
    a_keyed_creation_that_comes_again_is_told_of_its_session_live_or_ended,
    of_many_creations_at_once_with_one_key_one_session_results_even_if_it_ends_at_once,
};
use data::{
    a_step_tells_the_data_that_stands_with_it, data_that_is_dropped_on_its_way_leaves_what_was_there,
    data_that_is_still_on_its_way_does_not_keep_a_store_open, of_many_that_are_received_at_once_one_stays_whole,
    only_a_pending_session_takes_data, received_data_takes_the_place_of_what_was_there,
};
use operators::{
    a_console_session_is_seen_until_it_ends_or_is_forgotten, a_console_session_needs_a_token_that_is_not_revoked,
    a_revoked_token_stays_so_since_the_first_time_and_ends_its_console_sessions,
    a_tokens_name_is_free_again_once_it_is_revoked, of_many_tokens_at_once_of_one_name_one_is_made,
    operators_tokens_are_kept_and_listed_the_oldest_first,
};
use requests::{
    a_keyed_request_is_noted_once_and_whoever_comes_again_is_told,
    a_noted_request_is_moved_only_as_it_stands_and_without_an_answer,
    noted_requests_outlive_their_session_and_go_with_its_history,
    of_many_notes_at_once_under_one_key_exactly_one_is_new, open_requests_come_in_the_order_in_which_they_were_noted,
    the_first_answer_to_a_noted_request_stays, the_newest_answers_are_kept_and_of_older_ones_that_they_are_lost,
    the_oldest_answered_key_makes_room_and_open_ones_never_do,
};

mod accounts;
mod audit;
mod census;
mod creations;
mod data;
mod operators;
mod requests;

/// One place that keeps sessions, which can be closed (by dropping the store) and opened again.
trait Place {
    fn open(&self) -> Arc<dyn Store>;
}

/// Makes each function of the suite a test of one backend; a new function is added here.
macro_rules! contract {
    ($backend:ident, $place:expr) => {
        contract! { $backend, $place;
            an_admitted_session_is_found_by_customer_and_by_id_with_its_data,
            of_fifty_admissions_at_once_of_one_customer_exactly_one_wins_and_is_durable,
            many_customers_at_once_are_all_admitted,
            a_put_needs_the_revision_before_its_own,
            of_many_puts_at_once_of_one_revision_exactly_one_wins,
            an_ended_session_is_history_and_its_customer_is_free_again,
            four_tokens_are_valid_and_a_fifth_retires_the_oldest,
            tokens_added_at_once_are_never_lost_beyond_the_limit,
            retired_tokens_open_nothing_and_their_successor_does,
            a_token_for_a_session_that_is_not_live_is_refused,
            overdue_sessions_come_the_longest_overdue_first,
            a_session_that_left_pending_is_never_overdue,
            the_census_follows_every_move_and_is_the_same_after_reopening,
            pending_sessions_whose_start_failed_are_known_until_they_move_on,
            lists_are_paged_from_the_youngest_and_filtered,
            of_many_live_sessions_every_page_has_its_own,
            lists_are_filtered_by_persona_phase_and_outcome,
            customers_are_added_read_changed_and_removed,
            customers_are_paged_in_the_order_of_their_keys,
            a_password_is_replaced_only_if_it_is_still_the_expected_one,
            a_disabled_customer_stays_so_since_the_first_time_until_it_is_enabled,
            an_account_that_changed_since_it_was_checked_is_to_be_checked_again,
            an_account_that_only_others_changes_came_after_is_admitted_with,
            creations_and_changes_of_their_account_at_once_leave_nobody_in_who_is_gone,
            the_known_addresses_of_an_account_are_kept_and_those_that_changed_longest_ago_give_way,
            the_last_heartbeat_is_there_after_reopening,
            the_greeting_of_a_new_store_is_due_until_it_was_given,
            a_keyed_request_is_noted_once_and_whoever_comes_again_is_told,
            of_many_notes_at_once_under_one_key_exactly_one_is_new,
            a_noted_request_is_moved_only_as_it_stands_and_without_an_answer,
            the_first_answer_to_a_noted_request_stays,
            the_newest_answers_are_kept_and_of_older_ones_that_they_are_lost,
            open_requests_come_in_the_order_in_which_they_were_noted,
            the_oldest_answered_key_makes_room_and_open_ones_never_do,
            noted_requests_outlive_their_session_and_go_with_its_history,
            what_is_noted_is_there_word_for_word_the_youngest_first,
            an_admission_is_in_the_audit_while_its_session_lives_is_over_and_is_forgotten,
            the_audit_is_paged_without_a_gap_whatever_its_entries_are,
            the_audit_is_filtered_by_session_customer_and_action,
            entries_of_one_millisecond_noted_at_once_are_all_kept,
            a_keyed_creation_that_comes_again_is_told_of_its_session_live_or_ended,
            a_key_is_its_customers_alone_and_tells_of_no_other_call,
            a_key_tells_with_what_it_was_used_first,
            a_key_is_forgotten_with_its_sessions_history,
            of_many_creations_at_once_with_one_key_one_session_results_even_if_it_ends_at_once,
            a_keyed_creation_dropped_half_way_results_in_one_session,
            received_data_takes_the_place_of_what_was_there,
            only_a_pending_session_takes_data,
            a_step_tells_the_data_that_stands_with_it,
            data_that_is_dropped_on_its_way_leaves_what_was_there,
            of_many_that_are_received_at_once_one_stays_whole,
            data_that_is_still_on_its_way_does_not_keep_a_store_open,
            operators_tokens_are_kept_and_listed_the_oldest_first,
            a_tokens_name_is_free_again_once_it_is_revoked,
            of_many_tokens_at_once_of_one_name_one_is_made,
            a_revoked_token_stays_so_since_the_first_time_and_ends_its_console_sessions,
            a_console_session_needs_a_token_that_is_not_revoked,
            a_console_session_is_seen_until_it_ends_or_is_forgotten,
            a_kept_log_is_meant_by_the_row_of_a_session_that_ended_with_one,
            pruning_takes_only_what_ended_before_and_never_more_than_asked,
            of_a_customer_with_too_much_history_the_oldest_sessions_are_surplus_and_the_newest_never,
            nothing_is_given_up_that_is_not_set_aside,
            large_data_is_kept_until_the_session_ends,
            emails_of_any_bytes_are_told_apart_and_kept,
            everything_acknowledged_is_there_after_reopening,
            an_admission_dropped_half_way_leaves_the_customer_free_or_admitted,
            an_admission_of_large_data_dropped_half_way_leaves_the_customer_free_or_admitted,
            a_waiting_admission_takes_over_when_the_first_is_dropped,
        }
    };
    ($backend:ident, $place:expr; $($name:ident,)*) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(&$place).await;
                }
            )*
        }
    };
}

contract!(sqlite, super::SqlitePlace::new());

async fn an_admitted_session_is_found_by_customer_and_by_id_with_its_data(place: &dyn Place) {
    let store = place.open();
    let new = session_of("ann@example.org");
    let (id, token) = (new.record.id, new.token);

    let Admission::Admitted(record) = store.admit(new).await.unwrap() else { panic!("not admitted") };

    assert_eq!(record.id, id);
    let by_customer = store.live(&record.customer).await.unwrap().unwrap();
    let by_id = store.session(id).await.unwrap().unwrap();
    assert_eq!(by_customer.record, record);
    assert_eq!(by_id.record, record);
    assert!(by_id.knows(&token));
    assert_eq!(store.data(id).await.unwrap(), Some(SessionData::Inline("{\"a\":1}".into())));
    assert_eq!(store.live_count(), 1);
    assert_eq!(store.live_sessions(&|_| true).await.unwrap().len(), 1);
}

async fn of_fifty_admissions_at_once_of_one_customer_exactly_one_wins_and_is_durable(place: &dyn Place) {
    let store = place.open();

    let answers = at_once((0..50).map(|_| {
        let store = Arc::clone(&store);
        async move { store.admit(session_of("ann@example.org")).await.unwrap() }
    }))
    .await;

    let winners: Vec<_> = answers.iter().filter(|answer| matches!(answer, Admission::Admitted(_))).collect();
    assert_eq!(winners.len(), 1);
    let ids: BTreeSet<_> = answers.iter().map(|answer| record_of(answer).id).collect();
    assert_eq!(ids.len(), 1, "everybody is told of the same session");
    drop(store);
    let reopened = place.open();
    let stored = reopened.live(&key("ann@example.org")).await.unwrap().unwrap();
    assert_eq!(Some(&stored.record.id), ids.first());
    assert_eq!(reopened.live_count(), 1);
}

async fn many_customers_at_once_are_all_admitted(place: &dyn Place) {
    let store = place.open();

    let answers = at_once((0..500).map(|n| {
        let store = Arc::clone(&store);
        async move { store.admit(session_of(&format!("{n}@example.org"))).await.unwrap() }
    }))
    .await;

    assert!(answers.iter().all(|answer| matches!(answer, Admission::Admitted(_))));
    assert_eq!(store.live_count(), 500);
    drop(store);
    assert_eq!(place.open().live_count(), 500);
}

async fn a_put_needs_the_revision_before_its_own(place: &dyn Place) {
    let store = place.open();
    let first = admit(&*store, "ann@example.org").await;
    let second = first.after(Phase::admitted(at(5)));

    store.put(second.clone(), NOW).await.unwrap();

    assert!(matches!(store.put(second.clone(), NOW).await, Err(StoreError::Conflict)));
    let skipped = second.after(Phase::admitted(at(6))).after(Phase::admitted(at(7)));
    assert!(matches!(store.put(skipped, NOW).await, Err(StoreError::Conflict)));
    assert!(matches!(store.put(ended(&first), NOW).await, Err(StoreError::Conflict)));
    assert_eq!(store.session(first.id).await.unwrap().unwrap().record, second);
    let unknown = session_of("bob@example.org").record;
    assert!(matches!(store.put(unknown.after(Phase::admitted(at(1))), NOW).await, Err(StoreError::Conflict)));
}

async fn of_many_puts_at_once_of_one_revision_exactly_one_wins(place: &dyn Place) {
    let store = place.open();
    let first = admit(&*store, "ann@example.org").await;

    let answers = at_once((0..20).map(|n| {
        let (store, next) = (Arc::clone(&store), first.after(Phase::admitted(at(n))));
        async move { store.put(next.clone(), NOW).await.map(|()| next) }
    }))
    .await;

    let won: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    let [winner] = &*won else { panic!("{} have won", won.len()) };
    assert_eq!(&store.session(first.id).await.unwrap().unwrap().record, winner);
    assert_eq!(store.overdue(at(100), 10).await.unwrap(), [first.id]);
}

async fn an_ended_session_is_history_and_its_customer_is_free_again(place: &dyn Place) {
    let store = place.open();
    let new = session_of("ann@example.org");
    let token = new.token;
    let first = record_of(&store.admit(new).await.unwrap()).clone();

    store.put(ended(&first), NOW).await.unwrap();

    assert!(store.live(&first.customer).await.unwrap().is_none());
    assert_eq!(store.live_count(), 0);
    assert_eq!(store.data(first.id).await.unwrap(), None);
    let history = store.session(first.id).await.unwrap().unwrap();
    assert_eq!(history.record, ended(&first));
    assert!(history.knows(&token), "who had the session may still ask how it ended");
    let second = admit(&*store, "ann@example.org").await;
    assert_ne!(second.id, first.id);
    assert!(matches!(store.put(ended(&first), NOW).await, Err(StoreError::Conflict)), "it ends once");
}

async fn four_tokens_are_valid_and_a_fifth_retires_the_oldest(place: &dyn Place) {
    let store = place.open();
    let new = session_of("ann@example.org");
    let (id, first) = (new.record.id, new.token);
    store.admit(new).await.unwrap();

    for n in 1..=3 {
        store.add_token(id, TokenHash([n; 32])).await.unwrap();
    }
    assert!(store.session(id).await.unwrap().unwrap().knows(&first));
    store.add_token(id, TokenHash([4; 32])).await.unwrap();

    let is_right = |stored: &Stored| {
        assert!(!stored.knows(&first));
        assert!((1..=4).all(|n| stored.knows(&TokenHash([n; 32]))));
    };
    is_right(&store.session(id).await.unwrap().unwrap());
    drop(store);
    is_right(&place.open().session(id).await.unwrap().unwrap());
}

async fn tokens_added_at_once_are_never_lost_beyond_the_limit(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann@example.org").await;

    at_once((1..=20).map(|n| {
        let store = Arc::clone(&store);
        async move { store.add_token(record.id, TokenHash([n; 32])).await.unwrap() }
    }))
    .await;

    let tokens = |stored: &Stored| (1..=20).filter(|n| stored.knows(&TokenHash([*n; 32]))).collect::<Vec<u8>>();
    let shown = tokens(&store.session(record.id).await.unwrap().unwrap());
    assert_eq!(shown.len(), TOKENS_PER_SESSION);
    drop(store);
    let stored = tokens(&place.open().session(record.id).await.unwrap().unwrap());
    assert_eq!(stored, shown, "memory and storage agree on which are the last");
}

async fn retired_tokens_open_nothing_and_their_successor_does(place: &dyn Place) {
    let store = place.open();
    let new = session_of("ann@example.org");
    let (id, first) = (new.record.id, new.token);
    let record = store.admit(new).await.unwrap();
    store.add_token(id, TokenHash([1; 32])).await.unwrap();

    store.retire_tokens(id, Some(TokenHash([2; 32]))).await.unwrap();

    let stored = store.session(id).await.unwrap().unwrap();
    assert_eq!(*stored.tokens, [TokenHash([2; 32])]);
    drop(store);
    let store = place.open();
    assert_eq!(*store.session(id).await.unwrap().unwrap().tokens, [TokenHash([2; 32])]);
    store.retire_tokens(id, None).await.unwrap();
    let none = store.session(id).await.unwrap().unwrap();
    assert!(none.tokens.is_empty() && !none.knows(&first), "{record:?}");
    drop(store);
    let store = place.open();
    assert!(store.session(id).await.unwrap().unwrap().tokens.is_empty());
    store.add_token(id, TokenHash([3; 32])).await.unwrap();
    assert!(store.session(id).await.unwrap().unwrap().knows(&TokenHash([3; 32])));
}

async fn a_token_for_a_session_that_is_not_live_is_refused(place: &dyn Place) {
    let store = place.open();
    let record = admit(&*store, "ann@example.org").await;
    store.put(ended(&record), NOW).await.unwrap();

    for id in [record.id, session_of("bob@example.org").record.id] {
        assert!(matches!(store.add_token(id, TokenHash([9; 32])).await, Err(StoreError::Missing)));
        assert!(matches!(store.retire_tokens(id, None).await, Err(StoreError::Missing)));
    }
}

async fn overdue_sessions_come_the_longest_overdue_first(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    for (name, deadline) in [("c", 30), ("a", 10), ("d", 40), ("b", 20)] {
        let mut new = session_of(name);
        new.record.phase = Phase::admitted(at(deadline));
        ids.push((deadline, new.record.id));
        store.admit(new).await.unwrap();
    }
    ids.sort_unstable();
    let due = |count: usize| ids[..count].iter().map(|(_, id)| *id).collect::<Vec<_>>();

    assert_eq!(store.overdue(at(9), 10).await.unwrap(), []);
    assert_eq!(store.overdue(at(30), 10).await.unwrap(), due(3));
    assert_eq!(store.overdue(at(30), 2).await.unwrap(), due(2));
    drop(store);
    assert_eq!(place.open().overdue(at(100), 10).await.unwrap(), due(4));
}

async fn a_session_that_left_pending_is_never_overdue(place: &dyn Place) {
    let store = place.open();
    let moved = admit(&*store, "ann@example.org").await;
    let gone = admit(&*store, "bob@example.org").await;

    let later = moved.after(Phase::admitted(at(50)));
    store.put(later.clone(), NOW).await.unwrap();
    store.put(ended(&gone), NOW).await.unwrap();

    assert_eq!(store.overdue(at(49), 10).await.unwrap(), []);
    assert_eq!(store.overdue(at(50), 10).await.unwrap(), [moved.id]);
    let running = Phase::Running {
        epoch: later.phase.epoch().next(),
        since: at(1),
        first_ready: at(1),
        failures: Default::default(),
    };
    store.put(later.after(running), NOW).await.unwrap();
    assert_eq!(store.overdue(at(1_000), 10).await.unwrap(), []);
}

async fn lists_are_paged_from_the_youngest_and_filtered(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    for n in 0..6 {
        let record = admit(&*store, ["ann", "bob"][n % 2]).await;
        if n < 4 {
            store.put(ended(&record), NOW).await.unwrap();
        }
        ids.insert(0, record.id);
    }
    let listed = async |filter: Filter, most: usize| -> Vec<SessionId> {
        store.list(filter, most).await.unwrap().iter().map(|record| record.id).collect()
    };
    let all = || Filter { ended: true, ..Filter::default() };

    assert_eq!(listed(Filter::default(), 10).await, ids[..2], "live ones only");
    assert_eq!(listed(all(), 10).await, ids);
    assert_eq!(listed(all(), 3).await, ids[..3], "live and ended in one order");
    assert_eq!(listed(Filter { before: Some(ids[2]), ..all() }, 2).await, ids[3..5], "the next page");
    let of_ann = [ids[1], ids[3], ids[5]];
    assert_eq!(listed(Filter { customer: Some(key("ann")), ..all() }, 10).await, of_ann);
    assert_eq!(listed(Filter { customer: Some(key("ann")), ..Filter::default() }, 10).await, of_ann[..1]);
    assert_eq!(listed(Filter { customer: Some(key("eve")), ..all() }, 10).await, []);
}

async fn of_many_live_sessions_every_page_has_its_own(place: &dyn Place) {
    let store = place.open();
    for number in 0..150 {
        admit(&*store, &format!("customer {number}")).await;
    }

    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(Filter { before, ..Filter::default() }, 40).await.unwrap();
        seen.extend(page.iter().map(|record| record.id));
        before = seen.last().copied();
        if page.len() < 40 {
            break;
        }
    }

    assert_eq!(seen.len(), 150);
    assert!(seen.is_sorted_by(|younger, older| younger > older));
}

async fn lists_are_filtered_by_persona_phase_and_outcome(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    let outcomes = [Some(Outcome::Failed), Some(Outcome::Stopped), None, Some(Outcome::Failed), None];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let mut new = session_of(&n.to_string());
        new.record.persona = ["SALES", "HELP"][n % 2].into();
        let record = record_of(&store.admit(new).await.unwrap()).clone();
        if let Some(outcome) = outcome {
            let ending = Ending::new(outcome, Reason::new("over"));
            store
                .put(record.after(Phase::Ended { epoch: record.phase.epoch(), ending, log_bytes: 0 }), NOW)
                .await
                .unwrap();
        }
        ids.push(record.id);
    }
    let stopping = r#"{"STOPPING":{"epoch":1,"deadline":1,"ending":{"outcome":"failed","reason":"lost"}}}"#;
    let pending = store.session(ids[2]).await.unwrap().unwrap();
    store.put(pending.record.after(serde_json::from_str(stopping).unwrap()), NOW).await.unwrap();
    let listed = async |filter: Filter| -> Vec<SessionId> {
        store.list(filter, 10).await.unwrap().iter().map(|record| record.id).collect()
    };
    let all = || Filter { ended: true, ..Filter::default() };

    let of_sales = || Filter { persona: Some("SALES".into()), ..all() };
    assert_eq!(listed(of_sales()).await, [ids[4], ids[2], ids[0]]);
    assert_eq!(listed(Filter { ended: false, ..of_sales() }).await, [ids[4], ids[2]]);
    assert_eq!(listed(Filter { phase: Some(PhaseName::Pending), ..all() }).await, [ids[4]]);
    assert_eq!(listed(Filter { phase: Some(PhaseName::Ended), ..all() }).await, [ids[3], ids[1], ids[0]]);
    assert_eq!(listed(Filter { phase: Some(PhaseName::Ended), ..Filter::default() }).await, []);
    let failed = || Filter { outcome: Some(Outcome::Failed), ..all() };
    assert_eq!(listed(failed()).await, [ids[3], ids[2], ids[0]]);
    assert_eq!(listed(Filter { persona: Some("HELP".into()), ..failed() }).await, [ids[3]]);
    assert_eq!(listed(Filter { before: Some(ids[2]), customer: Some(key("0")), ..failed() }).await, [ids[0]]);
}

async fn customers_are_added_read_changed_and_removed(place: &dyn Place) {
    let store = place.open();
    let ann = customer("ann@example.org");

    store.add_customer(ann.clone()).await.unwrap();

    assert!(matches!(store.add_customer(ann.clone()).await, Err(StoreError::Conflict)), "added twice");
    assert_eq!(store.customer(&ann.key).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.customer(&key("bob")).await.unwrap(), None);
    store.set_password(&ann.key, "other".into(), None).await.unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.customer(&ann.key).await.unwrap().unwrap().password_hash, "other");
    store.remove_customer(&ann.key).await.unwrap();
    assert!(matches!(store.remove_customer(&ann.key).await, Err(StoreError::Missing)));
    assert!(matches!(store.set_password(&ann.key, "x".into(), None).await, Err(StoreError::Missing)));
    assert_eq!(store.customer(&ann.key).await.unwrap(), None);
}

async fn customers_are_paged_in_the_order_of_their_keys(place: &dyn Place) {
    let store = place.open();
    for name in ["é", "b", "a\0b", "a", "B", "z"] {
        store.add_customer(customer(name)).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = store.customers(after.take(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        pages.extend(page.into_iter().map(|customer| customer.email));
    }
    assert_eq!(pages, ["B", "a", "a\0b", "b", "z", "é"]);
}

async fn a_password_is_replaced_only_if_it_is_still_the_expected_one(place: &dyn Place) {
    let store = place.open();
    let ann = customer("ann@example.org");
    store.add_customer(ann.clone()).await.unwrap();

    let stale = store.set_password(&ann.key, "new".into(), Some("another".into())).await;
    assert!(matches!(stale, Err(StoreError::Conflict)));
    assert_eq!(store.customer(&ann.key).await.unwrap().unwrap().password_hash, ann.password_hash);

    store.set_password(&ann.key, "new".into(), Some(ann.password_hash.clone())).await.unwrap();
    assert_eq!(store.customer(&ann.key).await.unwrap().unwrap().password_hash, "new");
}

async fn the_last_heartbeat_is_there_after_reopening(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.desk().last_heartbeat, None);
    let beat = |n| Heartbeat { now: at(n), wall: WALL, since_boot: n, boot_id: "boot".into() };

    store.beat(beat(1)).await.unwrap();
    store.beat(beat(2)).await.unwrap();

    let id = store.desk().id.clone();
    drop(store);
    let store = place.open();
    assert_eq!(store.desk().id, id);
    assert_eq!(store.desk().last_heartbeat, Some(beat(2)));
}

async fn the_greeting_of_a_new_store_is_due_until_it_was_given(place: &dyn Place) {
    drop(place.open());
    let store = place.open();
    assert!(store.desk().greeting_due);

    store.greeted().await.unwrap();

    drop(store);
    assert!(!place.open().desk().greeting_due);
}

async fn of_a_customer_with_too_much_history_the_oldest_sessions_are_surplus_and_the_newest_never(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    for n in 1..=4 {
        let record = admit(&*store, "ann").await;
        store.put(ended(&record), at(n)).await.unwrap();
        ids.push(record.id);
    }
    let others = admit(&*store, "bob").await;
    store.put(ended(&others), at(1)).await.unwrap();
    let mut uncounted = store.uncounted_history(9).await.unwrap();
    uncounted.sort();
    assert_eq!(uncounted.len(), 5);
    assert_eq!(store.uncounted_history(2).await.unwrap().len(), 2);
    let ann = key("ann");
    assert!(store.surplus_history(&ann, 1, 9).await.unwrap().is_empty(), "nothing is counted yet");

    let sizes = uncounted.iter().map(|id| (*id, 1 << 20)).collect();
    let mut customers = store.count_history(sizes).await.unwrap();
    customers.sort();

    assert_eq!(customers, [ann.clone(), key("bob")]);
    assert!(store.uncounted_history(9).await.unwrap().is_empty());
    let surplus = async |keep| store.surplus_history(&ann, keep, 9).await.unwrap();
    assert!(surplus(5 << 20).await.is_empty());
    let mut two = surplus(5 << 19).await;
    two.sort();
    assert_eq!(two, ids[..2]);
    assert_eq!(surplus(1).await.len(), 3, "the newest one stays");
    assert_eq!(store.surplus_history(&ann, 1, 2).await.unwrap().len(), 2);
}

async fn a_kept_log_is_meant_by_the_row_of_a_session_that_ended_with_one(place: &dyn Place) {
    let store = place.open();
    let [with, without, live] = [admit(&*store, "ann").await, admit(&*store, "bob").await, admit(&*store, "eve").await];
    let ending = Ending::new(Outcome::Failed, Reason::new("it broke"));
    let failed = Phase::Ended { epoch: with.phase.epoch(), ending, log_bytes: 9 };
    store.put(with.after(failed), at(1)).await.unwrap();
    store.put(ended(&without), at(1)).await.unwrap();
    let asked = vec![without.id, with.id, live.id, SessionId::new(WALL, [7; 10])];
    assert_eq!(store.with_kept_log(asked.clone()).await.unwrap(), [with.id].into());
    store.delete_history(vec![with.id]).await.unwrap();
    assert!(store.with_kept_log(asked).await.unwrap().is_empty());
}

async fn pruning_takes_only_what_ended_before_and_never_more_than_asked(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    for n in 0..5 {
        let record = admit(&*store, &format!("{n}")).await;
        store.put(ended(&record), at(n)).await.unwrap();
        ids.push(record.id);
    }
    let live = admit(&*store, "live").await;

    for count in [3, 1, 0] {
        let old = store.old_history(at(4), 3).await.unwrap();
        assert_eq!(old.len(), count);
        store.delete_history(old).await.unwrap();
    }

    assert!(store.session(ids[3]).await.unwrap().is_none());
    assert!(store.session(ids[4]).await.unwrap().is_some());
    assert!(store.session(live.id).await.unwrap().is_some());
}

async fn nothing_is_given_up_that_is_not_set_aside(place: &dyn Place) {
    let store = place.open();
    let live = admit(&*store, "ann@example.org").await;
    let over = admit(&*store, "bob@example.org").await;
    store.put(ended(&over), at(1)).await.unwrap();

    for id in [live.id, over.id, SessionId::from_bytes([1; 16])] {
        assert!(!store.is_set_aside(id));
        let refused = store.give_up(id, Revision::FIRST, Reason::new("given up"), at(2)).await;
        assert!(matches!(refused, Err(StoreError::Missing)), "{refused:?}");
    }

    assert_eq!(store.session(live.id).await.unwrap().unwrap().record, live);
    assert_eq!(store.session(over.id).await.unwrap().unwrap().record, ended(&over));
}

async fn large_data_is_kept_until_the_session_ends(place: &dyn Place) {
    let store = place.open();
    let mut paths = Vec::new();
    for size in [64 << 10, (64 << 10) + 1, 5 << 20] {
        let new = NewSession { data: SessionData::Inline(text(size)), ..session_of("ann@example.org") };
        let record = record_of(&store.admit(new).await.unwrap()).clone();

        let found = store.data(record.id).await.unwrap().unwrap();
        assert!(read(&found) == text(size), "{size}");
        store.put(ended(&record), NOW).await.unwrap();

        assert_eq!(store.data(record.id).await.unwrap(), None);
        if let SessionData::File(path) = found {
            paths.push(path);
        }
    }
    // Nobody who ends a session waits for its file.
    drop(store);
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
}

async fn emails_of_any_bytes_are_told_apart_and_kept(place: &dyn Place) {
    let store = place.open();
    let long = "x".repeat(64 << 10);
    let emails =
        ["", "\0", "a", "a\0", "a\0b", "a\nb", "a\r\nb", "A", "'; DROP TABLE sessions; --", "é", "e\u{301}", &long];
    let mut records = Vec::new();
    for email in emails {
        let mut new = session_of(email);
        new.record.email = Some(format!("{email}\0as written\n").into());
        records.push(record_of(&store.admit(new).await.unwrap()).clone());
    }
    assert_eq!(store.live_count(), emails.len());
    drop(store);
    let store = place.open();
    for (email, record) in emails.iter().zip(records) {
        assert_eq!(store.live(&key(email)).await.unwrap().unwrap().record, record);
        store.put(ended(&record), NOW).await.unwrap();
        let filter = Filter { customer: Some(key(email)), ended: true, ..Filter::default() };
        assert_eq!(store.list(filter, 10).await.unwrap(), [ended(&record)]);
    }
}

async fn everything_acknowledged_is_there_after_reopening(place: &dyn Place) {
    let store = place.open();
    let pending = admit(&*store, "pending").await;
    let large = NewSession { data: SessionData::Inline(text(100_000)), ..session_of("large") };
    let large = record_of(&store.admit(large).await.unwrap()).clone();
    let moved = admit(&*store, "moved").await;
    let moved_on = moved.after(Phase::admitted(at(77)));
    store.put(moved_on.clone(), NOW).await.unwrap();
    let gone = admit(&*store, "gone").await;
    store.put(ended(&gone), NOW).await.unwrap();
    store.add_token(pending.id, TokenHash([5; 32])).await.unwrap();

    drop(store);
    let store = place.open();

    let found = store.session(pending.id).await.unwrap().unwrap();
    assert_eq!(found.record, pending);
    assert!(found.knows(&TokenHash([5; 32])));
    assert_eq!(store.data(pending.id).await.unwrap(), Some(SessionData::Inline("{\"a\":1}".into())));
    assert!(read(&store.data(large.id).await.unwrap().unwrap()) == text(100_000));
    assert_eq!(store.live(&moved.customer).await.unwrap().unwrap().record, moved_on);
    assert!(store.live(&gone.customer).await.unwrap().is_none());
    assert_eq!(store.session(gone.id).await.unwrap().unwrap().record, ended(&gone));
    assert_eq!(store.live_count(), 3);
}

async fn an_admission_dropped_half_way_leaves_the_customer_free_or_admitted(place: &dyn Place) {
    dropped_half_way(place, 200).await;
}

async fn an_admission_of_large_data_dropped_half_way_leaves_the_customer_free_or_admitted(place: &dyn Place) {
    dropped_half_way(place, 100_000).await;
}

async fn dropped_half_way(place: &dyn Place, bytes: usize) {
    let store = place.open();
    let mut live = Vec::new();
    for polls in 0..60 {
        let customer = format!("{polls}@example.org");
        let new = || NewSession { data: SessionData::Inline(text(bytes)), ..session_of(&customer) };

        poll_and_drop(store.admit(new()), polls * polls / 4).await;

        let answer = store.admit(new()).await.unwrap();
        let again = store.admit(new()).await.unwrap();
        assert!(matches!(again, Admission::AlreadyLive(_)));
        assert_eq!(record_of(&again).id, record_of(&answer).id);
        live.push(record_of(&answer).clone());
    }
    let complete = async |store: &dyn Store| {
        assert_eq!(store.live_count(), live.len());
        for record in &live {
            assert_eq!(&store.live(&record.customer).await.unwrap().unwrap().record, record);
            assert!(read(&store.data(record.id).await.unwrap().unwrap()) == text(bytes), "{}", record.customer);
        }
    };
    complete(&*store).await;
    drop(store);
    complete(&*place.open()).await;
}

async fn a_waiting_admission_takes_over_when_the_first_is_dropped(place: &dyn Place) {
    let store = place.open();
    let large = NewSession { data: SessionData::Inline(text(1 << 20)), ..session_of("ann") };
    let mut first = store.admit(large);
    assert!(poll_once(&mut first).await.is_pending());
    let mut waiting = store.admit(session_of("ann"));
    assert!(poll_once(&mut waiting).await.is_pending());

    drop(first);

    let answer = waiting.await.unwrap();
    assert!(matches!(answer, Admission::Admitted(_)));
    assert_eq!(store.live_count(), 1);
}

/// A SQLite store in a directory of its own.
struct SqlitePlace {
    directory: DataDir,
    _root: tempfile::TempDir,
}

impl SqlitePlace {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { directory: DataDir::open(root.path()).unwrap(), _root: root }
    }
}

impl Place for SqlitePlace {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.directory.paths()).unwrap())
    }
}

const WALL: WallTime = WallTime::from_unix_millis(1_700_000_000_000);
/// When sessions end on the desk's own timeline.
const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn key(customer: &str) -> CustomerKey {
    CustomerKey::new(customer)
}

/// A session with a small `DATA`; each is younger than the one before.
fn session_of(customer: &str) -> NewSession {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::SeqCst);
    let mut token = [0xee; 32];
    token[..8].copy_from_slice(&n.to_be_bytes());
    NewSession {
        record: SessionRecord {
            id: SessionId::new(WallTime::from_unix_millis(1_000 + i64::try_from(n).unwrap()), [3; 10]),
            customer: key(customer),
            email: None,
            persona: "default".into(),
            created: WALL,
            revision: Revision::FIRST,
            phase: Phase::admitted(at(0) + Duration::from_secs(300)),
        },
        data: SessionData::Inline("{\"a\":1}".into()),
        token: TokenHash(token),
        origin: None,
        key: None,
        account: None,
    }
}

async fn admit(store: &dyn Store, customer: &str) -> SessionRecord {
    match store.admit(session_of(customer)).await.unwrap() {
        Admission::Admitted(record) => record,
        Admission::AlreadyLive(record) | Admission::Repeated(record, _) => panic!("{} is there", record.id),
        Admission::AccountChanged => panic!("no account was checked"),
    }
}

fn record_of(answer: &Admission) -> &SessionRecord {
    match answer {
        Admission::Admitted(record) | Admission::AlreadyLive(record) | Admission::Repeated(record, _) => record,
        Admission::AccountChanged => panic!("no account was checked"),
    }
}

fn ended(record: &SessionRecord) -> SessionRecord {
    let ending = Ending::new(Outcome::Stopped, Reason::new("asked"));
    record.after(Phase::Ended { epoch: record.phase.epoch(), ending, log_bytes: 0 })
}

fn customer(email: &str) -> Customer {
    Customer { key: key(email), email: email.to_owned(), password_hash: "hash".into(), created: WALL, disabled: None }
}

fn text(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

fn read(data: &SessionData) -> Bytes {
    match data {
        SessionData::Inline(bytes) => bytes.clone(),
        SessionData::File(path) => std::fs::read(path).unwrap().into(),
    }
}

async fn at_once<T: Send + 'static>(calls: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    calls.collect::<JoinSet<T>>().join_all().await
}

async fn poll_once<T>(answer: &mut Answer<'_, T>) -> Poll<Result<T, StoreError>> {
    poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await
}

async fn poll_and_drop<T>(mut answer: Answer<'_, T>, polls: usize) {
    for _ in 0..polls {
        if poll_once(&mut answer).await.is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
