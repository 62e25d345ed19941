//! The exec stage: what a forked child of the shim does on its way to becoming the agent. It sets what a program can't
//! be trusted to set for itself, all by calls that are safe: it is an ordinary process with one thread.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use super::cgroup::Group;
use super::order::{Order, User};
use super::place::Place;
use super::{limits, user};

/// What the shim hands to the stage.
pub(super) struct Stage<'a> {
    /// What to start.
    pub(super) order: &'a Order,
    /// Where.
    pub(super) place: &'a Place,
    /// Its control group.
    pub(super) group: Option<&'a Group>,
    /// The shim.
    pub(super) parent: Pid,
    /// The mask of new files' modes that the server has.
    pub(super) umask: Mode,
    /// The agent's stdin; nothing for `/dev/null`, which the shim has there.
    pub(super) stdin: Option<OwnedFd>,
    /// The agent's stdout; nothing if it is its stderr.
    pub(super) stdout: Option<OwnedFd>,
    /// The agent's stderr.
    pub(super) stderr: OwnedFd,
}

impl Stage<'_> {
    /// Becomes the agent. It returns only if that failed, and says why: one sentence without its end.
    pub(super) fn run(self) -> String {
        match self.prepare() {
            Ok(()) => {
                let error = command(self.order).exec();
                let name = self.order.arguments.first().or(self.order.program.as_ref());
                let name = name.map_or_else(Default::default, |name| name.to_string_lossy());
                format!("its command {name:?} could not be started: {error}")
            }
            Err(why) => why,
        }
    }

    fn prepare(&self) -> Result<(), String> {
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        self.enter_group();
        rustix::process::setpgid(None, None).map_err(|errno| failed("it gets no process group", errno.into()))?;
        self.set_streams().map_err(|error| failed("its streams can't be set", error))?;
        limits::apply(self.order)?;
        rustix::process::umask(self.umask);
        self.enter_directory()?;
        if let Some(user) = &self.order.user {
            if user.is_own {
                leave_shared_memory();
            }
            user::assume(user)?;
        }
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| failed("it can't be kept from new privileges", errno.into()))?;
        self.die_with_parent().map_err(|error| failed("its shim is gone", error))
    }

    /// First of all, so that nothing that it takes goes uncounted.
    fn enter_group(&self) {
        if let Some(group) = self.group
            && group.enter().is_err()
        {
            // By this the shim knows that it has to watch alone.
            let _ = group.remove();
        }
    }

    fn set_streams(&self) -> io::Result<()> {
        if let Some(stdin) = &self.stdin {
            rustix::stdio::dup2_stdin(stdin)?;
        }
        rustix::stdio::dup2_stdout(self.stdout.as_ref().unwrap_or(&self.stderr))?;
        Ok(rustix::stdio::dup2_stderr(&self.stderr)?)
    }

    fn enter_directory(&self) -> Result<(), String> {
        if let Some(directory) = &self.order.working_directory {
            return std::env::set_current_dir(directory).map_err(|error| {
                let name = directory.display();
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                    return format!("its working_directory {name} is no directory");
                }
                format!("its working_directory {name} can't be entered: {error}")
            });
        }
        let work = self.place.work();
        make(&work, self.order.user.as_ref())
            .and_then(|()| std::env::set_current_dir(&work))
            .map_err(|error| format!("its directory {} can't be made: {error}", work.display()))
    }

    /// To be set last: a change of the user clears it.
    fn die_with_parent(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() == Some(self.parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

/// Gives the agent System V IPC and POSIX queues of its own, which go with its last process. A kernel or a container that
/// does not allow it leaves them shared; the server then removes what the user has left.
#[expect(deprecated, reason = "unsafe is what takes memory or descriptors from other threads, and this has one thread")]
fn leave_shared_memory() {
    let _ = rustix::thread::unshare(UnshareFlags::NEWIPC);
}

fn make(work: &Path, owner: Option<&User>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(work) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    if let Some(owner) = owner {
        std::os::unix::fs::chown(work, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

fn command(order: &Order) -> Command {
    // A binary replaced on disk must still start agents of the version that runs.
    let mut command = Command::new(order.program.as_deref().unwrap_or("/proc/self/exe".as_ref()));
    if let Some(name) = order.arguments.first() {
        command.arg0(name);
    }
    command.args(order.arguments.iter().skip(1)).env_clear().envs(&order.environment);
    command
}
