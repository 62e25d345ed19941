//! Programs that run beside the server: floors, the credential server, the peer.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// One that has said where it listens. Dropping it ends it.
pub struct Program {
    process: Child,
    address: SocketAddr,
}

impl Program {
    /// A bare server; `src/bin/frontdesk-bench-bare.rs` says which there are.
    pub fn bare(arguments: &[&str]) -> Self {
        let mut command = Command::new(beside("frontdesk-bench-bare"));
        command.args(arguments);
        Self::start(command)
    }

    /// Starts it and waits for its address, the first line that it writes.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program that starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("{command:?} said {line:?} for its address"));
        Self { process, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of another program of this package.
pub fn beside(name: &str) -> PathBuf {
    std::env::current_exe().expect("a path of its own").with_file_name(name)
}
