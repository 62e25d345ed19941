//! What every store promises of the audit.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use frontdesk::clock::WallTime;
use frontdesk::id::SessionId;
use frontdesk::session::NewSession;
use frontdesk::store::{Action, Actor, AuditEntry, AuditFilter, NumberedEntry, Store};

use super::{NOW, Place, admit, at_once, ended, key, record_of, session_of};

pub(super) async fn what_is_noted_is_there_word_for_word_the_youngest_first(place: &dyn Place) {
    let store = place.open();
    let actors = [Actor::Customer, Actor::Operator("deploys".into()), Actor::CommandLine, Actor::Unknown];
    let mut noted: Vec<_> = Action::ALL.iter().zip(0..).map(|(action, n)| entry(n / 2, *action)).collect();
    for (entry, actor) in noted.iter_mut().zip(actors.iter().cycle()) {
        entry.actor = actor.clone();
    }
    noted[0].session = Some(SessionId::from_bytes([7; 16]));
    noted[1].customer = Some(key("a\0b\n'"));
    noted[2].from = Some("2001:db8::1".parse().unwrap());
    for entry in &noted {
        store.note(entry.clone()).await.unwrap();
    }
    drop(store);
    noted.reverse();
    assert_eq!(entries(&*place.open(), AuditFilter::default()).await, noted);
}

pub(super) async fn an_admission_is_in_the_audit_while_its_session_lives_is_over_and_is_forgotten(place: &dyn Place) {
    let store = place.open();
    let origin = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let record = record_of(&store.admit(NewSession { origin, ..session_of("ann") }).await.unwrap()).clone();
    let admission = AuditEntry {
        at: record.id.requested(),
        actor: Actor::Customer,
        session: Some(record.id),
        customer: Some(key("ann")),
        from: origin,
        detail: String::new(),
        ..entry(0, Action::SessionCreated)
    };

    let live = page(&*store, AuditFilter::default(), 10).await;
    store.put(ended(&record), NOW).await.unwrap();
    let over = page(&*store, AuditFilter::default(), 10).await;
    store.delete_history(vec![record.id]).await.unwrap();
    store.delete_history(vec![record.id]).await.unwrap();
    let forgotten = page(&*store, AuditFilter::default(), 10).await;
    drop(store);
    let reopened = page(&*place.open(), AuditFilter::default(), 10).await;

    assert_eq!(live.iter().map(|numbered| &numbered.entry).collect::<Vec<_>>(), [&admission]);
    assert!([over, forgotten, reopened].iter().all(|page| *page == live), "its place stays the same");
}

pub(super) async fn the_audit_is_paged_without_a_gap_whatever_its_entries_are(place: &dyn Place) {
    let store = place.open();
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(admit(&*store, &n.to_string()).await);
        let created = ids[n].id.requested().unix_millis();
        for at in [created, created, created + 1] {
            let detail = format!("{n}");
            store
                .note(AuditEntry { at: WallTime::from_unix_millis(at), detail, ..entry(0, Action::SignedIn) })
                .await
                .unwrap();
        }
    }
    for record in &ids[..8] {
        store.put(ended(record), NOW).await.unwrap();
    }
    store.delete_history(ids[..4].iter().map(|record| record.id).collect()).await.unwrap();
    let whole = page(&*store, AuditFilter::default(), 100).await;
    assert_eq!(whole.len(), 48);
    assert!(whole.is_sorted_by(|one, next| one.cursor > next.cursor));

    for size in [1, 5, 48] {
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let next = page(&*store, AuditFilter { before, ..AuditFilter::default() }, size).await;
            let Some(last) = next.last() else { break };
            before = Some(last.cursor);
            paged.extend(next);
        }
        assert!(paged == whole, "by {size}");
    }
}

pub(super) async fn the_audit_is_filtered_by_session_customer_and_action(place: &dyn Place) {
    let store = place.open();
    let [over, live] = [admit(&*store, "ann").await, admit(&*store, "bob").await];
    store.put(ended(&over), NOW).await.unwrap();
    let again = admit(&*store, "ann").await;
    for (n, record, action) in [
        (1, &over, Action::SessionStopped),
        (2, &again, Action::SessionStopped),
        (3, &again, Action::SessionInitialised),
        (4, &live, Action::SessionStopped),
    ] {
        let (session, customer) = (Some(record.id), Some(record.customer.clone()));
        store.note(AuditEntry { session, customer, ..entry(n, action) }).await.unwrap();
    }
    let found = async |filter: AuditFilter| {
        let entries = entries(&*store, filter).await;
        entries.into_iter().map(|entry| (entry.session.unwrap(), entry.action)).collect::<Vec<_>>()
    };
    let (created, stopped) = (Action::SessionCreated, Action::SessionStopped);
    let initialised = Action::SessionInitialised;

    let of_session = AuditFilter { session: Some(again.id), ..AuditFilter::default() };
    let of_again = [(again.id, initialised), (again.id, stopped), (again.id, created)];
    assert_eq!(found(of_session.clone()).await, of_again);
    let of_ann = AuditFilter { customer: Some(key("ann")), ..AuditFilter::default() };
    let all_of_ann =
        [(again.id, initialised), (again.id, stopped), (over.id, stopped), (again.id, created), (over.id, created)];
    assert_eq!(found(of_ann.clone()).await, all_of_ann);
    assert_eq!(found(AuditFilter { session: Some(live.id), ..of_ann.clone() }).await, []);
    assert_eq!(found(AuditFilter { action: Some(stopped), ..of_ann }).await, [(again.id, stopped), (over.id, stopped)]);
    let of_creation = AuditFilter { action: Some(created), ..AuditFilter::default() };
    assert_eq!(found(of_creation).await, [(again.id, created), (live.id, created), (over.id, created)]);
    assert_eq!(found(AuditFilter { action: Some(initialised), ..of_session }).await, of_again[..1]);
    assert_eq!(found(AuditFilter { customer: Some(key("eve")), ..AuditFilter::default() }).await, []);
}

pub(super) async fn entries_of_one_millisecond_noted_at_once_are_all_kept(place: &dyn Place) {
    let store = place.open();
    at_once((0..100).map(|n| {
        let store = Arc::clone(&store);
        async move { store.note(AuditEntry { detail: n.to_string(), ..entry(5, Action::SignedIn) }).await.unwrap() }
    }))
    .await;
    let kept = page(&*store, AuditFilter::default(), 200).await;
    let details: BTreeSet<_> = kept.iter().map(|numbered| numbered.entry.detail.clone()).collect();
    assert_eq!((kept.len(), details.len()), (100, 100));
}

fn entry(n: i64, action: Action) -> AuditEntry {
    AuditEntry {
        at: WallTime::from_unix_millis(1_700_000_000_000 + n),
        actor: Actor::CommandLine,
        action,
        session: None,
        customer: None,
        from: None,
        detail: format!("detail {n}"),
    }
}

async fn page(store: &dyn Store, filter: AuditFilter, most: usize) -> Vec<NumberedEntry> {
    store.audit(filter, most).await.unwrap()
}

async fn entries(store: &dyn Store, filter: AuditFilter) -> Vec<AuditEntry> {
    page(store, filter, 100).await.into_iter().map(|numbered| numbered.entry).collect()
}
