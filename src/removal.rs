//! Removes directory trees that an agent may have written.
//!
//! An agent decides how deep and how wide its directory is, which modes its parts have and where its symbolic links
//! lead. So a removal uses no recursion, a handful of descriptors and no path below the tree's root: a directory that
//! is not empty moves up to the root of its tree, and its turn comes there. Symbolic links are unlinked, never followed.
//!
//! ```text
//! discard(PATH) ──> rename to .removed/NAME-RANDOM ──> thread: removes it, and at a start what is left from before
//! ```
//!
//! This module decides nothing: its callers know that nobody needs a tree any more.

use std::ffi::{CStr, CString, OsStr};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Where trees wait for their removal, below the directory that they were in.
const ASIDE: &str = ".removed";

/// Removes a file, a symbolic link or a whole directory. Blocks.
///
/// # Errors
/// What the file system said first. Everything that could be removed is gone then.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(remove_in(parent.as_fd(), &CString::new(name.as_bytes())?)?)
}

fn remove_in(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match remove_simple(parent, name) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        settled => return settled,
    }
    let root = open(parent, name)?;
    let emptied = Tree { root: root.as_fd(), moved: 0, failure: None }.empty();
    drop(root);
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(emptied.unwrap_or(Errno::NOTEMPTY)),
        removed => removed,
    }
}

/// Removes what is no directory, or an empty one.
fn remove_simple(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        settled => settled,
    }
}

/// Opens a directory for reading and changing, whatever its mode says, if it is one and no symbolic link.
pub(crate) fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    allow(&handle);
    rustix::fs::openat(&handle, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Lets this user read and change a directory. Where that fails, whatever needs it says so.
fn allow(directory: &OwnedFd) {
    let is_open = |mode: Mode| mode.contains(Mode::RWXU);
    if rustix::fs::fstat(directory).is_ok_and(|stat| is_open(Mode::from_raw_mode(stat.st_mode))) {
        return;
    }
    // A handle of this kind takes no fchmod(2), and its name in /proc leads to nothing else.
    let _ = rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", directory.as_raw_fd()), Mode::RWXU, AtFlags::empty());
}

/// A tree that is being emptied.
struct Tree<'a> {
    root: BorrowedFd<'a>,
    /// How many directories have moved up to the root.
    moved: u64,
    /// What the file system said first.
    failure: Option<Errno>,
}

impl Tree<'_> {
    /// Removes everything below the root, and returns what was in the way.
    fn empty(mut self) -> Option<Errno> {
        while self.pass(self.root, Self::remove_below_root) {}
        self.failure
    }

    /// Applies `remove` to each entry of a directory; true if there were any and some of them went.
    fn pass(
        &mut self,
        directory: BorrowedFd<'_>,
        remove: fn(&mut Self, BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
    ) -> bool {
        let mut went = false;
        let mut entries = match Dir::read_from(directory) {
            Ok(entries) => entries,
            Err(errno) => {
                self.failure.get_or_insert(errno);
                return false;
            }
        };
        while let Some(Ok(entry)) = entries.read() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match remove(self, directory, name) {
                Ok(()) => went = true,
                // A file system may list what has just moved or gone.
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    self.failure.get_or_insert(errno);
                }
            }
        }
        went
    }

    fn remove_below_root(&mut self, root: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        match remove_simple(root, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            settled => return settled,
        }
        let directory = open(root, name)?;
        let before = self.moved;
        while self.pass(directory.as_fd(), Self::remove_or_move) {}
        drop(directory);
        match rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR) {
            // What moved up is progress, also if something else has to stay.
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.moved > before => Ok(()),
            removed => removed,
        }
    }

    fn remove_or_move(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        match remove_simple(directory, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.move_up(directory, name),
            settled => settled,
        }
    }

    /// A directory can only move if it can itself be changed: it names its parent.
    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let mut may_be_closed = true;
        loop {
            // Not in the order of their making, so that an agent can't take the names beforehand.
            let chance = u64::from_ne_bytes(crate::random::bytes());
            match rustix::fs::renameat(directory, name, self.root, format!(".{chance:016x}")) {
                Ok(()) => {
                    self.moved += 1;
                    return Ok(());
                }
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(Errno::ACCESS) if may_be_closed => {
                    may_be_closed = false;
                    drop(open(directory, name)?);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Removes trees in a thread of its own, so that nobody waits for a file system that has much to let go of.
#[derive(Debug)]
pub(crate) struct Removals {
    aside: PathBuf,
    queue: Mutex<Sender<CString>>,
}

impl Removals {
    /// For trees in `directory`, on the same file system. Begins with what an earlier server left there.
    pub(crate) fn new(directory: &Path) -> Self {
        let aside = directory.join(ASIDE);
        let (queue, trees) = channel();
        let place = aside.clone();
        let thread = std::thread::Builder::new().name("tree-removal".into()).spawn(move || run(&place, &trees));
        if let Err(error) = thread {
            // The queue is closed then, and trees are removed where they are.
            tracing::warn!(error = %error, "no thread for removals");
        }
        Self { aside, queue: Mutex::new(queue) }
    }

    /// Has a tree gone from its place when this returns; it is removed afterwards, or by the next start. Blocks.
    ///
    /// # Errors
    /// What the file system said; the tree, or some of it, is still there.
    pub(crate) fn discard(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        let name = format!("{name}-{:016x}", u64::from_ne_bytes(crate::random::bytes()));
        match self.move_aside(path, &name) {
            Ok(()) => self.enqueue(CString::new(name)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(error) => {
                tracing::debug!(error = %error, "tree not moved aside");
                return remove(path);
            }
        }
        Ok(())
    }

    fn move_aside(&self, path: &Path, name: &str) -> io::Result<()> {
        let to = self.aside.join(name);
        match std::fs::rename(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.aside.exists() => {
                make(&self.aside)?;
                std::fs::rename(path, &to)
            }
            renamed => renamed,
        }
    }

    /// Without a thread the tree waits for the next start.
    fn enqueue(&self, name: CString) {
        let _ = self.queue.lock().send(name);
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn run(aside: &Path, trees: &Receiver<CString>) {
    for name in left(aside).unwrap_or_default() {
        remove_aside(aside, &name);
    }
    for name in trees {
        remove_aside(aside, &name);
    }
}

fn left(aside: &Path) -> Result<Vec<CString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let names = Dir::new(rustix::fs::open(aside, flags, Mode::empty())?)?.flatten();
    let names = names.map(|entry| entry.file_name().to_owned());
    Ok(names.filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..").collect())
}

fn remove_aside(aside: &Path, name: &CStr) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let removed = rustix::fs::open(aside, flags, Mode::empty()).and_then(|aside| remove_in(aside.as_fd(), name));
    if let Err(errno) = removed
        && errno != Errno::NOENT
    {
        let tree = aside.join(OsStr::from_bytes(name.to_bytes()));
        let error = io::Error::from(errno);
        tracing::warn!(directory = %tree.display(), error = %error,
            "directory of an ended agent not removed; remove it by hand, or the next start tries again");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes nested directories, deeper than any path can name, each with a file beside the next one.
    fn nest(root: &Path, depth: u32) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = rustix::fs::open(root, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&directory, c"d", Mode::RWXU).unwrap();
            let file = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(&directory, c"f", file, Mode::RUSR).unwrap());
            directory = rustix::fs::openat(&directory, c"d", flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_tree_deeper_than_any_stack_is_removed_on_a_small_one() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        nest(&tree, 5_000);
        let removing = std::thread::Builder::new().stack_size(64 << 10).spawn({
            let tree = tree.clone();
            move || remove(&tree)
        });
        removing.unwrap().join().unwrap().unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn symbolic_links_are_removed_and_what_they_lead_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let (outside, tree) = (place.path().join("outside"), place.path().join("tree"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        for link in [tree.join("link"), tree.join("a/link"), tree.join("a/b/link")] {
            symlink(&outside, link).unwrap();
        }
        remove(&tree).unwrap();
        symlink(&outside, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").exists());
    }

    #[test]
    fn modes_that_forbid_reading_and_writing_do_not_keep_a_tree() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c/d")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        for directory in ["a/b/c/d", "a/b/c", "a/b", "a", ""] {
            fs::set_permissions(tree.join(directory), Permissions::from_mode(0o000)).unwrap();
        }
        as_somebody_who_obeys_modes(|| remove(&tree).unwrap());
        assert!(!tree.exists());
    }

    #[test]
    fn what_can_be_removed_goes_and_the_rest_is_told() {
        let place = tempfile::tempdir().unwrap();
        let missing = remove(&place.path().join("nothing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::write(place.path().join("file"), "x").unwrap();
        remove(&place.path().join("file")).unwrap();
        assert!(!place.path().join("file").exists());
    }

    #[test]
    fn a_discarded_tree_is_out_of_its_place_at_once_and_a_new_one_may_take_it() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        let removals = Removals::new(place.path());
        for _ in 0..3 {
            fs::create_dir(&tree).unwrap();
            nest(&tree, 10);
            removals.discard(&tree).unwrap();
            assert!(!tree.exists());
        }
        assert_eq!(removals.discard(&tree).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_an_earlier_server_left_is_removed_after_the_start() {
        let place = tempfile::tempdir().unwrap();
        let left = place.path().join(ASIDE).join("left");
        fs::create_dir_all(&left).unwrap();
        nest(&left, 10);
        let (queue, trees) = channel();
        drop(queue);
        run(&place.path().join(ASIDE), &trees);
        assert_eq!(fs::read_dir(place.path().join(ASIDE)).unwrap().count(), 0);
    }

    /// Root obeys no modes: then a thread gives up its capabilities for this, and only it.
    fn as_somebody_who_obeys_modes(work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let none = rustix::thread::CapabilitySets {
                    effective: rustix::thread::CapabilitySet::empty(),
                    permitted: rustix::thread::CapabilitySet::empty(),
                    inheritable: rustix::thread::CapabilitySet::empty(),
                };
                rustix::thread::set_capabilities(None, none).unwrap();
                work();
            });
            worker.join().unwrap();
        });
    }
}
