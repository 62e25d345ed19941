//! Measures the agent's own directory, in a thread that takes what processor time nobody else wants.
//!
//! An agent decides how many files there are, how deep they lie and which modes they have. So a walk has no recursion and
//! at most [`DEEPEST`] descriptors, follows no symbolic link, leaves other file systems out, and rests after each walk
//! for a multiple of the time that it took. What the walk says is what the files' blocks take, each of several names of
//! a file counting for its part. Files without a name, which a process has open, are not found.
//!
//! It only measures: [`super::watch`] says whether that is too much.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::clock::boot_time;
use crate::removal;

/// Directories below each other. A tree that is deeper counts as too large.
pub(super) const DEEPEST: usize = 128;

/// The least time between two walks.
const SHORTEST_REST: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A walk may take a fiftieth of a processor.
const REST_FOR_WORK: u32 = 50;

/// The size of a directory, as it was found last.
#[derive(Debug)]
pub(super) struct Measure(Arc<AtomicU64>);

/// No walk has ended yet.
const UNKNOWN: u64 = u64::MAX;
/// The tree is deeper than a walk goes.
const TOO_DEEP: u64 = u64::MAX - 1;

/// What a walk has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes of the disk.
    Bytes(u64),
    /// More than [`DEEPEST`] directories below each other.
    TooDeep,
}

impl Found {
    /// The bytes, if they are known.
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::TooDeep => None,
        }
    }
}

impl Measure {
    /// Measures the directory again and again, until this value goes.
    pub(super) fn begin(directory: PathBuf) -> Self {
        let found = Arc::new(AtomicU64::new(UNKNOWN));
        let kept = Arc::downgrade(&found);
        let thread = std::thread::Builder::new().name("measure".into()).stack_size(256 << 10);
        // Without a thread nothing is found, and the agent is not ended for what nobody knows.
        let _ = thread.spawn(move || run(&directory, &kept));
        Self(found)
    }

    /// What the last walk has found, once one has ended.
    pub(super) fn found(&self) -> Option<Found> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            TOO_DEEP => Some(Found::TooDeep),
            bytes => Some(Found::Bytes(bytes)),
        }
    }
}

fn run(directory: &Path, kept: &Weak<AtomicU64>) {
    // Of this thread alone.
    let _ = rustix::process::setpriority_process(None, 19);
    while let Some(kept) = kept.upgrade() {
        let began = boot_time();
        match walk(directory) {
            Ok(Found::Bytes(bytes)) => kept.store(bytes, Ordering::Relaxed),
            Ok(Found::TooDeep) => kept.store(TOO_DEEP, Ordering::Relaxed),
            // It is made by the agent's own exec stage, and may not be there yet.
            Err(_) => {}
        }
        drop(kept);
        let took = boot_time().saturating_since(began);
        std::thread::sleep((took * REST_FOR_WORK).clamp(SHORTEST_REST, LONGEST_REST));
    }
}

/// Measures the directory once.
///
/// # Errors
/// That it can't be opened at all. What can't be read below it is left out.
pub(super) fn walk(directory: &Path) -> Result<Found, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let device = rustix::fs::fstat(&root)?.st_dev;
    let mut bytes = 0_u64;
    let mut open = vec![Dir::new(root)?];
    while let Some(current) = open.last_mut() {
        let Some(Ok(entry)) = current.read() else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(parent) = current.fd() else { continue };
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if stat.st_dev != device {
            continue;
        }
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // A directory has more names by those that are in it.
        let names = if is_directory { 1 } else { wide(stat.st_nlink).max(1) };
        bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) / names);
        if !is_directory {
            continue;
        }
        let Ok(below) = open_below(parent.as_fd(), name) else { continue };
        if open.len() >= DEEPEST {
            return Ok(Found::TooDeep);
        }
        open.extend(Dir::new(below));
    }
    Ok(Found::Bytes(bytes.min(TOO_DEEP - 1)))
}

/// A number whose width differs from one kind of processor to another.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

fn open_below(parent: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // Its mode does not hide it: it belongs to this user, who may change that.
        Err(Errno::ACCESS) => removal::open(parent, name),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn bytes(directory: &Path) -> u64 {
        match walk(directory).unwrap() {
            Found::Bytes(bytes) => bytes,
            Found::TooDeep => panic!("it is not deep"),
        }
    }

    #[test]
    fn every_file_counts_with_its_blocks_and_once_however_many_names_it_has() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        let before = bytes(place.path());

        fs::write(place.path().join("a/b/file"), vec![1; 1 << 20]).unwrap();
        let with_file = bytes(place.path());
        fs::hard_link(place.path().join("a/b/file"), place.path().join("again")).unwrap();

        assert!((1 << 20..2 << 20).contains(&(with_file - before)), "{before} and {with_file}");
        assert!(bytes(place.path()).abs_diff(with_file) < 64 << 10);
    }

    #[test]
    fn neither_a_symbolic_link_nor_a_hole_counts() {
        let place = tempfile::tempdir().unwrap();
        let (outside, inside) = (place.path().join("outside"), place.path().join("inside"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(&inside).unwrap();
        fs::write(outside.join("file"), vec![1; 1 << 20]).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink(outside.join("file"), inside.join("other")).unwrap();
        fs::File::create(inside.join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!(bytes(&inside) < 256 << 10);
    }

    #[test]
    fn a_tree_of_any_depth_is_measured_or_said_to_be_too_deep_on_a_small_stack() {
        let place = tempfile::tempdir().unwrap();
        let mut deep = place.path().to_owned();
        for _ in 1..DEEPEST {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        assert!(matches!(walk(place.path()), Ok(Found::Bytes(_))));
        fs::create_dir_all(deep.join("d/d")).unwrap();
        assert_eq!(walk(place.path()), Ok(Found::TooDeep));
    }

    #[test]
    fn a_measure_ends_with_its_value() {
        let place = tempfile::tempdir().unwrap();
        let measure = Measure::begin(place.path().to_owned());
        while measure.found().is_none() {
            std::thread::yield_now();
        }
        let kept = Arc::downgrade(&measure.0);
        drop(measure);
        assert!(kept.upgrade().is_none());
    }
}
