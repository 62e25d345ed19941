//! What a session's sequence is, with a real store and a real log.

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::clock::{SystemClock, WallTime};
use crate::data_dir::DataDir;
use crate::id::CustomerKey;
use crate::session::{Ending, NewSession, Reason, SessionData};
use crate::store::sqlite::SqliteStore;
use crate::token::TokenHash;

#[tokio::test]
async fn a_session_begins_with_its_creation_which_is_in_no_log() {
    let (desk, record) = Desk::with_a_session().await;
    let page = desk.sequences.read(&record, 0, 9).await.unwrap();
    assert_eq!((page.first, page.last, page.events.len()), (1, 1, 1));
    let creation = &page.events[0];
    assert_eq!((creation.number, creation.kind, creation.at), (1, Kind::Transition, record.created));
    assert_eq!(creation.body, r#"{"phase":"PENDING","epoch":0,"revision":1}"#);
    assert!(desk.sequences.read(&record, 1, 9).await.unwrap().events.is_empty());
    assert!(desk.sequences.events.kept(vec![record.id]).await.unwrap().is_empty());
}

#[tokio::test]
async fn pages_hold_as_many_as_are_asked_for_the_creation_included() {
    let (desk, record) = Desk::with_a_session().await;
    for n in 0..3 {
        desk.says(&record, &n.to_string()).await;
    }
    for (after, most, expected) in [(0, 2, &[1, 2][..]), (0, 1, &[1]), (0, 0, &[]), (1, 9, &[2, 3, 4]), (4, 9, &[])] {
        let page = desk.sequences.read(&record, after, most).await.unwrap();
        assert_eq!(page.events.iter().map(|event| event.number).collect::<Vec<_>>(), expected);
        assert_eq!((page.first, page.last), (1, 4));
    }
}

#[tokio::test]
async fn the_creation_goes_with_the_oldest_events() {
    let (desk, record) = Desk::with_a_session().await;
    for _ in 0..3 {
        desk.says(&record, &format!("{:0600}", 1)).await;
    }
    let page = desk.sequences.read(&record, 0, 9).await.unwrap();
    assert_eq!((page.first, page.last, page.events[0].number), (4, 4, 4));
}

#[tokio::test]
async fn the_end_of_a_session_is_there_for_its_first_reader_also_if_nobody_came_to_append_it() {
    let (desk, record) = Desk::with_a_session().await;
    let ended = desk.end(&record).await;
    for _ in 0..2 {
        let page = desk.sequences.read(&ended, 0, 9).await.unwrap();
        assert_eq!((page.first, page.last, page.events.len()), (1, 2, 2));
        let body = r#"{"phase":"ENDED","epoch":0,"revision":2,"outcome":"stopped","reason":"a test"}"#;
        assert_eq!(page.events[1].body, body);
    }
}

#[tokio::test]
async fn who_reads_a_session_that_is_forgotten_meanwhile_leaves_nothing_of_it() {
    let (desk, record) = Desk::with_a_session().await;
    let ended = desk.end(&record).await;
    desk.sequences.store.delete_history(vec![ended.id]).await.unwrap();
    assert!(matches!(desk.sequences.read(&ended, 0, 9).await, Err(StoreError::Missing)));
    assert!(desk.sequences.events.kept(vec![ended.id]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transition_that_is_told_twice_is_there_once_and_a_started_one_says_no_reason() {
    let (desk, record) = Desk::with_a_session().await;
    let (at, tasks) = (Timestamp::from_micros(1), Tasks::default());
    let running = Phase::Running { epoch: Epoch(1), since: at, first_ready: at, failures: Default::default() };
    let running = record.after(running);
    let one = desk.sequences.tell(&running, None, &tasks).await;
    desk.sequences.tell(&running, Some(one), &tasks).await.durable().await;
    let page = desk.sequences.read(&running, 1, 9).await.unwrap();
    assert_eq!((page.last, page.events[0].epoch), (2, Epoch(1)));
    assert_eq!(page.events[0].body, r#"{"phase":"RUNNING","epoch":1,"revision":2}"#);
}

struct Desk {
    sequences: Sequences,
    _directory: TempDir,
}

impl Desk {
    async fn with_a_session() -> (Self, SessionRecord) {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(data_dir.paths()).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(None));
        let sequences = Sequences::new(store, clock, EventLog::open(data_dir.paths(), 1_000).unwrap());
        let created = WallTime::from_unix_millis(1_700_000_000_000);
        let record = SessionRecord {
            id: SessionId::new(created, [1; 10]),
            customer: CustomerKey::new("ada@example.org"),
            email: None,
            persona: "CUSTOMERS".into(),
            created,
            revision: Revision::FIRST,
            phase: Phase::admitted(Timestamp::from_micros(9)),
        };
        let data = SessionData::Inline("{}".into());
        let new = NewSession {
            record: record.clone(),
            data,
            token: TokenHash([1; 32]),
            origin: None,
            key: None,
            account: None,
        };
        sequences.store.admit(new).await.unwrap();
        (Self { sequences, _directory: directory }, record)
    }

    async fn says(&self, record: &SessionRecord, body: &str) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let event = NewEvent { kind: Kind::Event, at: record.created, body };
        self.sequences.events.append(record.id, Epoch(1), None, event).await.unwrap();
    }

    /// Ends the session as a server does that dies before it has appended the transition.
    async fn end(&self, record: &SessionRecord) -> SessionRecord {
        let ending = Ending::new(Outcome::Stopped, Reason::new("a test"));
        let ended = record.after(Phase::Ended { epoch: Epoch::default(), ending, log_bytes: 0 });
        self.sequences.store.put(ended.clone(), crate::clock::Timestamp::from_micros(1)).await.unwrap();
        ended
    }
}
