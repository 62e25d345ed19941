//! Control groups, version 2: the kernel keeps an agent's limits by itself, where the server was given a part of the tree
//! of groups to rule over.
//!
//! Such a part is the directory of the server's own group, or the one above if its own is called `server`. A group with
//! processes in it can't hand the keeping of memory on to groups below it (it says EBUSY), so that the server must sit in
//! a group of its own beside those of its agents. Under systemd that is:
//!
//! ```ini
//! [Service]
//! Delegate=memory pids
//! DelegateSubgroup=server
//! ```
//!
//! Where memory and processes are kept by version 1, by somebody else, or not at all, [`Parent::find`] says why it is
//! of no use, and the tree is watched by [`super::watch`] alone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::boot_time;
use crate::id::SessionId;

use super::order::Limits;

/// Where `/proc` tells of the calling process.
pub const OWN: &str = "/proc/self";
/// The name of a server's own group if its agents' groups stand beside it.
const SERVER: &str = "server";
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The kernel counts each thread as a process: a limit of processes becomes one of so many times as many threads, which
/// only ends what multiplies faster than it is counted.
const THREADS_A_PROCESS: u64 = 64;
/// How long what was killed may take to be gone.
const TO_END: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// A directory in which there may be a group for each agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    directory: PathBuf,
}

/// The group of one agent with everything that it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    directory: PathBuf,
}

impl Parent {
    /// Finds the directory for agents' groups and makes it ready. `own` is [`OWN`] but in tests.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn find(own: &Path) -> Result<Self, String> {
        let directory = group_of_process(own)?;
        let is_beside = directory.file_name().is_some_and(|name| name == SERVER);
        let directory = directory.parent().filter(|_| is_beside).map(Path::to_owned).unwrap_or(directory);
        hand_on(&directory).map_err(|why| format!("not usable: {why}"))?;
        Ok(Self { directory })
    }

    /// Makes the group of a session's agent, with its limits. What an earlier agent has left there is ended.
    ///
    /// # Errors
    /// What the file system said.
    pub fn group(&self, session: SessionId, limits: &Limits) -> io::Result<Group> {
        let group = self.group_of(session);
        match fs::create_dir(&group.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                group.end()?;
                fs::create_dir(&group.directory)?;
            }
            created => created?,
        }
        group.limit(limits).inspect_err(|_| {
            let _ = group.remove();
        })?;
        Ok(group)
    }

    fn group_of(&self, session: SessionId) -> Group {
        Group { directory: self.directory.join(format!("frontdesk-{session}")) }
    }
}

/// Ends what the agent of a session has left in its group, whose shim was killed. Does nothing where there are no groups.
///
/// # Errors
/// What the file system said: EBUSY if a process can't be killed.
pub fn end_left(session: SessionId) -> io::Result<()> {
    match Parent::find(Path::new(OWN)).map(|parent| parent.group_of(session)) {
        Ok(group) if group.exists() => group.end(),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Group {
    /// The group with this directory.
    #[cfg(test)]
    pub(super) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Puts the calling process into the group, and so everything that it becomes and starts.
    ///
    /// # Errors
    /// What the file system said.
    pub fn enter(&self) -> io::Result<()> {
        // Zero stands for whoever writes it.
        self.write("cgroup.procs", "0")
    }

    /// Bytes of memory that the group takes, files in memory included.
    pub fn memory(&self) -> Option<u64> {
        self.read("memory.current")?.trim().parse().ok()
    }

    /// CPU time since the beginning.
    pub fn time(&self) -> Option<Duration> {
        value_of(&self.read("cpu.stat")?, "usage_usec").map(Duration::from_micros)
    }

    /// Whether the kernel has killed the group because it was over its memory.
    pub fn ran_out_of_memory(&self) -> bool {
        self.read("memory.events").and_then(|text| value_of(&text, "oom_kill")).is_some_and(|times| times > 0)
    }

    /// Kills everything in the group at once, also what is being forked.
    ///
    /// # Errors
    /// What the file system said; before Linux 5.14 that it can't be done.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Removes the group, with those that the agent has made in it, once nothing runs there.
    ///
    /// # Errors
    /// What the file system said: EBUSY as long as a process is left.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.directory)
    }

    /// Whether there is such a group.
    pub fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// Kills everything in the group and removes it.
    fn end(&self) -> io::Result<()> {
        let until = boot_time() + TO_END;
        loop {
            match self.remove() {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && boot_time() < until => {
                    // Before Linux 5.14 there is no such kill; what is not killed keeps the group busy.
                    let _ = self.kill();
                    std::thread::sleep(BETWEEN_TRIES);
                }
                removed => return removed,
            }
        }
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        if let Some(bytes) = limits.memory {
            self.write("memory.max", &bytes.to_string())?;
            self.write("memory.oom.group", "1")?;
            // What is swapped out is taken, too. Without swap there is nothing to write to.
            let _ = self.write("memory.swap.max", "0");
        }
        if let Some(processes) = limits.processes {
            self.write("pids.max", &(u64::from(processes) * THREADS_A_PROCESS).to_string())?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.directory.join(name), text)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }
}

/// The directory of a process's own group, given the process's place in `/proc`.
///
/// # Errors
/// Why there is none, in words.
pub(crate) fn group_of_process(process: &Path) -> Result<PathBuf, String> {
    let read = |name: &str| {
        let path = process.join(name);
        fs::read_to_string(&path).map_err(|error| format!("not usable: {} can't be read: {error}", path.display()))
    };
    let path = own_group(&read("cgroup")?).ok_or("not usable: this process is in no group of version 2")?;
    mounted(&path, &read("mountinfo")?).ok_or_else(|| "not usable: groups of version 2 are not mounted".to_owned())
}

/// Has the groups below a directory keep memory and processes.
fn hand_on(directory: &Path) -> Result<(), String> {
    let read = |name| fs::read_to_string(directory.join(name)).map_err(|error| failed(directory, name, &error));
    let (there, on) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    for controller in CONTROLLERS {
        let is_in = |text: &str| text.split_ascii_whitespace().any(|word| word == controller);
        if !is_in(&there) {
            return Err(format!("{} has no controller `{controller}`", directory.display()));
        }
        if !is_in(&on) {
            let name = "cgroup.subtree_control";
            let switched = fs::write(directory.join(name), format!("+{controller}"));
            switched.map_err(|error| failed(directory, name, &error))?;
        }
    }
    // Whether groups may be made shows only when one is.
    let probe = directory.join(format!("frontdesk-probe-{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).map_err(|error| failed(directory, "", &error))
}

fn failed(directory: &Path, name: &str, error: &io::Error) -> String {
    format!("{}: {error}", directory.join(name).display())
}

fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// The path of a process's group out of `/proc/PID/cgroup`, where version 2 is the hierarchy without a number.
fn own_group(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from)
}

/// Where a group's directory is, out of `/proc/PID/mountinfo`: fields, ` - `, and the kind of file system.
fn mounted(group: &Path, text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        kind.starts_with("cgroup2 ").then_some(())?;
        let below = group.strip_prefix(root).ok()?;
        // Joining nothing would end the path in a slash.
        Some(if below.as_os_str().is_empty() { point } else { point.join(below) })
    })
}

/// A path of `mountinfo`, where blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.extend(code);
        bytes.extend_from_slice(part.get(3..).unwrap_or_default().as_bytes());
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The number in the line `NAME NUMBER`.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests;
