//! Whether the data directory is this user's alone: another user who owns a part of it, or a symbolic link in it, could
//! make the server read, write or delete what it should not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{DataDirError, DataPaths};

/// Checks the directory and everything in it that the server opens by name.
///
/// # Errors
/// What is not this user's, or is a symbolic link.
pub(super) fn check(paths: &DataPaths, own: u32) -> Result<(), DataDirError> {
    parts(paths).iter().try_for_each(|part| check_part(part, own))
}

fn parts(paths: &DataPaths) -> Vec<PathBuf> {
    // The directory comes first: whoever owns it decides about all the others.
    let mut parts = vec![paths.root().to_owned(), paths.session_data(), paths.agents(), paths.logs(), paths.uids()];
    parts.extend([paths.ballast(), paths.lock(), paths.control(), paths.demo_password()]);
    parts.extend(paths.database_files());
    parts.extend(paths.events_files());
    parts
}

fn check_part(path: &Path, own: u32) -> Result<(), DataDirError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DataDirError::refused(path, source)),
    };
    if metadata.is_symlink() {
        return Err(DataDirError::Link(path.to_owned()));
    }
    let owner = metadata.uid();
    if owner == own { Ok(()) } else { Err(DataDirError::Foreign { path: path.to_owned(), owner, own }) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::DataDir;
    use super::*;

    #[test]
    fn a_symbolic_link_in_the_place_of_any_part_is_refused_and_not_followed() {
        let names = parts(&DataPaths::new(Path::new("")));
        for name in names.iter().filter(|name| !name.as_os_str().is_empty()) {
            let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let target = outside.path().join("target");
            symlink(&target, root.path().join(name)).unwrap();
            let refused = DataDir::open(root.path()).unwrap_err().to_string();
            assert!(refused.contains("is a symbolic link; put the file or directory itself there"), "{refused}");
            assert!(!target.exists(), "{}", name.display());
        }
    }

    #[test]
    fn a_directory_that_is_a_symbolic_link_itself_may_lie_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("disk")).unwrap();
        symlink("disk", place.path().join("desk")).unwrap();
        DataDir::open(&place.path().join("desk")).unwrap();
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(root.path());
        let own = fs::metadata(root.path()).unwrap().uid();
        check(&paths, own).unwrap();
        let refused = check(&paths, own + 1).unwrap_err().to_string();
        let sentence = format!("belongs to user {own}, and this is user {}; run this command as that user", own + 1);
        assert!(refused.contains(&sentence), "{refused}");
    }

    #[test]
    fn a_file_of_another_user_in_the_directory_is_refused_where_this_user_may_make_one() {
        let root = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(root.path());
        fs::write(paths.database(), "").unwrap();
        if std::os::unix::fs::chown(paths.database(), Some(4_711), None).is_ok() {
            let refused = DataDir::open(root.path()).unwrap_err().to_string();
            assert!(refused.contains("frontdesk.db belongs to user 4711"), "{refused}");
        }
    }
}
