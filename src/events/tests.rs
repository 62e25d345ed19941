//! What the log of events promises, on a real file.

use std::pin::Pin;
use std::task::Poll;

use futures::ordered;
use rusqlite::Connection;

use super::*;
use crate::data_dir::DataDir;

const KEEP: u64 = 1 << 20;
const EPOCH: Epoch = Epoch(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_numbered_in_the_order_of_their_appending_and_kept_as_they_were_written() {
    let place = Place::new();
    let log = place.open();
    let appends = (0..300).map(|n| log.append(id(1), EPOCH, None, log_line(n)));
    ordered(appends.collect()).await.into_iter().for_each(Result::unwrap);
    drop(log);

    let page = place.open().read(id(1), 0, 1_000).await.unwrap();

    assert_eq!((page.first, page.last), (2, 301));
    for (n, event) in (0..).zip(&page.events) {
        let NewEvent { kind, at, body } = log_line(n);
        assert_eq!(*event, Event { number: n + 2, epoch: EPOCH, kind, at, body });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_while_room_is_short_and_everything_is_taken_afterwards() {
    let place = Place::new();
    let (log, shortage) = (place.open(), Shortage::default());
    log.yield_room(&shortage);
    log.append(id(1), EPOCH, Some(1), log_line(0)).await.unwrap();
    let size =
        || place.directory.paths().events_files().map(|file| std::fs::metadata(file).map_or(0, |file| file.len()));
    let before = size();

    shortage.set(true);
    for n in 1..3 {
        let refused = log.append(id(1), EPOCH, Some(2), log_line(n)).await.unwrap_err().to_string();
        assert!(refused.contains("the disk is full"), "{refused}");
    }
    assert!(log.ready().is_err() && size() == before, "it grew while room was short");

    shortage.set(false);
    while log.append(id(1), EPOCH, Some(2), log_line(1)).await.is_err() {}
    assert_eq!(numbers(&log.read(id(1), 0, 9).await.unwrap()), [2, 3]);
}

#[tokio::test]
async fn sessions_have_numbers_of_their_own_and_pages_go_on_after_a_number() {
    let place = Place::new();
    let log = place.open();
    for n in 0..4 {
        log.append(id(1), EPOCH, None, log_line(n)).await.unwrap();
        log.append(id(2), EPOCH, None, log_line(n)).await.unwrap();
    }
    assert_eq!(numbers(&log.read(id(1), 2, 2).await.unwrap()), [3, 4]);
    assert_eq!(numbers(&log.read(id(2), 4, 9).await.unwrap()), [5]);
    let nothing = log.read(id(3), 0, 9).await.unwrap();
    assert_eq!(nothing, Page { events: Vec::new(), large: None, first: 2, last: 1, revision: Revision::FIRST });
}

#[tokio::test]
async fn a_large_event_is_read_part_by_part() {
    let place = Place::new();
    let log = place.open();
    let large = NewEvent { body: (0..5_000).map(|n| b'0' + (n % 10) as u8).collect(), ..log_line(1) };
    for event in [log_line(0), large.clone(), log_line(2)] {
        log.append(id(1), EPOCH, None, event).await.unwrap();
    }

    let page = log.read_small(id(1), 0, 9, 1_000).await.unwrap();

    assert_eq!(numbers(&page), [2]);
    let Event { number, kind, at, body, .. } = page.large.unwrap();
    assert_eq!((number, kind, at, body.len()), (3, large.kind, large.at, 0));
    let mut whole = Vec::new();
    loop {
        let part = log.part(id(1), 3, whole.len(), 2_000).await.unwrap().unwrap();
        whole.extend_from_slice(&part);
        if part.len() < 2_000 {
            break;
        }
    }
    assert_eq!(whole, large.body);
    assert_eq!(log.part(id(1), 3, 5_000, 2_000).await.unwrap().unwrap().len(), 0);
    assert_eq!(log.part(id(1), 9, 0, 2_000).await.unwrap(), None);
    let rest = log.read_small(id(1), 3, 9, 1_000).await.unwrap();
    assert_eq!((numbers(&rest), rest.large), (vec![4], None));
}

#[tokio::test]
async fn a_line_that_is_told_twice_is_stored_once_also_after_reopening() {
    let place = Place::new();
    let log = place.open();
    for position in [10, 20, 10, 20, 30] {
        log.append(id(1), EPOCH, Some(position), log_line(position)).await.unwrap();
    }
    drop(log);
    let log = place.open();
    log.append(id(1), EPOCH, Some(30), log_line(30)).await.unwrap();
    log.append(id(1), EPOCH, Some(40), log_line(40)).await.unwrap();

    let page = log.read(id(1), 0, 9).await.unwrap();

    assert_eq!(bodies(&page), [10, 20, 30, 40].map(|position| text_of(&log_line(position))));
    assert_eq!(log.position(id(1), EPOCH).await.unwrap(), 40);
}

#[tokio::test]
async fn each_epoch_has_a_position_of_its_own() {
    let place = Place::new();
    let log = place.open();
    for (epoch, position) in [(1, 10), (2, 5), (1, 10), (1, 11), (2, 5), (2, 6)] {
        log.append(id(1), Epoch(epoch), Some(position), log_line(position)).await.unwrap();
    }
    assert_eq!(log.read(id(1), 0, 9).await.unwrap().last, 5);
    assert_eq!(log.position(id(1), Epoch(1)).await.unwrap(), 11);
    assert_eq!(log.position(id(1), Epoch(2)).await.unwrap(), 6);
    assert_eq!(log.position(id(1), Epoch(3)).await.unwrap(), 0);
}

#[tokio::test]
async fn the_newest_bytes_are_kept_and_numbers_go_on() {
    let place = Place::new();
    let log = EventLog::open(place.directory.paths(), 1_000).unwrap();
    let event = |n: u64| NewEvent { body: format!("{n:0200}").into(), ..log_line(0) };
    for n in 0..10 {
        log.append(id(1), EPOCH, None, event(n)).await.unwrap();
    }
    let page = log.read(id(1), 0, 99).await.unwrap();
    assert_eq!((page.first, page.last, numbers(&page)), (9, 11, vec![9, 10, 11]));

    log.append(id(1), EPOCH, None, NewEvent { body: vec![b'1'; 5_000].into(), ..log_line(0) }).await.unwrap();
    let page = log.read(id(1), 0, 99).await.unwrap();
    assert_eq!((page.first, page.last, numbers(&page)), (12, 12, vec![12]));
}

#[tokio::test]
async fn parts_of_an_answer_that_come_together_are_one_record_and_the_next_event_comes_after_them() {
    let place = Place::new();
    let log = place.open();
    let parts = (0..5).map(|n| log.append(id(1), EPOCH, Some(n + 1), part(2, n)));
    let after = log.append(id(1), EPOCH, Some(6), log_line(6));
    ordered(parts.map(boxed).chain([boxed(after)]).collect()).await.into_iter().for_each(Result::unwrap);

    let page = log.read(id(1), 0, 9).await.unwrap();

    let joined: Vec<_> = (0..5).map(|n| text_of(&part(2, n))).collect();
    assert_eq!(bodies(&page), [format!("[{}]", joined.join(",")), text_of(&log_line(6))]);
    assert_eq!(log.position(id(1), EPOCH).await.unwrap(), 6);
}

#[tokio::test]
async fn a_part_of_an_answer_is_stored_without_a_further_event() {
    let place = Place::new();
    let log = place.open();
    log.append(id(1), EPOCH, Some(7), part(2, 0)).await.unwrap();
    assert_eq!(log.read(id(1), 0, 9).await.unwrap().last, 2);
}

#[tokio::test]
async fn what_waits_for_further_parts_is_stored_when_the_log_is_closed() {
    let place = Place::new();
    let log = place.open();
    let mut append = Box::pin(log.append(id(1), EPOCH, Some(7), part(2, 0)));
    let is_ready = std::future::poll_fn(|context| Poll::Ready(append.as_mut().poll(context).is_ready())).await;
    drop((append, log));
    assert!(!is_ready);
    assert_eq!(place.open().read(id(1), 0, 9).await.unwrap().last, 2);
}

#[tokio::test]
async fn a_forgotten_session_leaves_nothing_and_others_stay() {
    let place = Place::new();
    let log = place.open();
    for n in 1..20 {
        log.append(id(n), EPOCH, Some(5), log_line(0)).await.unwrap();
    }
    log.forget((2..20).map(id).collect()).await.unwrap();
    assert_eq!(log.read(id(1), 0, 9).await.unwrap().last, 2);
    let tables = Connection::open(place.directory.paths().events()).unwrap();
    for table in ["events", "ledgers", "positions"] {
        let rows: i64 = tables.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "{table}");
    }
    log.append(id(2), EPOCH, Some(1), log_line(0)).await.unwrap();
    assert_eq!(numbers(&log.read(id(2), 0, 9).await.unwrap()), [2]);
}

#[tokio::test]
async fn a_failed_commit_is_told_to_all_who_wait_and_none_that_comes_later_takes_their_place() {
    let place = Place::new();
    let log = place.open();
    log.append(id(1), EPOCH, Some(1), log_line(1)).await.unwrap();
    let other = Connection::open(place.directory.paths().events()).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.body = CAST('666' AS BLOB)
             BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        )
        .unwrap();
    let bad = NewEvent { body: "666".into(), ..log_line(0) };
    // The part waits in its window when the other session's event fails, and the last one comes behind both.
    let appends = vec![
        boxed(log.append(id(1), EPOCH, Some(2), part(2, 0))),
        boxed(log.append(id(2), EPOCH, None, bad)),
        boxed(log.append(id(1), EPOCH, Some(3), log_line(3))),
    ];
    let answers = ordered(appends).await;
    assert!(matches!(&answers[1], Err(StoreError::Unavailable(_))), "{answers:?}");
    assert_eq!(answers[0].is_ok(), answers[2].is_ok(), "{answers:?}");

    while log.ready().is_err() {
        tokio::task::yield_now().await;
    }
    let position = log.position(id(1), EPOCH).await.unwrap();
    assert_eq!(position, if answers[0].is_ok() { 3 } else { 1 });
    for position in 2..5 {
        log.append(id(1), EPOCH, Some(position), log_line(position)).await.unwrap();
    }
    let page = log.read(id(1), 0, 9).await.unwrap();
    assert_eq!((page.last, numbers(&page)), (5, vec![2, 3, 4, 5]));
}

#[tokio::test]
async fn only_this_user_may_read_the_log_whatever_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let log = place.open();
    log.append(id(1), EPOCH, None, log_line(0)).await.unwrap();
    for path in place.directory.paths().events_files() {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_page_ends_when_it_is_large_but_never_without_an_event() {
    let place = Place::new();
    let log = EventLog::open(place.directory.paths(), 1 << 30).unwrap();
    for _ in 0..3 {
        log.append(id(1), EPOCH, None, NewEvent { body: vec![b'1'; 5 << 20].into(), ..log_line(0) }).await.unwrap();
    }
    assert_eq!(numbers(&log.read(id(1), 2, 9).await.unwrap()), [3]);
}

#[tokio::test]
async fn a_step_is_stored_once_in_its_place_also_after_reopening() {
    let place = Place::new();
    let log = place.open();
    let said = log.append(id(1), EPOCH, Some(10), log_line(0));
    let appends = [boxed(step(&log, 2)), boxed(said), boxed(step(&log, 3)), boxed(step(&log, 2)), boxed(step(&log, 3))];
    ordered(appends.into()).await.into_iter().for_each(Result::unwrap);
    drop(log);
    let log = place.open();
    step(&log, 3).await.unwrap();
    step(&log, 4).await.unwrap();

    let page = log.read(id(1), 0, 9).await.unwrap();

    assert_eq!((page.last, page.revision), (5, Revision(4)));
    assert_eq!(bodies(&page), ["2", r#"{"TEXT":"line 0"}"#, "3", "4"]);
}

#[tokio::test]
async fn nothing_is_stored_behind_the_last_step_of_a_session() {
    let place = Place::new();
    let log = place.open();
    let last = log.append_step(id(1), EPOCH, Step { revision: Revision(3), is_last: true }, transition(3));
    let appends = vec![
        boxed(step(&log, 2)),
        boxed(log.append(id(1), EPOCH, None, part(1, 0))),
        boxed(last),
        boxed(log.append(id(1), EPOCH, Some(9), log_line(0))),
    ];
    ordered(appends).await.into_iter().for_each(Result::unwrap);
    log.append(id(1), EPOCH, None, log_line(1)).await.unwrap();
    step(&log, 4).await.unwrap();
    let page = log.read(id(1), 0, 9).await.unwrap();
    assert_eq!((numbers(&page), page.events[2].kind, page.revision), (vec![2, 3, 4], Kind::Transition, Revision(3)));
    assert_eq!(log.position(id(1), EPOCH).await.unwrap(), 0);
}

#[tokio::test]
async fn who_follows_a_session_is_woken_when_it_has_grown_and_finds_what_it_was_woken_for() {
    let place = Place::new();
    let log = place.open();
    log.append(id(1), EPOCH, None, log_line(0)).await.unwrap();
    let (mut one, mut other) = (log.follow(id(1)), log.follow(id(1)));
    log.append(id(2), EPOCH, None, log_line(0)).await.unwrap();
    for n in 0..3 {
        log.append(id(1), EPOCH, Some(n + 1), log_line(n)).await.unwrap();
        assert_eq!(one.changed().await, Some(n + 3));
        assert_eq!(log.read(id(1), n + 2, 9).await.unwrap().last, n + 3);
    }
    assert_eq!(other.changed().await, Some(5));
    // Told twice, and not grown.
    log.append(id(1), EPOCH, Some(3), log_line(2)).await.unwrap();
    let is_told =
        std::future::poll_fn(|context| Poll::Ready(Box::pin(one.changed()).as_mut().poll(context).is_ready()));
    assert!(!is_told.await);
    drop(log);
    assert_eq!((one.changed().await, other.changed().await), (None, None));
}

#[tokio::test]
async fn who_follows_all_sessions_is_told_of_each_and_a_slow_one_of_what_it_has_missed() {
    let place = Place::new();
    let log = place.open();
    assert!(!log.is_followed());
    let (mut all, mut slow) = (log.follow_all(), log.follow_all());
    assert!(log.is_followed());
    log.announce_creation(id(1));
    log.append(id(1), EPOCH, None, log_line(0)).await.unwrap();
    log.append(id(2), EPOCH, None, log_line(0)).await.unwrap();
    let grown = |n, number| Some(Announcement::Grown(Growth { session: id(n), first: number, last: number }));
    for (n, number) in [(1, 1), (1, 2), (2, 2)] {
        assert_eq!(all.next().await, grown(n, number));
    }
    drop(all);
    (0..5_000).for_each(|_| log.announce_creation(id(3)));
    let Some(Announcement::Lagged { missed }) = slow.next().await else { panic!("nothing is missed") };
    assert!(missed >= 5_003 - 4_096, "{missed}");
    assert_eq!(slow.next().await, grown(3, 1));
    drop(slow);
    assert!(!log.is_followed());
}

#[tokio::test]
async fn who_follows_a_session_is_told_again_after_a_failed_commit_which_may_have_taken_place() {
    let place = Place::new();
    let log = place.open();
    log.append(id(1), EPOCH, None, log_line(0)).await.unwrap();
    let mut follower = log.follow(id(1));
    let other = Connection::open(place.directory.paths().events()).unwrap();
    other
        .execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
        .unwrap();
    assert!(log.append(id(1), EPOCH, None, log_line(1)).await.is_err());
    assert_eq!(follower.changed().await, Some(2));
}

#[tokio::test]
async fn sessions_of_which_something_is_kept_are_told_from_others() {
    let place = Place::new();
    let log = place.open();
    log.append(id(2), EPOCH, None, log_line(0)).await.unwrap();
    assert_eq!(log.kept(vec![id(1), id(2), id(3)]).await.unwrap(), [id(2)]);
}

/// Futures that are polled in their order.
mod futures {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    pub(super) async fn ordered<T, F: Future<Output = T>>(futures: Vec<F>) -> Vec<T> {
        let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
        poll_fn(|context| {
            let mut is_ready = true;
            for (future, answer) in &mut futures {
                if answer.is_none() {
                    match Pin::new(future).poll(context) {
                        Poll::Ready(value) => *answer = Some(value),
                        Poll::Pending => is_ready = false,
                    }
                }
            }
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        futures.into_iter().filter_map(|(_, answer)| answer).collect()
    }
}

/// A data directory of a test's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_rows_are_damaged_is_set_aside_and_no_other_waits_for_it() {
    for damage in [
        "UPDATE ledgers SET last = 2",
        "UPDATE ledgers SET last = 9223372036854775807",
        "UPDATE ledgers SET first = -4",
        "UPDATE ledgers SET bytes = -1",
        "UPDATE ledgers SET revision = -1",
        "INSERT INTO positions VALUES (session, 1, -7)",
    ] {
        let place = Place::new();
        let log = place.open();
        for n in 0..3 {
            log.append(id(1), EPOCH, None, log_line(n)).await.unwrap();
        }
        drop(log);
        let sql = damage.replace("VALUES (session, 1, -7)", "SELECT session, 1, -7 FROM ledgers");
        let file = Connection::open(place.directory.paths().events()).unwrap();
        assert_eq!(file.execute(&sql, []).unwrap(), 1);
        drop(file);
        let log = place.open();

        let appends = (0..60).map(|n| boxed(log.append(id(1 + (n % 3) as u8), EPOCH, Some(n + 1), log_line(n))));
        let outcomes = ordered(appends.collect()).await;

        for (n, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(outcome.as_ref().is_err_and(StoreError::is_damage), n % 3 == 0, "{damage}: {n} {outcome:?}");
            assert_eq!(outcome.is_ok(), n % 3 != 0, "{damage}: {n}");
        }
        assert_eq!(numbers(&log.read(id(2), 0, 99).await.unwrap()).len(), 20);
        let named = log.damage().in_words().unwrap();
        assert!(named.contains(&format!("the log of events of session {}", id(1))), "{named}");
        assert!(log.ready().is_ok() && log.writes().failures.get() == 0, "{damage}: it is not opened again");
        log.forget(vec![id(1), id(2)]).await.unwrap();
        assert_eq!(log.kept(vec![id(1), id(2), id(3)]).await.unwrap(), [id(3)]);
    }
}

struct Place {
    directory: DataDir,
    _root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { directory: DataDir::open(root.path()).unwrap(), _root: root }
    }

    fn open(&self) -> EventLog {
        EventLog::open(self.directory.paths(), KEEP).unwrap()
    }
}

fn boxed<F: Future<Output = Result<(), StoreError>> + 'static>(future: F) -> Pin<Box<dyn Future<Output = F::Output>>> {
    Box::pin(future)
}

fn id(n: u8) -> SessionId {
    SessionId::new(WallTime::from_unix_millis(1), [n; 10])
}

fn step(log: &EventLog, revision: u32) -> impl Future<Output = Result<(), StoreError>> + 'static {
    let step = Step { revision: Revision(revision), is_last: false };
    log.append_step(id(1), EPOCH, step, transition(revision))
}

fn transition(revision: u32) -> NewEvent {
    NewEvent { kind: Kind::Transition, body: revision.to_string().into(), ..log_line(0) }
}

fn log_line(n: u64) -> NewEvent {
    let at = WallTime::from_unix_millis(1_000 + i64::try_from(n).unwrap());
    NewEvent { kind: Kind::Log, at, body: format!(r#"{{"TEXT":"line {n}"}}"#).into() }
}

fn part(request: u64, n: u64) -> NewEvent {
    let body = format!(r#"{{"ID":{request},"PART":{n}}}"#).into();
    NewEvent { kind: Kind::Output, at: WallTime::from_unix_millis(1_000), body }
}

fn numbers(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.number).collect()
}

fn bodies(page: &Page) -> Vec<String> {
    page.events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect()
}

fn text_of(event: &NewEvent) -> String {
    String::from_utf8(event.body.to_vec()).unwrap()
}
