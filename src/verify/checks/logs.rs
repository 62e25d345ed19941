//! The kept logs of sessions that failed, against the rows that say how much of each is kept. None of it is damage: a log is
//! there for people, and no promise hangs on it.

use std::collections::HashSet;

use crate::id::SessionId;
use crate::session::Phase;
use crate::store::sqlite::inspect::SessionRow;
use crate::verify::{Nature, Server, Snapshot};

use super::Findings;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings) {
    // A row that can't be read may mean any of them.
    if !snapshot.is_whole() {
        return;
    }
    let kept = |phase: &Result<Phase, String>| phase.as_ref().map_or(true, |phase| phase.kept_log().is_some());
    let meant: HashSet<SessionId> = snapshot.history.iter().filter(|row| kept(&row.phase)).map(|row| row.id).collect();
    let mut found = HashSet::new();
    for log in &snapshot.logs {
        if log.is_finished && meant.contains(&log.session) {
            found.insert(log.session);
            continue;
        }
        // A running server writes it before it stores the session's end, and waits for a store that is away.
        let is_under_way = snapshot.server == Server::Serving && snapshot.live.iter().any(|row| row.id == log.session);
        if !is_under_way {
            let name = log.path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("the file logs/{name} is the log of no session that failed");
            findings.leftover(None, what, "the next start removes it");
        }
    }
    let is_missing = |row: &&SessionRow| row.phase.is_ok() && meant.contains(&row.id) && !found.contains(&row.id);
    for row in snapshot.history.iter().filter(is_missing) {
        let what = "its agent's log was kept, and its file in logs/ is gone";
        findings.add(Nature::Gone, Some(row.id), what, "nothing else is lost");
    }
}
