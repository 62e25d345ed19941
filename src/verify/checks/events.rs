//! What must hold of the log of events. Pure.

use std::collections::HashMap;

use crate::verify::{Nature, Snapshot};

use super::{Findings, RESTORE};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings) {
    for fault in &snapshot.events.faults {
        let what = format!("the log of events is damaged ({fault})");
        let advice = "stop the server and move events.db away with the files beside it: only what agents said is lost";
        findings.add(Nature::Damage, None, what, advice);
    }
    for (session, told) in &snapshot.events.sessions {
        if let Some(why) = &told.fault {
            let what = format!("its log of events is damaged ({why})");
            findings.damage(*session, what, "report this: only what its agents said is lost");
        }
    }
    if !snapshot.is_whole() {
        return;
    }
    let revisions: HashMap<_, _> =
        snapshot.live.iter().chain(&snapshot.history).map(|row| (row.id, row.revision)).collect();
    for (session, told) in &snapshot.events.sessions {
        match revisions.get(session) {
            None => {
                let what = "its events are kept, and the session is neither live nor in the history";
                findings.add(
                    Nature::Lasting,
                    Some(*session),
                    what,
                    "report this: they take space, and nothing is lost",
                );
            }
            Some(revision) if told.revision > *revision => {
                let told = told.revision;
                let what = format!("its events tell of revision {told}, and it has come to revision {revision} only");
                findings.add(Nature::Lasting, Some(*session), what, RESTORE);
            }
            Some(_) => {}
        }
    }
}
