//! Whether the data directory can hold what the server is trusted with: there, private, its own, on a file system that
//! keeps its word, with room.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, StatVfs};
use rustix::io::Errno;

use crate::config::roughly_size;
use crate::data_dir::DataPaths;
use crate::store::sqlite::ballast;

use super::Finding;

const ABOUT: &str = "data directory";
/// The least that is worth no word.
const ROOM_BYTES: u64 = 1 << 30;
/// Below this, the next large upload may be refused.
const LITTLE_BYTES: u64 = 64 << 20;
const ROOM_FILES: u64 = 10_000;

pub(super) fn check(directory: &Path) -> Vec<Finding> {
    let shown = directory.display();
    let metadata = match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return vec![Finding::error(ABOUT, format!("{shown} is no directory"), "name another one with `data_dir`")];
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return missing(directory),
        Err(error) => {
            let cure = "let the server's user read it, or name another one with `data_dir`";
            return vec![Finding::error(ABOUT, format!("{shown} can't be read ({error})"), cure)];
        }
    };
    let owner = of_owner(directory, metadata.uid(), rustix::process::geteuid().as_raw());
    // Another user's directory can't be tried out.
    let tried = if owner.is_none() { try_out(directory) } else { None };
    let found = [of_mode(directory, metadata.permissions().mode()), owner, of_parts(directory, metadata.dev()), tried];
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    if let Ok(kind) = rustix::fs::statfs(directory) {
        found.extend(of_kind(directory, u64::try_from(kind.f_type).unwrap_or(0)));
    }
    let room = rustix::fs::statvfs(directory).ok();
    found.extend(room.iter().flat_map(|room| of_room(directory, room)));
    found.extend(of_ballast(directory));
    if found.is_empty() {
        let free = room.map(|room| format!(", with {} free", roughly_size(free_bytes(&room)))).unwrap_or_default();
        found.push(Finding::ok(ABOUT, format!("{shown} is private, on a local file system{free}")));
    }
    found
}

fn missing(directory: &Path) -> Vec<Finding> {
    let shown = directory.display();
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let parent = absolute.ancestors().find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
    let may = rustix::fs::accessat(CWD, parent, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    vec![match may {
        Ok(()) => Finding::note(ABOUT, format!("there is no {shown} yet"), "the first start makes it"),
        Err(_) => Finding::error(
            ABOUT,
            format!("there is no {shown}, and this user can't make it in {}", parent.display()),
            "make it and give it to the server's user, or name another one with `data_dir`",
        ),
    }]
}

fn of_mode(directory: &Path, mode: u32) -> Option<Finding> {
    let shown = directory.display();
    (mode & 0o077 != 0).then(|| {
        let sentence = format!("other users may look into {shown}, whose mode is {:04o}", mode & 0o7777);
        Finding::warning(ABOUT, sentence, format!("`chmod 700 {shown}`"))
    })
}

fn of_owner(directory: &Path, owner: u32, own: u32) -> Option<Finding> {
    let sentence = || format!("{} belongs to user {owner}, and this is user {own}", directory.display());
    match own {
        _ if own == owner => None,
        0 => Some(Finding::note(
            ABOUT,
            sentence(),
            format!("if the server does not run as root, ask again as its user, with `sudo -u '#{owner}'`"),
        )),
        _ => Some(Finding::error(
            ABOUT,
            sentence(),
            format!("run this and the server as that user, such as with `sudo -u '#{owner}'`"),
        )),
    }
}

/// Whether the directories in it are on its own file system.
fn of_parts(directory: &Path, device: u64) -> Option<Finding> {
    let paths = DataPaths::new(directory);
    let elsewhere = [paths.session_data(), paths.agents()]
        .into_iter()
        .find(|part| fs::metadata(part).is_ok_and(|metadata| metadata.dev() != device))?;
    let sentence = format!("{} is on another file system than the directory that it is in", elsewhere.display());
    Some(Finding::warning(ABOUT, sentence, "mount the whole data directory instead: its room and its backup are one"))
}

/// Makes a file without a name, which is gone when it is closed, and does with it what the server does with its own.
fn try_out(directory: &Path) -> Option<Finding> {
    let failed = |what, errno| refused(directory, what, errno);
    let file = match rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR) {
        Ok(file) => file,
        // Not every file system has files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return None,
        Err(errno) => return failed("takes no files", errno),
    };
    if let Err(errno) = rustix::io::write(&file, &[0; 8_192]).and_then(|_| rustix::fs::fsync(&file)) {
        return failed("takes no data", errno);
    }
    if let Err(errno) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return failed("knows no locks", errno);
    }
    match rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4_096) {
        Ok(()) => None,
        Err(_) => Some(Finding::warning(
            ABOUT,
            format!("the file system of {} can't give back parts of a file", directory.display()),
            "what agents have written takes space until they end: use ext4, XFS or Btrfs",
        )),
    }
}

/// What a directory refuses. That it is full is told with its room.
fn refused(directory: &Path, what: &str, errno: Errno) -> Option<Finding> {
    if matches!(errno, Errno::NOSPC | Errno::DQUOT) {
        return None;
    }
    let (shown, error) = (directory.display(), std::io::Error::from(errno));
    Some(Finding::error(ABOUT, format!("{shown} {what} ({error})"), "use a writable directory on a local disk"))
}

/// What the kind of file system is known for.
fn of_kind(directory: &Path, kind: u64) -> Option<Finding> {
    const NFS: u64 = 0x6969;
    const SMB: [u64; 3] = [0x517b, 0xfe53_4d42, 0xff53_4d42];
    const NINE_P: u64 = 0x0102_1997;
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    const OVERLAY: u64 = 0x794c_7630;
    let shown = directory.display();
    if kind == NFS || kind == NINE_P || SMB.contains(&kind) {
        let sentence = format!("{shown} is on a network file system, where SQLite's log is not safe");
        return Some(Finding::error(ABOUT, sentence, "move it to a local disk"));
    }
    if IN_MEMORY.contains(&kind) {
        let sentence = format!("{shown} is in memory, and gone when the machine is started anew");
        return Some(Finding::warning(ABOUT, sentence, "move it to a disk"));
    }
    (kind == OVERLAY).then(|| {
        let sentence = format!("{shown} is in a container's own layer, and goes with the container");
        Finding::note(ABOUT, sentence, "mount a volume there, unless this is no container that anybody relies on")
    })
}

fn free_bytes(room: &StatVfs) -> u64 {
    room.f_bavail.saturating_mul(room.f_frsize)
}

fn of_room(directory: &Path, room: &StatVfs) -> Vec<Finding> {
    let shown = directory.display();
    let free = free_bytes(room);
    let sentence = || format!("{shown} has {} left", roughly_size(free));
    let of_bytes = if free < LITTLE_BYTES {
        Some(Finding::error(ABOUT, sentence(), "free some space: until then the server takes nothing new"))
    } else if free < ROOM_BYTES {
        Some(Finding::warning(ABOUT, sentence(), "free some space, or shorten `history.keep` and `events.keep`"))
    } else {
        None
    };
    // A file system that makes them as they are needed counts none.
    let is_short = room.f_files > 0 && room.f_favail < ROOM_FILES;
    let of_files = is_short.then(|| {
        let sentence = format!("the file system of {shown} has room for {} more files", room.f_favail);
        let cure = "remove files there, or use a file system with more inodes";
        if room.f_favail == 0 { Finding::error(ABOUT, sentence, cure) } else { Finding::warning(ABOUT, sentence, cure) }
    });
    of_bytes.into_iter().chain(of_files).collect()
}

/// Whether the room is there that is kept back for the ends of sessions.
fn of_ballast(directory: &Path) -> Option<Finding> {
    let paths = DataPaths::new(directory);
    // A directory that no start has come to has none yet.
    let missing = if paths.database().exists() { ballast::missing_in(&paths) } else { 0 };
    (missing > 0).then(|| {
        let sentence = format!(
            "{} of the room are missing that {} keeps back for a full disk",
            roughly_size(missing),
            paths.ballast().display()
        );
        Finding::warning(ABOUT, sentence, "free at least 16 MiB; a server that runs, or the next one, takes it then")
    })
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    #[test]
    fn one_that_is_open_to_others_is_a_warning_with_the_command_that_helps() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let found = check(root.path());
        let mode = found.iter().find(|finding| finding.sentence.contains("0755")).unwrap();
        assert_eq!(mode.level, Level::Warning);
        assert_eq!(mode.cure, Some(format!("`chmod 700 {}`", root.path().display())));
    }

    #[test]
    fn one_that_is_to_come_is_worth_a_note_and_a_file_in_its_place_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(check(&root.path().join("a/b"))[0].level, Level::Note);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(check(file.path())[0].level, Level::Error);
    }

    #[test]
    fn another_user_s_is_an_error_but_for_root() {
        let directory = Path::new("/d");
        assert_eq!(of_owner(directory, 7, 7), None);
        assert_eq!(of_owner(directory, 7, 8).unwrap().level, Level::Error);
        assert!(of_owner(directory, 7, 0).unwrap().text().contains("sudo -u '#7'"));
    }

    #[test]
    fn file_systems_that_lose_what_they_were_given_are_told() {
        let level = |kind| of_kind(Path::new("/d"), kind).map(|finding| finding.level);
        assert_eq!(level(0xef53), None);
        assert_eq!(level(0x6969), Some(Level::Error));
        assert_eq!(level(0x0102_1994), Some(Level::Warning));
        assert_eq!(level(0x794c_7630), Some(Level::Note));
    }

    #[test]
    fn a_store_without_its_ballast_is_worth_a_warning() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(of_ballast(root.path()), None);
        let held = crate::data_dir::DataDir::open(root.path()).unwrap();
        drop(crate::store::sqlite::SqliteStore::open(held.paths()).unwrap());
        assert_eq!(of_ballast(root.path()), None);
        fs::remove_file(held.paths().ballast()).unwrap();
        assert_eq!(of_ballast(root.path()).unwrap().level, Level::Warning);
    }

    #[test]
    fn trying_a_directory_out_leaves_nothing_in_it() {
        let root = tempfile::tempdir().unwrap();
        let _ = try_out(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_that_is_full_is_told_by_its_room_alone() {
        let found = |errno| refused(Path::new("/d"), "takes no data", errno).map(|finding| finding.level);
        assert_eq!((found(Errno::NOSPC), found(Errno::DQUOT)), (None, None));
        assert_eq!(found(Errno::ROFS), Some(Level::Error));
    }

    #[test]
    fn little_room_is_told_before_and_when_nothing_is_taken_any_more() {
        let root = tempfile::tempdir().unwrap();
        let like = rustix::fs::statvfs(root.path()).unwrap();
        let levels = |bytes, files| {
            let room = StatVfs { f_bavail: bytes / like.f_frsize, f_files: 1, f_favail: files, ..like };
            of_room(root.path(), &room).iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(2 << 30, 20_000), []);
        assert_eq!(levels(500 << 20, 20_000), [Level::Warning]);
        assert_eq!(levels(1 << 20, 10), [Level::Error, Level::Warning]);
        assert_eq!(levels(2 << 30, 0), [Level::Error]);
    }
}
