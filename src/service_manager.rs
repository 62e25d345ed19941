//! What a service manager is told of the server: `sd_notify(3)` as datagrams on the socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable nothing is told. A manager that does not listen is no reason to do anything differently.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::shutdown::Tasks;

/// Where a service manager listens, if one does. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that has started this process.
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path)).map(Arc::new);
        let watchdog = watchdog(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        Self { socket, watchdog }
    }

    /// The server serves.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The server reads its configuration again; [`Self::ready`] ends that.
    pub fn reloading(&self) {
        // The manager tells one reload from the next by the clock that stands still while the machine sleeps.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"));
    }

    /// The server is about to stop.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is under way");
    }

    /// What the server does at the moment.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// Tells every few seconds how the server is, and if the manager watches, that it is there.
    pub fn keep_told(&self, tasks: &Tasks, status: impl Fn() -> String + Send + 'static) {
        const BETWEEN: Duration = Duration::from_secs(10);
        if self.socket.is_none() {
            return;
        }
        let (manager, draining) = (self.clone(), tasks.clone());
        let between = self.watchdog.map_or(BETWEEN, |watchdog| (watchdog / 2).min(BETWEEN));
        tasks.spawn(async move {
            let mut told = String::new();
            loop {
                tokio::select! {
                    () = draining.draining() => return,
                    () = tokio::time::sleep(between) => {}
                }
                manager.tell("WATCHDOG=1");
                let now = status();
                if now != told {
                    manager.status(&now);
                    told = now;
                }
            }
        });
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A manager that is gone is told nothing.
            let _ = socket.0.send_to_addr(text.as_bytes(), &socket.1);
        }
    }
}

fn connect(path: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.as_bytes() {
        // A name without a file.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok()?,
        [b'/', ..] => SocketAddr::from_pathname(path).ok()?,
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A manager that does not read holds up nobody.
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

/// How long the manager waits for a word, if it waits for this process's.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    is_ours.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (tempfile::TempDir, UnixDatagram, ServiceManager) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager { socket: connect(path.as_os_str()).map(Arc::new), watchdog: None };
        (directory, socket, manager)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut text = [0; 512];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_hears_of_the_start_of_reloads_and_of_the_stop() {
        let (_directory, socket, manager) = listening();
        manager.ready("serving");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
        manager.reloading();
        assert!(heard(&socket).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        manager.stopping();
        assert!(heard(&socket).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn without_a_manager_nobody_is_told_and_one_that_is_gone_is_no_error() {
        ServiceManager::default().ready("serving");
        let (_directory, socket, manager) = listening();
        drop(socket);
        manager.ready("serving");
        assert!(connect(OsStr::new("relative")).is_none());
        assert!(connect(OsStr::new("@frontdesk-test")).is_some());
    }

    #[test]
    fn the_watchdog_is_ours_only_if_it_names_this_process_or_none() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), None);
        assert_eq!([watchdog(Some("0"), None, 7), watchdog(None, None, 7)], [None, None]);
    }
}
