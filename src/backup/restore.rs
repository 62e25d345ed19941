//! Puts a backup back, as a desk of its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::data_dir;
use crate::failpoint::Failpoint;
use crate::store::sqlite;
use crate::verify::{self, Finding};

use super::{BackupError, DATA, FORMAT, LOGS, Manifest, Report, STORE, Workshop, archive, at, parent};

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// What was wrong with the desk when it was backed up, and still is.
    pub findings: Vec<Finding>,
}

/// Makes a data directory out of a backup. There must be none yet, or an empty one. Blocks.
///
/// # Errors
/// A [`BackupError`]; the directory is as it was then.
pub fn restore(file: &Path, directory: &Path, report: Report<'_>) -> Result<Restored, BackupError> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(BackupError::NotEmpty(directory.to_owned())),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(BackupError::NotAllowed(directory.to_owned()));
        }
        Err(error) => return Err(at(directory)(error)),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(parent(directory)).map_err(at(directory))?;
    let workshop = Workshop::beside(directory)?;
    let desk = workshop.path.join("desk");
    for made in [&desk, &desk.join(DATA), &desk.join(LOGS)] {
        DirBuilder::new().mode(0o700).create(made).map_err(at(made))?;
    }
    let manifest = archive::unpack(file, &desk, report)?;
    if manifest.format != FORMAT {
        let why = format!("its form is version {} and this frontdesk knows version {FORMAT}", manifest.format);
        return Err(BackupError::Damaged { path: file.to_owned(), why });
    }
    // Tokens, which are good by another key, stay good.
    sqlite::renew_desk(&desk.join(STORE))?;
    let verified = verify::verify(&desk);
    let verified = verified.map_err(|error| BackupError::Damaged { path: file.to_owned(), why: error.to_string() })?;
    let findings = verified.findings;
    for made in [&desk.join(DATA), &desk.join(LOGS), &desk] {
        data_dir::sync_directory(made).map_err(at(made))?;
    }
    Failpoint::RestoreBeforePlace.hit();
    // In the place of an empty directory as well.
    fs::rename(&desk, directory).map_err(at(directory))?;
    data_dir::sync_directory(parent(directory)).map_err(at(directory))?;
    Ok(Restored { manifest, findings })
}
