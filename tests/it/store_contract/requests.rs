//! What every store promises of requests that carry an idempotency key.

use std::sync::Arc;

use frontdesk::id::Epoch;
use frontdesk::store::{KEYS_PER_SESSION, KeyedAnswer, Noted, RequestKey, RequestNote, StoreError};

use super::{NOW, Place, admit, at_once, ended, session_of, text};

pub(super) async fn a_keyed_request_is_noted_once_and_whoever_comes_again_is_told(place: &dyn Place) {
    let store = place.open();
    let [ann, bob] = [admit(&*store, "ann").await.id, admit(&*store, "bob").await.id];
    let key = RequestKey::of(b"order 7");

    assert_eq!(store.note_request(ann, key, note(1)).await.unwrap(), Noted::New);
    assert_eq!(store.note_request(bob, key, note(2)).await.unwrap(), Noted::New);
    assert_eq!(store.note_request(ann, RequestKey::of(b"order 8"), note(3)).await.unwrap(), Noted::New);
    let nobody = session_of("eve").record.id;
    assert!(matches!(store.note_request(nobody, key, note(1)).await, Err(StoreError::Missing)));

    drop(store);
    let again = place.open().note_request(ann, key, note(9)).await.unwrap();
    assert_eq!(again, Noted::Known(note(1)));
}

pub(super) async fn of_many_notes_at_once_under_one_key_exactly_one_is_new(place: &dyn Place) {
    let store = place.open();
    let ann = admit(&*store, "ann").await.id;

    let answers = at_once((0..50).map(|call| {
        let store = Arc::clone(&store);
        async move { (call, store.note_request(ann, RequestKey::of(b"k"), note(call)).await.unwrap()) }
    }))
    .await;

    let new: Vec<_> = answers.iter().filter(|(_, noted)| *noted == Noted::New).collect();
    assert_eq!(new.len(), 1);
    let known = Noted::Known(note(new[0].0));
    assert_eq!(answers.iter().filter(|(_, noted)| *noted == known).count(), 49);
}

pub(super) async fn a_noted_request_is_moved_only_as_it_stands_and_without_an_answer(place: &dyn Place) {
    let store = place.open();
    let ann = admit(&*store, "ann").await.id;
    let key = RequestKey::of(b"k");
    store.note_request(ann, key, note(1)).await.unwrap();
    let (first, second) = ((Epoch(1), 1), (Epoch(2), 1));

    store.move_request(ann, key, first, second).await.unwrap();

    assert!(matches!(store.move_request(ann, key, first, second).await, Err(StoreError::Conflict)));
    let unknown = RequestKey::of(b"other");
    assert!(matches!(store.move_request(ann, unknown, first, second).await, Err(StoreError::Missing)));
    let moved = RequestNote { epoch: Epoch(2), ..note(1) };
    assert_eq!(store.note_request(ann, key, note(9)).await.unwrap(), Noted::Known(moved));
    store.answer_request(ann, key, KeyedAnswer::Lost("its agent ended".into()), KEEP).await.unwrap();
    assert!(matches!(store.move_request(ann, key, second, first).await, Err(StoreError::Conflict)));
}

pub(super) async fn the_first_answer_to_a_noted_request_stays(place: &dyn Place) {
    let store = place.open();
    let ann = admit(&*store, "ann").await.id;
    let first = [
        KeyedAnswer::Result(text(5 << 20)),
        KeyedAnswer::Refused("no such room".into()),
        KeyedAnswer::Lost("its agent ended".into()),
    ];
    for (n, answer) in (1..).zip(&first) {
        let key = RequestKey::of(&[n]);
        store.note_request(ann, key, note(u64::from(n))).await.unwrap();
        assert_eq!(store.answer_request(ann, key, answer.clone(), KEEP).await.unwrap(), *answer);
        let late = KeyedAnswer::Result("late".into());
        assert_eq!(store.answer_request(ann, key, late, KEEP).await.unwrap(), *answer);
    }
    let missing = store.answer_request(ann, RequestKey::of(b"other"), first[1].clone(), KEEP).await;
    assert!(matches!(missing, Err(StoreError::Missing)));

    drop(store);
    let store = place.open();
    for (n, answer) in (1..).zip(first) {
        let known = RequestNote { answer: Some(answer), ..note(u64::from(n)) };
        assert_eq!(store.note_request(ann, RequestKey::of(&[n]), note(9)).await.unwrap(), Noted::Known(known));
    }
}

pub(super) async fn the_newest_answers_are_kept_and_of_older_ones_that_they_are_lost(place: &dyn Place) {
    let store = place.open();
    let ann = admit(&*store, "ann").await.id;
    let answers = [text(400), "{}".into(), text(500), text(400), text(2_000)].map(KeyedAnswer::Result);
    for (n, answer) in (1..).zip(&answers) {
        let key = RequestKey::of(&[n]);
        store.note_request(ann, key, note(u64::from(n))).await.unwrap();
        assert_eq!(store.answer_request(ann, key, answer.clone(), 1_000).await.unwrap(), *answer);
    }
    let kept = async |n: u8| store.noted_request(ann, RequestKey::of(&[n])).await.unwrap().unwrap().answer.unwrap();

    // The last one is larger than all that is to be kept, and what is tiny stays.
    assert!(matches!(kept(1).await, KeyedAnswer::Lost(_)));
    assert_eq!(kept(2).await, answers[1]);
    assert!(matches!((kept(3).await, kept(4).await), (KeyedAnswer::Lost(_), KeyedAnswer::Lost(_))));
    assert_eq!(kept(5).await, answers[4]);

    let key = RequestKey::of(b"one more");
    store.note_request(ann, key, note(9)).await.unwrap();
    store.answer_request(ann, key, answers[0].clone(), 2_400).await.unwrap();
    assert_eq!(kept(5).await, answers[4], "both fit");
    assert_eq!(store.open_requests(ann).await.unwrap(), []);
}

pub(super) async fn open_requests_come_in_the_order_in_which_they_were_noted(place: &dyn Place) {
    let store = place.open();
    let [ann, bob] = [admit(&*store, "ann").await.id, admit(&*store, "bob").await.id];
    for n in 1..=9 {
        store.note_request(ann, RequestKey::of(&[n]), note(u64::from(n))).await.unwrap();
    }
    for n in [2, 5, 9] {
        store.answer_request(ann, RequestKey::of(&[n]), KeyedAnswer::Result("{}".into()), KEEP).await.unwrap();
    }

    let open = store.open_requests(ann).await.unwrap();

    let expected: Vec<_> = [1, 3, 4, 6, 7, 8].map(|n| (RequestKey::of(&[n]), note(u64::from(n)))).into();
    assert_eq!(open, expected);
    assert_eq!(store.open_requests(bob).await.unwrap(), []);
}

pub(super) async fn the_oldest_answered_key_makes_room_and_open_ones_never_do(place: &dyn Place) {
    let store = place.open();
    let ann = admit(&*store, "ann").await.id;
    let key = |n: usize| RequestKey::of(&n.to_be_bytes());
    let noted = |n: usize| {
        let store = Arc::clone(&store);
        async move { store.note_request(ann, key(n), note(1)).await }
    };
    at_once((0..KEYS_PER_SESSION).map(noted)).await.into_iter().for_each(|noted| drop(noted.unwrap()));
    let more = KEYS_PER_SESSION;

    assert!(matches!(noted(more).await, Err(StoreError::Busy)));
    assert!(matches!(noted(0).await, Ok(Noted::Known(_))));
    store.answer_request(ann, key(7), KeyedAnswer::Result("{}".into()), KEEP).await.unwrap();
    assert_eq!(noted(more).await.unwrap(), Noted::New);

    assert_eq!(store.open_requests(ann).await.unwrap().len(), KEYS_PER_SESSION);
    let late = store.answer_request(ann, key(7), KeyedAnswer::Result("{}".into()), KEEP).await;
    assert!(matches!(late, Err(StoreError::Missing)));
}

pub(super) async fn noted_requests_outlive_their_session_and_go_with_its_history(place: &dyn Place) {
    let store = place.open();
    let [ann, bob] = [admit(&*store, "ann").await, admit(&*store, "bob").await];
    let key = RequestKey::of(b"k");
    for id in [ann.id, bob.id] {
        store.note_request(id, key, note(1)).await.unwrap();
    }

    store.put(ended(&ann), NOW).await.unwrap();

    let other = RequestKey::of(b"other");
    assert!(matches!(store.note_request(ann.id, other, note(1)).await, Err(StoreError::Missing)));
    let answer = KeyedAnswer::Result("{}".into());
    assert_eq!(store.answer_request(ann.id, key, answer.clone(), KEEP).await.unwrap(), answer);
    let answered = RequestNote { answer: Some(answer), ..note(1) };
    assert_eq!(store.noted_request(ann.id, key).await.unwrap(), Some(answered));
    assert_eq!(store.noted_request(ann.id, other).await.unwrap(), None);

    store.delete_history(vec![ann.id]).await.unwrap();

    assert_eq!(store.noted_request(ann.id, key).await.unwrap(), None);
    assert_eq!(store.open_requests(bob.id).await.unwrap(), [(key, note(1))]);
}

/// More than anything here is.
const KEEP: u64 = 1 << 30;

fn note(call: u64) -> RequestNote {
    RequestNote { digest: [4; 32], epoch: Epoch(1), call, answer: None }
}
