//! Backups of directories that no server has; those of running servers are in the tests of the binary.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use crate::data_dir::{DataDir, DataPaths};
use crate::store::sqlite::{SqliteStore, desk_id};

use super::*;

fn ignore(_: &str, _: u64, _: u64) {}

/// A data directory with a store, and a place for what is made of it.
fn desk() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("desk");
    let held = DataDir::open(&directory).unwrap();
    drop(SqliteStore::open(held.paths()).unwrap());
    (root, directory)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_one_private_file_and_nothing_else_is_left() {
    let (root, directory) = desk();
    let before = names(&directory);
    let target = root.path().join("a.tar");
    let manifest = take(&directory, &target, &ignore).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(root.path()), ["a.tar", "desk"]);
    assert_eq!(names(&directory), before);
    // To ask for the id leaves files beside the store.
    assert_eq!((manifest.format, manifest.live, manifest.desk), (FORMAT, 0, desk_id(&directory).unwrap()));
    assert!(matches!(take(&directory, &target, &ignore), Err(BackupError::Exists(_))));
}

#[test]
fn a_restored_desk_is_sound_and_has_an_id_of_its_own_and_the_same_key() {
    let (root, directory) = desk();
    let target = root.path().join("a.tar");
    take(&directory, &target, &ignore).unwrap();
    let elsewhere = root.path().join("b/c");

    let restored = restore(&target, &elsewhere, &ignore).unwrap();

    assert_eq!(restored.findings, []);
    assert_ne!(desk_id(&elsewhere).unwrap(), desk_id(&directory).unwrap());
    let key = |directory: &Path| -> Vec<u8> {
        let store = Connection::open(DataPaths::new(directory).database()).unwrap();
        store.query_row("SELECT value FROM meta WHERE name = 'token_key'", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(key(&elsewhere), key(&directory));
    assert_eq!(names(&elsewhere), ["data", "frontdesk.db", "logs"]);
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_there_is_never_restored_over() {
    let (root, directory) = desk();
    let target = root.path().join("a.tar");
    take(&directory, &target, &ignore).unwrap();
    assert!(matches!(restore(&target, &directory, &ignore), Err(BackupError::NotEmpty(_))));
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore(&target, &empty, &ignore).unwrap();
}

#[test]
fn a_backup_that_was_cut_or_changed_is_refused_in_words_and_leaves_nothing() {
    let (root, directory) = desk();
    let target = root.path().join("a.tar");
    take(&directory, &target, &ignore).unwrap();
    let whole = fs::read(&target).unwrap();
    let elsewhere = root.path().join("elsewhere");
    let refusal = |bytes: &[u8]| {
        fs::write(&target, bytes).unwrap();
        let refused = restore(&target, &elsewhere, &ignore).unwrap_err().to_string();
        assert!(refused.contains("is no whole backup") && refused.contains("nothing was restored"), "{refused}");
        assert!(!elsewhere.exists());
        refused
    };
    refusal(b"");
    for foreign in [&b"listen = '127.0.0.1:5500'\n"[..], &[b'x'; 4_096]] {
        assert!(refusal(foreign).contains("is no whole backup: it is no tar file; "));
    }
    refusal(&whole[..whole.len() / 2]);
    let mut changed = whole.clone();
    changed[5_000] ^= 1;
    assert!(refusal(&changed).contains("its hash differs"));
    let manifest = whole.windows(8).position(|window| window == b"\"blake3\"").unwrap();
    let mut changed = whole;
    changed[manifest + 12] ^= 1;
    refusal(&changed);
}

#[test]
fn a_path_that_leads_out_of_the_directory_is_no_part_of_a_backup() {
    let root = tempfile::tempdir().unwrap();
    for name in ["data/../evil", "agents/x", "frontdesk.lock", "data/018bcfe5-6800-7000-8000-000000000000.part"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, io::empty()).unwrap();
        let path = root.path().join("evil.tar");
        fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let refused = restore(&path, &root.path().join("desk"), &ignore).unwrap_err().to_string();
        assert!(refused.contains("is no part of one"), "{name}: {refused}");
    }
}

#[test]
fn a_directory_that_holds_no_store_is_none_to_back_up() {
    let root = tempfile::tempdir().unwrap();
    let refused = take(root.path(), &root.path().join("a.tar"), &ignore);
    assert!(matches!(refused, Err(BackupError::NoDataDirectory(_))));
    assert_eq!(names(root.path()), Vec::<String>::new());
}

#[test]
fn links_that_a_killed_backup_left_are_cleared_and_those_of_one_under_way_are_not() {
    let (_root, directory) = desk();
    let paths = DataPaths::new(&directory);
    fs::create_dir(directory.join("backup-0000000a")).unwrap();
    let _under_way = moment::Moment::take(&paths).unwrap();
    clear_links(&paths);
    let links: Vec<_> = names(&directory).into_iter().filter(|name| name.starts_with("backup-")).collect();
    assert_eq!(links.len(), 1);
    assert_ne!(links[0], "backup-0000000a");
}
