//! What is left of a user whose session has ended: processes, shared memory, temporary files.
//!
//! Looked at are the places where every user of a machine may leave something that outlives its processes: `/dev/shm`,
//! POSIX queues, System V IPC, `/tmp` and `/var/tmp`. A directory elsewhere that everybody may write to is not.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Uid;

use crate::clock::boot_time;
use crate::removal;
use crate::shim::process_table;

/// How long what was killed may take to be gone.
const TO_DIE: Duration = Duration::from_secs(10);
const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);
const SHARED_DIRECTORIES: [&str; 4] = ["/dev/shm", "/dev/mqueue", "/tmp", "/var/tmp"];
/// The kinds of System V IPC: the file that lists them, its column with the id, and the option of ipcrm(1).
const SYSTEM_V: [(&str, &str, &str); 3] = [("shm", "shmid", "-m"), ("msg", "msqid", "-q"), ("sem", "semid", "-s")];

/// Whether a process of this machine runs as the user.
pub(super) fn is_in_use(uid: u32) -> bool {
    // One call looks at all processes at once, so that none escapes by forking.
    !matches!(rustix::process::getpriority_user(Uid::from_raw(uid)), Err(Errno::SRCH))
}

/// Ends every process of the user, also those that leave their parents and clear their environment. Blocks.
///
/// # Errors
/// That some can't be ended, in words.
pub(super) fn end_processes(uid: u32) -> Result<(), String> {
    let until = boot_time() + TO_DIE;
    let mut was_empty = false;
    while is_in_use(uid) {
        let found = kill(uid);
        // What has ended and is not reaped by its parent is still counted as the user's.
        if found == 0 && was_empty {
            return Ok(());
        }
        was_empty = found == 0;
        if boot_time() > until {
            return Err(format!("{found} processes of user {uid} can't be killed; look at them by hand"));
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
    Ok(())
}

/// Ends and removes whatever the user has left. Blocks.
///
/// # Errors
/// What is left and why, in words.
pub(super) fn clear(uid: u32) -> Result<(), String> {
    end_processes(uid)?;
    for directory in SHARED_DIRECTORIES {
        clear_directory(Path::new(directory), uid)?;
    }
    for (kind, column, option) in SYSTEM_V {
        clear_system_v(kind, column, option, uid)?;
    }
    Ok(())
}

/// Kills the processes of the user that there are, and returns how many.
fn kill(uid: u32) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| kill_if_of(*pid, uid).is_some()).count()
}

fn kill_if_of(pid: u32, uid: u32) -> Option<()> {
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    process_table::kill_if(pid, || is_live_and_of(&status(), uid))
}

/// Whether a process with this `/proc/PID/status` runs, and as the user.
fn is_live_and_of(status: &str, uid: u32) -> bool {
    let value = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim_start);
    let has_ended = value("State:").is_none_or(|state| state.starts_with(['Z', 'X']));
    let mut users = value("Uid:").unwrap_or_default().split_ascii_whitespace();
    !has_ended && users.any(|user| user.parse() == Ok(uid))
}

fn clear_directory(directory: &Path, uid: u32) -> Result<(), String> {
    let failed = |error| format!("what user {uid} left in {} can't be removed: {error}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if fs::symlink_metadata(entry.path()).is_ok_and(|metadata| metadata.uid() == uid) {
            removal::remove(&entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Agents with a user of their own have an IPC namespace of their own, where the kernel lets the shim make one. This is
/// for where it does not.
fn clear_system_v(kind: &str, column: &str, option: &str, uid: u32) -> Result<(), String> {
    let left = || system_v(&fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default(), column, uid);
    for id in left() {
        let mut command = Command::new("ipcrm");
        // Whether it worked shows below.
        let _ = command.args([option, &id]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    match left().first() {
        None => Ok(()),
        Some(id) => Err(format!("System V IPC of user {uid} is left; remove it with `ipcrm {option} {id}`")),
    }
}

/// The ids in a list of `/proc/sysvipc` that belong to the user.
fn system_v(list: &str, id: &str, uid: u32) -> Vec<String> {
    let mut lines = list.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let Some(names) = lines.next() else { return Vec::new() };
    let of = |name: &str| names.iter().position(|found| *found == name);
    let (Some(id), Some(owner), Some(creator)) = (of(id), of("uid"), of("cuid")) else { return Vec::new() };
    let is_of = |row: &Vec<&str>, column: usize| row.get(column).and_then(|field| field.parse().ok()) == Some(uid);
    let rows = lines.filter(|row| is_of(row, owner) || is_of(row, creator));
    rows.filter_map(|row| row.get(id).map(ToString::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_users_by_any_of_its_numbers_as_long_as_it_runs() {
        let status = |state: &str| format!("Name:\tUid: 7\nState:\t{state}\nUid:\t1\t1\t70\t1\nGid:\t7\t7\t7\t7\n");
        assert!(is_live_and_of(&status("S (sleeping)"), 70));
        assert!(!is_live_and_of(&status("S (sleeping)"), 7));
        assert!(!is_live_and_of(&status("Z (zombie)"), 70));
        assert!(!is_live_and_of("", 0));
    }

    #[test]
    fn system_v_memory_is_found_by_its_owner_and_by_its_maker() {
        let list = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
            \x20        0          3  1600                  4096  3172  3172      2    70    70    70    70\n\
            \x20        0          4  1600                  4096  3172  3172      2     1     1    70    70\n\
            \x20        0         70  1600                  4096  3172  3172      2     1     1     1     1\n";
        assert_eq!(system_v(list, "shmid", 70), ["3", "4"]);
        assert_eq!(system_v("", "shmid", 70), Vec::<String>::new());
    }

    #[test]
    fn a_user_that_nobody_is_has_no_process_and_root_has() {
        assert!(!is_in_use(3_123_456_789));
        assert!(is_in_use(0));
        assert_eq!(end_processes(3_123_456_789), Ok(()));
    }
}
