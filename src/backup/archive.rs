//! The file of a backup: a tar archive whose last member tells of all others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::agent::kept_logs::KeptLog;
use crate::clock::WallTime;

use super::{BackupError, DATA, DEMO_PASSWORD, EVENTS, LOGS, MANIFEST, Manifest, Member, Report, STORE, at};

use crate::store::sqlite::inspect;

/// An archive that is being written.
pub(super) struct Writer<'a> {
    builder: Builder<File>,
    taken: WallTime,
    report: Report<'a>,
    done: u64,
    whole: u64,
    members: Vec<Member>,
}

impl<'a> Writer<'a> {
    /// Makes the file, for members of so many bytes together.
    pub(super) fn make(path: &Path, taken: WallTime, whole: u64, report: Report<'a>) -> Result<Self, BackupError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))?;
        Ok(Self { builder: Builder::new(file), taken, report, done: 0, whole, members: Vec::new() })
    }

    /// Adds a file under this name.
    pub(super) fn add(&mut self, name: String, path: &Path) -> Result<(), BackupError> {
        let file = File::open(path).map_err(at(path))?;
        let bytes = file.metadata().map_err(at(path))?.len();
        let mut header = header(bytes, self.taken);
        let mut hashing = Hashing { inner: file.take(bytes), hasher: blake3::Hasher::new() };
        self.builder.append_data(&mut header, &name, &mut hashing).map_err(at(path))?;
        let blake3 = hashing.hasher.finalize().to_hex().to_string();
        self.members.push(Member { name, bytes, blake3 });
        self.done += bytes;
        (self.report)("writing", self.done, self.whole);
        Ok(())
    }

    /// Adds the manifest, made of the members that were added, and makes all of it durable.
    pub(super) fn finish(
        mut self,
        path: &Path,
        tell: impl FnOnce(Vec<Member>) -> Manifest,
    ) -> Result<Manifest, BackupError> {
        let manifest = tell(std::mem::take(&mut self.members));
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| at(path)(error.into()))?;
        let mut header = header(text.len() as u64, self.taken);
        self.builder
            .append_data(&mut header, MANIFEST, text.as_slice())
            .and_then(|()| self.builder.into_inner()?.sync_all())
            .map_err(at(path))?;
        Ok(manifest)
    }
}

fn header(bytes: u64, taken: WallTime) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(taken.unix_millis() / 1_000).unwrap_or(0));
    header
}

/// Unpacks an archive into a directory, and holds what came out of it against its manifest.
pub(super) fn unpack(path: &Path, directory: &Path, report: Report<'_>) -> Result<Manifest, BackupError> {
    const MOST_MANIFEST_BYTES: u64 = 256 << 20;
    let damaged = |why: String| BackupError::Damaged { path: path.to_owned(), why };
    let file = File::open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            BackupError::Missing(path.to_owned())
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            BackupError::NotAllowed(path.to_owned())
        } else {
            at(path)(error)
        }
    })?;
    let whole = file.metadata().map_err(at(path))?.len();
    let broken = |error: io::Error| damaged(error.to_string());
    let mut archive = tar::Archive::new(file);
    let (mut found, mut manifest): (Vec<Member>, Option<Manifest>) = (Vec::new(), None);
    for entry in archive.entries().map_err(broken)? {
        let is_first = found.is_empty() && manifest.is_none();
        let mut entry = entry.map_err(|error| {
            // What the system says is a failure to read; all else is what the archive's reader makes of foreign bytes.
            if is_first && error.raw_os_error().is_none() {
                damaged("it is no tar file".to_owned())
            } else {
                broken(error)
            }
        })?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if manifest.is_some() {
            return Err(damaged(format!("{name} comes after the manifest")));
        }
        if name == MANIFEST {
            let mut text = Vec::new();
            entry.by_ref().take(MOST_MANIFEST_BYTES).read_to_end(&mut text).map_err(broken)?;
            manifest = Some(serde_json::from_slice(&text).map_err(|error| damaged(format!("its manifest: {error}")))?);
            continue;
        }
        if entry.header().entry_type() != EntryType::Regular || !is_member(&name) {
            return Err(damaged(format!("{} is no part of one", crate::id::Printable(&name))));
        }
        if found.iter().any(|member| member.name == name) {
            return Err(damaged(format!("{name} is in it twice")));
        }
        let target = directory.join(&name);
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(at(&target))?;
        let mut hashing = Hashing { inner: &mut entry, hasher: blake3::Hasher::new() };
        let bytes = match io::copy(&mut hashing, &mut out) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(at(&target)(error)),
            Err(error) => return Err(broken(error)),
        };
        let blake3 = hashing.hasher.finalize().to_hex().to_string();
        out.sync_all().map_err(at(&target))?;
        found.push(Member { name, bytes, blake3 });
        report("unpacking", entry.raw_file_position() + bytes, whole);
    }
    let manifest = manifest.ok_or_else(|| damaged("it ends before its manifest".to_owned()))?;
    compare(&manifest, &found).map_err(damaged)?;
    Ok(manifest)
}

/// Whether a data directory has a file of this name.
fn is_member(name: &str) -> bool {
    let data_file = |name: &str| inspect::data_file(Path::new(name)).is_some_and(|(_, is_finished)| is_finished);
    match name.split_once('/') {
        None => [STORE, EVENTS, DEMO_PASSWORD].contains(&name),
        Some((DATA, name)) => !name.contains('/') && data_file(name),
        Some((LOGS, name)) => !name.contains('/') && KeptLog::of(name.into()).is_some_and(|log| log.is_finished),
        Some(_) => false,
    }
}

/// Says what was found that the manifest does not tell of, or the other way round.
fn compare(manifest: &Manifest, found: &[Member]) -> Result<(), String> {
    for told in &manifest.members {
        match found.iter().find(|member| member.name == told.name) {
            None => return Err(format!("{} is missing", told.name)),
            Some(member) if member != told => {
                return Err(format!("{} is not what was put into it (its hash differs)", told.name));
            }
            Some(_) => {}
        }
    }
    match found.iter().find(|member| manifest.members.iter().all(|told| told.name != member.name)) {
        Some(stranger) => Err(format!("its manifest does not tell of {}", stranger.name)),
        None if found.iter().all(|member| member.name != STORE) => Err(format!("{STORE} is missing")),
        None => Ok(()),
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// How many bytes the files have together.
pub(super) fn total<'a>(paths: impl Iterator<Item = &'a Path>) -> u64 {
    paths.filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}
