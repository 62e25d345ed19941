//! The child process of an agent: how it is started, signalled and waited for.
//!
//! It is spawned by `posix_spawn` in a process group of its own: the server never forks. It has no parent-death
//! signal, which would fire when the spawning thread ends: its stdin closes when the server dies, and what does not
//! end by that is ended at the server's next start.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::config::{Persona, Protocol};
use crate::descriptors;
use crate::session::Reason;

use super::AgentSpec;
use super::leftovers::{DESK_VARIABLE, EPOCH_VARIABLE, SESSION_VARIABLE};

/// A child and its group.
#[derive(Debug)]
pub(super) struct AgentProcess {
    child: Child,
    group: Option<Pid>,
    end: Option<AsyncFd<OwnedFd>>,
    reaped: bool,
}

impl AgentProcess {
    /// Starts the agent's command.
    ///
    /// # Errors
    /// Why it could not be started.
    pub(super) fn spawn(spec: &AgentSpec, desk: &str) -> Result<Self, Reason> {
        let child = command(spec, desk).spawn().map_err(|error| why_not_spawned(&spec.persona, &error))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let end = pid.and_then(|pid| {
            descriptors::give_back(pid);
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
            watched(pidfd)
        });
        Ok(Self { child, group: pid, end, reaped: false })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn streams(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
    }

    /// Completes when the process has ended. It is not reaped by this: until it is, nobody else gets its pid, and a
    /// signal to its group reaches nobody else.
    pub(super) async fn ended(&mut self) {
        match &self.end {
            Some(end) if end.readable().await.is_ok() => {}
            // Out of descriptors, say.
            Some(_) | None => {
                let _ = self.status().await;
            }
        }
    }

    /// Signals the whole group, unless the process was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        if let (Some(group), false) = (self.group, self.reaped) {
            // The group is gone once its last process is: that is what the signal is for.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Waits for the end and fetches the status.
    pub(super) async fn status(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.reaped = true;
        status
    }
}

#[expect(deprecated, reason = "its successor is unsafe, and asks only for what an `OwnedFd` gives")]
fn watched(pidfd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE).ok()
}

fn command(spec: &AgentSpec, desk: &str) -> Command {
    let persona = &spec.persona;
    let mut command = program(persona);
    command.args(persona.command.iter().skip(1)).env_clear();
    for name in &persona.inherit_environment {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let speaks = persona.protocol == Protocol::JsonRpc;
    command
        .envs(&persona.environment)
        .env(DESK_VARIABLE, desk)
        .env(SESSION_VARIABLE, spec.session.to_string())
        .env(EPOCH_VARIABLE, spec.epoch.to_string())
        .process_group(0)
        .stdin(if speaks { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &persona.working_directory {
        command.current_dir(directory);
    }
    command
}

fn program(persona: &Persona) -> Command {
    let name = persona.command.first().map_or("", String::as_str);
    if persona.runs_this_binary() {
        // A binary replaced on disk must still start agents of the version that runs.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(name);
        return command;
    }
    let inherited = || persona.inherit_environment.iter().any(|name| name == "PATH").then(|| std::env::var_os("PATH"));
    let path = persona.environment.get("PATH").map(Into::into).or_else(|| inherited().flatten());
    // With another PATH than the server's, the standard library forks to search it.
    match path.and_then(|path| find(name, &path)) {
        Some(found) => {
            let mut command = Command::new(found);
            command.arg0(name);
            command
        }
        None => Command::new(name),
    }
}

/// The first executable file of this name in the directories of `path`.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        return None;
    }
    let is_executable = |file: &Path| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let directories = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn why_not_spawned(persona: &Persona, error: &io::Error) -> Reason {
    if let Some(directory) = persona.working_directory.as_deref().filter(|directory| !directory.is_dir()) {
        return Reason::new(format!("its working_directory {} is no directory", directory.display()));
    }
    let name = persona.command.first().map_or("", String::as_str);
    Reason::new(format!("its command {name:?} could not be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_first_directory_that_can_run_it() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        for (place, mode) in [(&first, 0o644), (&second, 0o755)] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("agent"), "").unwrap();
            std::fs::set_permissions(place.join("agent"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();

        assert_eq!(find("agent", &path), Some(second.join("agent")));
        assert_eq!(find("another", &path), None);
        assert_eq!(find("./agent", &path), None);
    }
}
