//! What only this backend has: its file, its failed commits, its full disk.
//!
//! A failpoint is read once per process. So a test that needs one runs itself again in a process of its own.

use std::path::Path;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::data_dir::DataDir;
use crate::id::Revision;
use crate::session::{Ending, Outcome, Phase, Reason};
use crate::store::Tokens;

mod damage;
mod full_disk;

#[test]
fn a_claim_goes_on_when_the_index_is_rebuilt() {
    let index = Arc::new(Index::new());
    let ClaimOutcome::Won(claim) = index.claim(&CustomerKey::new("ann")) else { panic!("not free") };
    index.replace(&index.empty_twin());
    assert!(claim.holds());
    assert!(matches!(index.claim(&CustomerKey::new("ann")), ClaimOutcome::Wait(_)));
}

#[test]
fn a_claim_is_lost_to_a_session_that_the_rebuilt_index_has_in_its_place() {
    let index = Arc::new(Index::new());
    let ClaimOutcome::Won(claim) = index.claim(&CustomerKey::new("ann")) else { panic!("not free") };
    let found = index.empty_twin();
    found.show(Stored { record: session_of("ann", 0).record, tokens: Tokens::default() });
    index.replace(&found);
    assert!(!claim.holds());
    drop(claim);
    assert!(matches!(index.claim(&CustomerKey::new("ann")), ClaimOutcome::Live(_)));
    assert_eq!(index.census().live(), 1);
}

#[test]
fn an_admission_that_was_dropped_leaves_no_data_file_unless_its_session_lives() {
    let place = Place::new();
    let store = Arc::new(place.open());
    for polls in 0..40 {
        let runtime = runtime();
        let mut admission = store.admit(session_of(&format!("{polls}"), 200_000));
        runtime.block_on(async {
            for _ in 0..polls * polls {
                if admission.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        drop(admission);
        // Waits for whatever still writes a file.
        drop(runtime);
    }
    drop(store);
    assert_eq!(data_files(&place), live_on_disk(&place));
}

#[test]
fn of_the_files_that_no_session_means_only_those_that_a_store_made_are_removed() {
    let place = Place::new();
    drop(place.open());
    let data = place.directory.paths().session_data();
    let id = session_of("ann", 0).record.id.to_string();
    let foreign = ["notes.txt".to_owned(), "sales.json".into(), format!("{id}.json.bak"), id.to_uppercase() + ".json"];
    for name in foreign.iter().chain(&[format!("{id}.json"), format!("{id}.part")]) {
        std::fs::write(data.join(name), "").unwrap();
    }
    let directory = session_of("bob", 0).record.id.to_string() + ".json";
    std::fs::create_dir(data.join(&directory)).unwrap();

    drop(place.open());

    let mut left: Vec<_> = foreign.into_iter().chain([directory]).collect();
    left.sort_unstable();
    let entries = std::fs::read_dir(data).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, left);
}

#[test]
fn only_this_user_may_read_the_store_whatever_the_directory() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (root, all) = (place.directory.paths().root(), |mode| std::fs::Permissions::from_mode(mode));
    std::fs::set_permissions(root, all(0o755)).unwrap();
    let assert_private = |store: &SqliteStore, customer: &str| {
        let record = runtime().block_on(admitted(store, session_of(customer, 100_000)));
        for path in
            place.directory.paths().database_files().into_iter().chain([store.files.path(DataFile::first(record.id))])
        {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    };
    let store = place.open();
    assert_private(&store, "ann");
    drop(store);
    std::fs::set_permissions(place.directory.paths().database(), all(0o644)).unwrap();
    assert_private(&place.open(), "bob");
}

#[test]
fn who_ends_a_session_does_not_wait_for_the_removal_of_its_data() {
    let (place, runtime) = (Place::new(), runtime());
    let store = place.open();
    let record = runtime.block_on(admitted(&store, session_of("ann", 100_000)));
    let held_up = store.files.removals();
    let put = async { tokio::time::timeout(Duration::from_secs(20), store.put(ended(&record), NOW)).await };
    runtime.block_on(put).unwrap().unwrap();
    drop(held_up);
    drop(store);
    assert_eq!(data_files(&place), [""; 0]);
}

#[test]
fn received_data_that_is_not_placed_leaves_no_file() {
    let (place, runtime) = (Place::new(), runtime());
    let store = place.open();
    let record = runtime.block_on(admitted(&store, session_of("ann", 10)));
    let starting: Phase = serde_json::from_str(
        r#"{"STARTING":{"epoch":1,"not_before":1,"deadline":2,"start":{"FIRST":{"failed_starts":0}}}}"#,
    )
    .unwrap();
    runtime.block_on(async {
        let mut dropped = store.receive_data(record.id).await.unwrap();
        dropped.write(b"{").unwrap();
        let late = store.receive_data(record.id).await.unwrap();
        store.put(record.after(starting), NOW).await.unwrap();
        assert!(matches!(late.place().await, Err(StoreError::Conflict)));
    });
    // Waits for whatever still has a file.
    drop(runtime);
    drop(store);
    assert_eq!(data_files(&place), [""; 0]);
}

#[test]
fn what_was_received_when_the_process_died_is_removed_and_what_a_row_means_stays() {
    let (place, runtime) = (Place::new(), runtime());
    let store = place.open();
    let record = runtime.block_on(async {
        let record = admitted(&store, session_of("ann", 10)).await;
        let mut incoming = store.receive_data(record.id).await.unwrap();
        incoming.write(b"{}").unwrap();
        incoming.place().await.unwrap();
        record
    });
    drop(store);
    let [meant] = &*data_files(&place) else { panic!("not one file") };
    let left = [DataFile::first(record.id).name(), DataFile::another(record.id).name().replace("json", "part")];
    for name in left {
        std::fs::write(place.directory.paths().session_data().join(name), "{").unwrap();
    }

    drop(place.open());

    assert_eq!(&data_files(&place), std::slice::from_ref(meant));
}

#[cfg(feature = "failpoints")]
mod failed_commit {
    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn who_waits_for_it_is_told_and_afterwards_memory_is_what_the_disk_is() {
        with_failpoint(
            "failed_commit::who_waits_for_it_is_told_and_afterwards_memory_is_what_the_disk_is",
            "before-commit=error@3",
            || async {
                let place = Place::new();
                let store = Arc::new(place.open());
                let ann = admitted(&store, session_of("ann", 10)).await;
                admitted(&store, session_of("bob", 100_000)).await;

                let mut admissions = JoinSet::new();
                for n in 0..30 {
                    let store = Arc::clone(&store);
                    admissions.spawn(async move {
                        let new = session_of(&format!("{n}"), if n % 2 == 0 { 10 } else { 100_000 });
                        let id = new.record.id;
                        store.admit(new).await.map(|_| id)
                    });
                }
                let (end, answers) = tokio::join!(store.put(ended(&ann), NOW), admissions.join_all());
                back(&store).await;

                let failed = answers.iter().filter(|answer| answer.is_err()).count() + usize::from(end.is_err());
                assert!(failed > 0);
                assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(StoreError::Unavailable(_)))));
                let acknowledged = answers.iter().flatten().copied().collect::<Vec<_>>();
                assert!(acknowledged.iter().all(|id| store.index.by_id(*id).is_some()));
                assert_eq!(store.live_count(), 1 + acknowledged.len() + usize::from(end.is_err()));
                assert_eq!(live_in_memory(&store), live_on_disk(&place));
                for n in 0..30 {
                    store.admit(session_of(&format!("{n}"), 10)).await.unwrap();
                }
                assert_eq!(live_in_memory(&store), live_on_disk(&place));
            },
        );
    }

    #[test]
    fn nobody_is_told_of_a_session_that_did_not_become_durable() {
        with_failpoint(
            "failed_commit::nobody_is_told_of_a_session_that_did_not_become_durable",
            "before-commit=error",
            || async {
                let place = Place::new();
                let store = Arc::new(place.open());
                let mut admissions = JoinSet::new();
                for _ in 0..50 {
                    let store = Arc::clone(&store);
                    admissions.spawn(async move { store.admit(session_of("ann", 10)).await });
                }
                let answers = admissions.join_all().await;
                back(&store).await;

                assert!(answers.iter().any(Result::is_err));
                let told: std::collections::BTreeSet<_> =
                    answers.iter().flatten().map(|answer| record_of(answer).id).collect();
                assert!(told.len() <= 1);
                assert!(told.iter().all(|id| live_on_disk(&place).contains(&id.to_string())));
            },
        );
    }

    #[test]
    fn a_session_that_was_written_all_the_same_keeps_its_data() {
        with_failpoint(
            "failed_commit::a_session_that_was_written_all_the_same_keeps_its_data",
            "after-commit=error",
            || async {
                let place = Place::new();
                let store = place.open();
                let new = session_of("ann", 100_000);
                let id = new.record.id;

                let answer = store.admit(new).await;
                back(&store).await;

                assert!(matches!(answer, Err(StoreError::Unavailable(_))));
                assert_eq!(live_in_memory(&store), [id.to_string()]);
                let Some(SessionData::File(path)) = store.data(id).await.unwrap() else { panic!("no file") };
                assert_eq!(std::fs::read(path).unwrap().len(), 100_000);
                let again = store.admit(session_of("ann", 10)).await.unwrap();
                assert!(matches!(again, Admission::AlreadyLive(record) if record.id == id));
            },
        );
    }

    #[test]
    fn a_session_whose_end_was_written_all_the_same_loses_its_data() {
        with_failpoint(
            "failed_commit::a_session_whose_end_was_written_all_the_same_loses_its_data",
            "after-commit=error@2",
            || async {
                let place = Place::new();
                let store = place.open();
                let record = admitted(&store, session_of("ann", 100_000)).await;

                let answer = store.put(ended(&record), NOW).await;
                back(&store).await;
                // Whatever the writer still does for the failed commit, it does before the next one.
                store.admit(session_of("bob", 10)).await.unwrap();

                assert!(matches!(answer, Err(StoreError::Unavailable(_))));
                assert!(store.live(&record.customer).await.unwrap().is_none());
                assert_eq!(store.session(record.id).await.unwrap().unwrap().record, ended(&record));
                drop(store);
                assert_eq!(data_files(&place), [""; 0]);
            },
        );
    }

    #[test]
    fn data_whose_replacement_was_not_written_stays() {
        with_failpoint("failed_commit::data_whose_replacement_was_not_written_stays", "before-commit=error@2", || {
            data_whose_replacement_fails_is(100_000)
        });
    }

    #[test]
    fn data_that_was_written_all_the_same_has_replaced_what_was_there() {
        with_failpoint(
            "failed_commit::data_that_was_written_all_the_same_has_replaced_what_was_there",
            "after-commit=error@2",
            || data_whose_replacement_fails_is(2),
        );
    }

    async fn data_whose_replacement_fails_is(bytes: usize) {
        let place = Place::new();
        let store = place.open();
        let record = admitted(&store, session_of("ann", 100_000)).await;
        let mut incoming = store.receive_data(record.id).await.unwrap();
        incoming.write(b"{}").unwrap();

        let answer = incoming.place().await;
        back(&store).await;
        // Whatever the writer still does for the failed commit, it does before the next one.
        admitted(&store, session_of("bob", 10)).await;

        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
        let Some(SessionData::File(path)) = store.data(record.id).await.unwrap() else { panic!("no file") };
        assert_eq!(std::fs::read(&path).unwrap().len(), bytes);
        drop(store);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(data_files(&place), [name], "the other one is removed");
    }

    #[test]
    fn data_that_could_not_be_placed_leaves_no_file_and_a_free_customer() {
        with_failpoint(
            "failed_commit::data_that_could_not_be_placed_leaves_no_file_and_a_free_customer",
            "before-data-file=error",
            || async {
                let place = Place::new();
                let store = place.open();

                let answer = store.admit(session_of("ann", 100_000)).await;

                assert!(matches!(answer, Err(StoreError::Unavailable(_))));
                assert_eq!(std::fs::read_dir(place.directory.paths().session_data()).unwrap().count(), 0);
                admitted(&store, session_of("ann", 100_000)).await;
            },
        );
    }
}

const WALL: WallTime = WallTime::from_unix_millis(1_700_000_000_000);
const NOW: Timestamp = Timestamp::from_micros(1);
/// What a child returns that could not mount its disk.
const MAY_NOT_MOUNT: i32 = 77;

/// A data directory of a test's own.
struct Place {
    directory: DataDir,
    root: Option<tempfile::TempDir>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { directory: DataDir::open(root.path()).unwrap(), root: Some(root) }
    }

    fn open(&self) -> SqliteStore {
        debug_assert!(self.root.as_ref().is_none_or(|root| root.path().exists()));
        SqliteStore::open(self.directory.paths()).unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `body` in a process in which the failpoint is armed.
#[cfg(feature = "failpoints")]
fn with_failpoint<F: Future<Output = ()>>(test: &str, failpoint: &str, body: impl FnOnce() -> F) {
    if std::env::var_os("FRONTDESK_FAILPOINT").is_some() {
        runtime().block_on(body());
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("{}::{test}", module_path!().split_once("::").unwrap().1)]);
    passes(child.env("FRONTDESK_FAILPOINT", failpoint));
}

/// Waits for the child, and fails with what it printed.
fn passes(child: &mut Command) {
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let skipped = output.status.code() == Some(MAY_NOT_MOUNT);
    assert!(skipped || (output.status.success() && text.contains("1 passed")), "{text}");
}

/// Completes when the store takes changes again.
async fn back(store: &SqliteStore) {
    while store.ready().is_err() || store.room().is_err() {
        tokio::task::yield_now().await;
    }
}

fn session_of(customer: &str, bytes: usize) -> NewSession {
    NewSession {
        record: SessionRecord {
            id: SessionId::new(WALL, crate::random::bytes()),
            customer: CustomerKey::new(customer),
            email: None,
            persona: "default".into(),
            created: WALL,
            revision: Revision::FIRST,
            phase: Phase::admitted(Timestamp::from_micros(0) + Duration::from_secs(300)),
        },
        data: SessionData::Inline(Bytes::from(vec![b'x'; bytes])),
        token: TokenHash([7; 32]),
        origin: None,
        key: None,
        account: None,
    }
}

async fn admitted(store: &SqliteStore, new: NewSession) -> SessionRecord {
    match store.admit(new).await.unwrap() {
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

fn live_in_memory(store: &SqliteStore) -> Vec<String> {
    let all = store.index.wanted(|_| true);
    let mut recounted = Census::default();
    all.iter().for_each(|stored| recounted.add(&stored.record.phase));
    assert_eq!(store.census(), recounted);
    let mut ids: Vec<_> = all.iter().map(|stored| stored.record.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

fn live_on_disk(place: &Place) -> Vec<String> {
    let connection = file::open_reader(&place.directory.paths().database()).unwrap();
    let mut statement = connection.prepare("SELECT id FROM sessions").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    let mut ids: Vec<_> = ids.map(|id| SessionId::from_bytes(id.unwrap()).to_string()).collect();
    ids.sort_unstable();
    ids
}

fn data_files(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.directory.paths().session_data()).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap()).replace(".json", "")).collect();
    names.sort_unstable();
    names
}
