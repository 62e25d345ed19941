//! A real launcher, and a server that says exactly what a test says to its shims.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use frontdesk::clock::WallTime;
use frontdesk::id::{Epoch, SessionId};
use frontdesk::shim::launch::SMALL_ALLOCATOR;
use frontdesk::shim::order::{Limits, Order};
use frontdesk::shim::place::{Fence, Place};
use frontdesk::shim::wire::{End, HEADER_BYTES, Header, Kind, Welcome, frame};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, socketpair,
};
use tempfile::TempDir;

use crate::harness::{signal, until};

/// A launcher, and the directory of one session.
pub struct Rig {
    pub place: Place,
    pub launcher: Child,
    orders: OwnedFd,
    directory: TempDir,
}

impl Rig {
    /// Starts the launcher.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the launcher with variables that its shims have, too.
    pub fn start_with(environment: &[(&str, OsString)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(&directory.path().join("session"));
        place.make().unwrap();
        let (orders, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let launcher = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .arg("launcher")
            .env(SMALL_ALLOCATOR.0, SMALL_ALLOCATOR.1)
            .envs(environment.iter().cloned())
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        Self { place, launcher, orders, directory }
    }

    /// An order for the first agent of the session, which is allowed to act: a shell that runs this script.
    pub fn order(&self, script: &str) -> Order {
        self.allow(1);
        Order {
            session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]),
            epoch: Epoch(1),
            directory: self.place.root().to_owned(),
            secret: [7; 32],
            program: Some("sh".into()),
            arguments: ["sh", "-c", script].map(OsString::from).to_vec(),
            environment: BTreeMap::from([("PATH".into(), std::env::var_os("PATH").unwrap())]),
            working_directory: None,
            speaks: true,
            stop_grace: Duration::from_secs(10),
            orphan_timeout: Duration::from_secs(600),
            spool_bytes: 64 << 20,
            log_bytes: 1 << 20,
            limits: Limits::default(),
            descriptors: None,
            user: None,
        }
    }

    /// Says which epoch may act.
    pub fn allow(&self, epoch: u32) {
        self.place.write_fence(&Fence { epoch: Epoch(epoch), boot: "this".into() }).unwrap();
    }

    /// The directory of one more session, whose first agent may act.
    pub fn another_place(&self, number: usize) -> Place {
        let place = Place::new(&self.directory.path().join(format!("another{number}")));
        place.make().unwrap();
        place.write_fence(&Fence { epoch: Epoch(1), boot: "this".into() }).unwrap();
        place
    }

    /// Closes the socket of orders, as the end of a server does.
    pub fn hang_up(&mut self) {
        let (other, _) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        self.orders = other;
    }

    /// Hands the order to the launcher.
    pub fn launch(&self, order: &Order) -> Server {
        self.launch_text(&serde_json::to_vec(order).unwrap())
    }

    /// Hands this text to the launcher as an order.
    pub fn launch_text(&self, order: &[u8]) -> Server {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut text = File::from(rustix::fs::memfd_create("order", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        text.write_all(order).unwrap();
        let descriptors = [theirs.as_fd(), text.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        rustix::net::sendmsg(&self.orders, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL).unwrap();
        Server::new(ours)
    }

    /// An agent that runs this script, and is there.
    pub fn agent(&self, script: &str) -> (Server, Welcome) {
        let mut server = self.launch(&self.order(script));
        let welcome = server.welcome();
        (server, welcome)
    }

    /// The shims that have an order, in the order in which they were forked.
    pub fn shims(&self) -> Vec<u32> {
        self.children_named(|name| name.starts_with("fdshim-"))
    }

    /// The shims that wait for an order.
    pub fn spares(&self) -> Vec<u32> {
        self.children_named(|name| name == "frontdesk-spare")
    }

    fn children_named(&self, is_name: impl Fn(&str) -> bool) -> Vec<u32> {
        let is_it =
            |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| is_name(comm.trim_end()));
        children(self.launcher.id()).into_iter().filter(is_it).collect()
    }

    /// Connects to the shim as a later server does.
    pub fn connect(&self, secret: [u8; 32]) -> Server {
        let directory = File::open(self.place.root()).unwrap();
        let mut server = Server::new(UnixStream::connect(Place::socket(&directory)).unwrap());
        server.say(Kind::Hello, 1, &secret);
        server
    }

    /// Waits until no shim acts for the session.
    pub fn await_leave(&self) {
        until("the shim to leave", || !self.place.is_held().unwrap());
    }

    /// The directory that the session's own lies in.
    pub fn above(&self) -> &std::path::Path {
        self.directory.path()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for shim in children(self.launcher.id()) {
            signal(shim, rustix::process::Signal::KILL);
        }
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// The server's end of a connection to a shim.
pub struct Server {
    stream: UnixStream,
}

impl Server {
    /// A server at this end of a connection.
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream }
    }

    /// Says a frame.
    pub fn say(&mut self, kind: Kind, number: u64, payload: &[u8]) {
        self.say_raw(&frame(kind, number, payload));
    }

    /// Writes bytes, whatever they mean.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Hands over a line and waits until it is taken; what else comes before is lost.
    pub fn deliver(&mut self, number: u64, line: &str) {
        self.say(Kind::Deliver, number, line.as_bytes());
        assert_eq!(self.until(Kind::Taken).0, number);
    }

    /// The next frame but for what the agent takes, which may be said at any time; nothing at the end of the connection.
    pub fn next(&mut self) -> Option<(Kind, u64, Vec<u8>)> {
        loop {
            match self.read()? {
                (Kind::Usage, ..) => {}
                frame => return Some(frame),
            }
        }
    }

    fn read(&mut self) -> Option<(Kind, u64, Vec<u8>)> {
        let mut head = [0; HEADER_BYTES];
        if self.stream.read(&mut head[..1]).ok()? == 0 {
            return None;
        }
        self.stream.read_exact(&mut head[1..]).unwrap();
        let header = Header::read(&head).unwrap();
        let mut payload = vec![0; usize::try_from(header.length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some((header.kind, header.number, payload))
    }

    /// Number and payload of the next frame of a kind; those before it are lost.
    pub fn until(&mut self, wanted: Kind) -> (u64, Vec<u8>) {
        loop {
            let (kind, number, payload) = self.next().expect("the connection ended");
            if kind == wanted {
                return (number, payload);
            }
        }
    }

    /// The next frame, which is the welcome of the first epoch.
    pub fn welcome(&mut self) -> Welcome {
        let (kind, number, payload) = self.next().unwrap();
        assert_eq!((kind, number), (Kind::Welcome, 1), "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The next so many bytes of output, which begin at `from`.
    pub fn output(&mut self, from: u64, length: usize) -> Vec<u8> {
        let mut output = Vec::new();
        while output.len() < length {
            let (number, payload) = self.until(Kind::Output);
            assert_eq!(number, from + output.len() as u64);
            output.extend(payload);
        }
        output
    }

    /// Output up to a line's end, which begins at `from`.
    pub fn line(&mut self, from: u64) -> String {
        let mut output = Vec::new();
        while output.last() != Some(&b'\n') {
            output.extend(self.output(from + output.len() as u64, 1));
        }
        String::from_utf8(output).unwrap()
    }

    /// How the agent ended, and after how many bytes.
    pub fn end(&mut self) -> (u64, End) {
        let (number, payload) = self.until(Kind::Ended);
        (number, serde_json::from_slice(&payload).unwrap())
    }
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process runs.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}
