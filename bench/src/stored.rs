//! A server with as many live sessions as the scale says, which several figures look at.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::calls::{PERSONA, create_and_keep, email};
use crate::client::Session;
use crate::desk::{Desk, persona};
use crate::process::anonymous_bytes;
use crate::{Setting, note};

/// How many connections the sessions are created over.
const CONNECTIONS: usize = 256;

/// The server and its sessions, all of them pending.
pub struct Stored {
    pub desk: Desk,
    pub sessions: Vec<Session>,
    /// Anonymous memory of the server for each session, in bytes.
    pub bytes_a_session: f64,
}

impl Stored {
    /// Creates them through the server's own interface.
    pub fn prepare(setting: &Setting) -> Self {
        let count = setting.scale.sessions;
        note(&format!("creating {count} sessions"));
        let configuration = persona(PERSONA, "frontdesk-bench-agent", "pending_timeout = \"1d\"");
        let desk = Desk::start(setting, &configuration);
        // What the first sessions make it allocate once and for all is not the sessions'.
        let few = count / 1_000;
        let mut sessions = create_and_keep(desk.address, CONNECTIONS, 0..few);
        let before = anonymous_bytes(desk.pid());
        sessions.extend(create_and_keep(desk.address, CONNECTIONS, few..count));
        let grown = anonymous_bytes(desk.pid()) as f64 - before as f64;
        Self { desk, sessions, bytes_a_session: grown / (count - few) as f64 }
    }

    /// A file of all emails and ids, for the floor.
    pub fn keys(&self) -> PathBuf {
        let path = self.desk.scratch().join("keys");
        let mut file = BufWriter::new(File::create(&path).expect("a file"));
        for session in &self.sessions {
            writeln!(file, "{} {}", session.email, session.id).expect("room on the disk");
        }
        file.flush().expect("room on the disk");
        path
    }

    /// How long an email is in the middle.
    pub fn email_bytes(&self) -> f64 {
        let total: usize = (0..self.sessions.len() as u64).map(|number| email(number).len()).sum();
        total as f64 / self.sessions.len() as f64
    }
}
