//! What the store does on a disk that is full.
//!
//! These need the right to mount a small file system, which they do in a namespace of their own; without it there is
//! nothing to test.

use super::*;

const SMALL_DISK: &str = "FRONTDESK_TEST_SMALL_DISK";

#[test]
fn it_refuses_in_words_keeps_what_was_acknowledged_and_goes_on_when_there_is_space() {
    on_a_small_disk("it_refuses_in_words_keeps_what_was_acknowledged_and_goes_on_when_there_is_space", async |root| {
        let (place, store, acknowledged, refused) = filled(root).await;

        assert!(refused.contains("the disk is full; free some space"), "{refused}");
        let mut acknowledged: Vec<_> = acknowledged.iter().map(|record| record.id.to_string()).collect();
        acknowledged.sort_unstable();
        assert_eq!(live_in_memory(&store), acknowledged);
        let refused = store.admit(session_of("large", 1 << 20)).await;
        assert!(matches!(refused, Err(StoreError::Full)));
        assert_eq!(std::fs::read_dir(place.directory.paths().session_data()).unwrap().count(), 0);

        std::fs::remove_file(root.join("filler")).unwrap();
        back(&store).await;
        acknowledged.push(admitted(&store, session_of("last", 60_000)).await.id.to_string());
        drop(store);
        acknowledged.sort_unstable();
        assert_eq!(live_in_memory(&place.open()), acknowledged);
    });
}

#[test]
fn a_store_can_be_closed_and_opened_while_it_waits_for_space() {
    on_a_small_disk("a_store_can_be_closed_and_opened_while_it_waits_for_space", async |root| {
        let (place, store, acknowledged, _) = filled(root).await;
        drop(store);

        let store = place.open();

        assert_eq!(store.live_count(), acknowledged.len());
        assert!(matches!(store.admit(session_of("new", 10)).await, Err(StoreError::Full)));
        for record in &acknowledged {
            store.put(ended(record), NOW).await.unwrap();
        }
        assert_eq!(live_on_disk(&place), [""; 0]);
        std::fs::remove_file(root.join("filler")).unwrap();
        back(&store).await;
        admitted(&store, session_of("new", 10)).await;
    });
}

#[test]
fn what_ends_is_stored_and_what_is_new_is_refused_until_there_is_room() {
    on_a_small_disk("what_ends_is_stored_and_what_is_new_is_refused_until_there_is_room", async |root| {
        let (place, store, acknowledged, _) = filled(root).await;
        let [first, others @ ..] = acknowledged.as_slice() else { panic!("nothing was acknowledged") };
        let customer = Customer {
            key: CustomerKey::new("ann"),
            email: "ann".into(),
            password_hash: String::new(),
            created: WALL,
            disabled: None,
        };

        assert!(store.ready().is_ok() && store.room().is_err());
        assert!(matches!(store.add_customer(customer).await, Err(StoreError::Full)));
        assert!(matches!(store.receive_data(first.id).await.map(drop), Err(StoreError::Full)));
        store.add_token(first.id, TokenHash([9; 32])).await.unwrap();
        store.retire_tokens(first.id, None).await.unwrap();
        store.put(ended(first), NOW).await.unwrap();
        assert!(store.live(&first.customer).await.unwrap().is_none());
        let again = session_of(first.customer.as_str(), 10);
        assert!(matches!(store.admit(again.clone()).await, Err(StoreError::Full)), "its end left room for a new one");
        let live = store.admit(session_of(others[0].customer.as_str(), 10)).await.unwrap();
        assert!(matches!(live, Admission::AlreadyLive(_)));

        std::fs::remove_file(root.join("filler")).unwrap();
        back(&store).await;
        admitted(&store, again).await;
        assert!(place.directory.paths().ballast().metadata().unwrap().len() > 0);
    });
}

#[test]
fn the_ends_of_two_thousand_sessions_are_stored_on_a_disk_without_a_free_block() {
    const SESSIONS: usize = 2_000;
    on_a_disk_of("128m", "the_ends_of_two_thousand_sessions_are_stored_on_a_disk_without_a_free_block", async |root| {
        let place = Place { directory: DataDir::open(&root.join("desk")).unwrap(), root: None };
        let store = place.open();
        let mut records = Vec::new();
        for number in 0..SESSIONS {
            records.push(admitted(&store, session_of(&format!("{number}"), 10)).await);
        }
        take_all(&root.join("filler"));
        while store.admit(session_of(&crate::random::bytes::<8>().escape_ascii().to_string(), 30_000)).await.is_ok() {}

        for record in &records {
            store.put(ended(record), NOW).await.unwrap();
        }

        assert!(store.room().is_err());
        let live = store.index.wanted(|_| true);
        assert!(records.iter().all(|record| !live.iter().any(|live| live.record.id == record.id)));
    });
}

/// A store whose disk has just become full, which sessions it acknowledged, and what it said in the end.
async fn filled(root: &Path) -> (Place, SqliteStore, Vec<SessionRecord>, String) {
    let place = Place { directory: DataDir::open(&root.join("desk")).unwrap(), root: None };
    let store = place.open();
    let mut acknowledged = vec![admitted(&store, session_of("first", 60_000)).await];
    fill_up(&root.join("filler"));
    loop {
        match store.admit(session_of(&format!("{}", acknowledged.len()), 60_000)).await {
            Ok(answer) => acknowledged.push(record_of(&answer).clone()),
            Err(error) => return (place, store, acknowledged, error.to_string()),
        }
    }
}

/// Takes every block that is free.
fn take_all(path: &Path) -> std::fs::File {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    file
}

fn fill_up(path: &Path) {
    let file = take_all(path);
    let full = file.metadata().unwrap().len();
    // Room for a few commits, so that the disk fills up in the middle of one.
    file.set_len(full.saturating_sub(400_000)).unwrap();
}

/// Runs `body` in a process that has a disk with a ballast of 2 MiB, if this user may mount one.
fn on_a_small_disk(test: &str, body: impl AsyncFnOnce(&Path)) {
    on_a_disk_of("32m", test, body);
}

fn on_a_disk_of(size: &str, test: &str, body: impl AsyncFnOnce(&Path)) {
    if let Some(root) = std::env::var_os(SMALL_DISK) {
        runtime().block_on(body(Path::new(&root)));
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mounts =
        format!("mount -t tmpfs -o size={size} tmpfs \"$1\" || exit {MAY_NOT_MOUNT}; exec \"$2\" --exact \"$3\"");
    let mut child = Command::new("unshare");
    child.args(["-m", "sh", "-c", &mounts, "sh"]).arg(root.path()).arg(std::env::current_exe().unwrap());
    child.arg(format!("{}::{test}", module_path!().split_once("::").unwrap().1));
    let may_unshare = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|probe| probe.status.success());
    if may_unshare {
        passes(child.env(SMALL_DISK, root.path()));
    }
}
