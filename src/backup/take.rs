//! Takes a backup.

use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags};

use crate::clock::{Clock, SystemClock};
use crate::data_dir::{self, DataDir, DataDirError, DataPaths};
use crate::failpoint::Failpoint;
use crate::store::StoreError;
use crate::store::sqlite::file::{self, unavailable};
use crate::store::sqlite::{self, inspect};

use super::archive::{self, Writer};
use super::moment::Moment;
use super::{
    BackupError, DATA, DEMO_PASSWORD, EVENTS, FORMAT, LOGS, Manifest, Member, Report, STORE, Workshop, at, parent,
};

/// Takes a backup of a data directory, of a running server or without one, into a new file. Blocks.
///
/// # Errors
/// A [`BackupError`]; there is no file then.
pub fn take(directory: &Path, target: &Path, report: Report<'_>) -> Result<Manifest, BackupError> {
    match DataPaths::new(directory).database().try_exists() {
        Ok(true) => {}
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(BackupError::NotAllowed(directory.to_owned()));
        }
        Ok(false) | Err(_) => return Err(BackupError::NoDataDirectory(directory.to_owned())),
    }
    if target.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    // Without a server, none may start meanwhile: files that nobody has open are read as files that do not change.
    let _held = match DataDir::open(directory) {
        Ok(held) => Some(held),
        Err(DataDirError::InUse { .. }) => None,
        Err(DataDirError::NotAllowed(_)) => return Err(BackupError::NotAllowed(directory.to_owned())),
        Err(DataDirError::Io { source, .. }) => return Err(at(directory)(source)),
        Err(error) => return Err(BackupError::Untrusted(error)),
    };
    let workshop = Workshop::beside(target)?;
    let paths = DataPaths::new(directory);
    let mut moment = Moment::take(&paths)?;
    let taken = SystemClock::resume(None).wall();
    moment.copy(&workshop.path, report)?;
    Failpoint::BackupCopied.hit();
    let unfinished = workshop.path.join("archive.tar");
    let (store, events) = (workshop.path.join(STORE), workshop.path.join(EVENTS));
    let data = moment.data_files().map(|(name, path)| (format!("{DATA}/{name}"), path));
    let files: Vec<_> = data.chain(moment.logs().map(|(name, path)| (format!("{LOGS}/{name}"), path))).collect();
    let whole =
        archive::total([&store, &events].into_iter().chain(files.iter().map(|(_, path)| path)).map(|path| &**path));
    let mut writer = Writer::make(&unfinished, taken, whole, report)?;
    writer.add(STORE.to_owned(), &store)?;
    let demo = paths.demo_password();
    for (name, path) in [(EVENTS, &events), (DEMO_PASSWORD, &demo)] {
        if path.exists() {
            writer.add(name.to_owned(), path)?;
        }
    }
    for (name, path) in files {
        writer.add(name, &path)?;
    }
    let facts = Facts::read(&store, &events)?;
    let manifest = writer.finish(&unfinished, |members| facts.manifest(taken.to_string(), members))?;
    Failpoint::BackupBeforePlace.hit();
    rustix::fs::renameat_with(CWD, &unfinished, CWD, target, RenameFlags::NOREPLACE).map_err(|errno| match errno {
        rustix::io::Errno::EXIST => BackupError::Exists(target.to_owned()),
        errno => at(target)(errno.into()),
    })?;
    data_dir::sync_directory(parent(target)).map_err(at(target))?;
    Ok(manifest)
}

/// What the copies say of themselves.
struct Facts {
    schema: i64,
    events_schema: Option<i64>,
    desk: String,
    counts: [u64; 3],
}

impl Facts {
    fn read(store: &Path, events: &Path) -> Result<Self, StoreError> {
        let connection = inspect::open(store)?;
        let events = events.exists().then(|| inspect::open(events)).transpose()?;
        Ok(Self {
            schema: file::version(&connection)?,
            events_schema: events.as_ref().map(file::version).transpose()?,
            desk: sqlite::desk_of(&connection)?,
            counts: [count(&connection, "sessions")?, count(&connection, "history")?, count(&connection, "customers")?],
        })
    }

    fn manifest(self, taken: String, members: Vec<Member>) -> Manifest {
        let Self { schema, events_schema, desk, counts: [live, ended, customers] } = self;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Manifest { format: FORMAT, version, schema, events_schema, desk, taken, live, ended, customers, members }
    }
}

fn count(connection: &Connection, table: &str) -> Result<u64, StoreError> {
    let query = format!("SELECT count(*) FROM {table}");
    let number: i64 = connection.query_row(&query, [], |row| row.get(0)).map_err(unavailable)?;
    Ok(u64::try_from(number).unwrap_or(0))
}
