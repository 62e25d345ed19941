//! The server's side of the launcher: starts it when it is first needed, and anew when it is gone.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::order::Order;

/// How the allocator of the launcher and of its shims goes about it: they have one thread each and next to nothing to
/// allocate, but there are thousands of them. So nothing is kept that is free. (`MALLOC_CONF`, jemalloc(3), by the name
/// that the binary's own jemalloc looks for.)
pub const SMALL_ALLOCATOR: (&str, &str) =
    ("_RJEM_MALLOC_CONF", "narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0");

/// The launcher of one server.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    running: Mutex<Option<Running>>,
}

/// A launcher of this very binary: one that was replaced on disk must still start shims of the version that runs.
impl Default for Launch {
    fn default() -> Self {
        Self::of(Path::new("/proc/self/exe"))
    }
}

#[derive(Debug)]
struct Running {
    // Of messages rather than bytes (the type only waits for it): each wakes one of the shims that wait for an order.
    orders: UnixStream,
    // Reaped by the runtime once this is dropped.
    process: Child,
}

impl Launch {
    /// A launcher that is this program, not yet started.
    pub fn of(program: &Path) -> Self {
        Self { program: program.to_owned(), running: Mutex::default() }
    }

    /// Hands an order to a shim of the launcher's, with the shim's end of a connected stream socket. What becomes of it is
    /// told on that socket, which closes if nobody takes the order.
    ///
    /// # Errors
    /// What the system said: the launcher can't be started.
    pub async fn send(&self, order: &WrittenOrder, stream: OwnedFd) -> io::Result<()> {
        let mut running = self.running.lock().await;
        if let Some(launcher) = running.as_mut() {
            // Its shims may still be about to go with it, and would take an order along.
            let sent = match launcher.process.try_wait()? {
                None => launcher.send(&stream, &order.0).await,
                Some(status) => Err(io::Error::other(status.to_string())),
            };
            match sent {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(error = %error, "the launcher is gone; starting another"),
            }
        }
        let launcher = running.insert(Running::start(&self.program)?);
        launcher.send(&stream, &order.0).await
    }

    /// The launcher's process, once it was started.
    pub async fn pid(&self) -> Option<u32> {
        self.running.lock().await.as_ref().and_then(|running| running.process.id())
    }
}

impl Running {
    fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let process = Command::new(program)
            .arg0("frontdesk")
            .arg("launcher")
            .process_group(0)
            .env(SMALL_ALLOCATOR.0, SMALL_ALLOCATOR.1)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { orders: UnixStream::from_std(ours.into())?, process })
    }

    async fn send(&self, stream: &OwnedFd, order: &File) -> io::Result<()> {
        let descriptors = [stream.as_fd(), order.as_fd()];
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let byte = [IoSlice::new(&[0])];
            Ok(rustix::net::sendmsg(&self.orders, &byte, &mut control, SendFlags::NOSIGNAL).map(drop)?)
        };
        self.orders.async_io(Interest::WRITABLE, send).await
    }
}

/// An order as a file in memory, which is gone with its last descriptor.
#[derive(Debug)]
pub struct WrittenOrder(File);

impl WrittenOrder {
    /// Writes an order down.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(order: &Order) -> io::Result<Self> {
        let mut file = File::from(rustix::fs::memfd_create("frontdesk-order", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(order)?)?;
        Ok(Self(file))
    }
}
