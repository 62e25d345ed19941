//! Whether a server runs on the data directory, which, and whether it is ready.

use std::path::Path;

use crate::config::Listen;
use crate::control::{self, Command, Reply};
use crate::data_dir::DataPaths;
use crate::http::v1::nodes::NodeView;
use crate::verify::{Server, holder, may_not_read, server};

use super::Finding;

const ABOUT: &str = "server";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The server that has the data directory, as far as it could be asked.
#[derive(Debug, Default)]
pub(super) struct Running {
    pid: Option<u32>,
    node: Option<NodeView>,
}

impl Running {
    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Which remote credential server it asks, if it could say; `Some(None)` if the embedded one decides.
    pub(super) fn credential_server(&self) -> Option<Option<&str>> {
        self.node.as_ref().map(|node| node.credential_server.as_deref())
    }

    /// Where it listens, and whether a service manager keeps the socket.
    pub(super) fn listener(&self) -> Option<(Listen, bool)> {
        let node = self.node.as_ref()?;
        Some((node.listen.parse().ok()?, node.socket_activated))
    }
}

pub(super) async fn check(directory: &Path) -> (Running, Vec<Finding>) {
    let paths = DataPaths::new(directory);
    let pid = holder(&paths.lock());
    let told = |node, finding| (Running { pid, node }, vec![finding]);
    match server(&paths) {
        Server::Absent if may_not_read(&paths.lock()) => told(None, unseen()),
        Server::Absent => told(None, Finding::ok(ABOUT, "no server runs on the data directory")),
        Server::Settling => told(None, settling(pid)),
        Server::Serving => match control::send(directory, &Command::Status).await {
            Ok(Some(Reply::Node(node))) => {
                let finding = judge(&node);
                told(Some(*node), finding)
            }
            Ok(Some(Reply::Refused(why))) => {
                told(None, Finding::warning(ABOUT, why, "ask with the server's own version"))
            }
            Ok(_) => told(None, settling(pid)),
            Err(error) => {
                let cure = "look at its log; `kill -9` loses nothing that was answered, and its agents run on";
                told(None, Finding::error(ABOUT, format!("the server does not answer ({error})"), cure))
            }
        },
    }
}

fn unseen() -> Finding {
    let cure = "run this as the user that the server runs as, such as with `sudo -u USER`";
    Finding::note(ABOUT, "this user may not see whether a server runs on the data directory", cure)
}

fn settling(pid: Option<u32>) -> Finding {
    let pid = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let sentence = format!("another frontdesk{pid} has the data directory and does not serve: it starts, or stops");
    Finding::note(ABOUT, sentence, "ask again in a few seconds; if it lasts, look at its log")
}

fn judge(node: &NodeView) -> Finding {
    if let Some(why) = &node.reason {
        return Finding::error(ABOUT, format!("the server is not ready: {why}"), "see to that, or look at its log");
    }
    let state = format!("the server is {}", node.in_words());
    if node.version == VERSION {
        return Finding::ok(ABOUT, state);
    }
    let sentence = format!("the server is version {}, and this is version {VERSION}", node.version);
    Finding::note(ABOUT, sentence, "restart the server to have the new one; its agents run on")
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    fn node() -> NodeView {
        NodeView {
            id: "desk".into(),
            version: VERSION.into(),
            listen: "127.0.0.1:5500".into(),
            credential_server: None,
            socket_activated: false,
            started: "2026-01-01T00:00:00Z".into(),
            uptime_seconds: 1.0,
            ready: true,
            reason: None,
            sessions_live: 2,
            agents_running: 1,
            max_running: 10,
            queued: 0,
            memory_bytes: None,
        }
    }

    #[test]
    fn a_server_that_is_not_ready_is_an_error_with_its_reason() {
        assert_eq!(judge(&node()).level, Level::Ok);
        let full = NodeView { ready: false, reason: Some("the disk is full".into()), ..node() };
        assert_eq!((judge(&full).level, judge(&full).sentence.ends_with("the disk is full")), (Level::Error, true));
    }

    #[test]
    fn a_server_of_another_version_is_worth_a_note() {
        assert_eq!(judge(&NodeView { version: "0.0.0".into(), ..node() }).level, Level::Note);
    }

    #[tokio::test]
    async fn without_a_server_there_is_nobody_to_ask() {
        let root = tempfile::tempdir().unwrap();
        let (running, found) = check(root.path()).await;
        assert_eq!((running.pid(), running.listener(), found[0].level), (None, None, Level::Ok));
    }
}
