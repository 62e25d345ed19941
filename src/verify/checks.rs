//! What must hold, checked on a snapshot. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;

use crate::credential::email;
use crate::id::{CustomerKey, Epoch, Printable, SessionId};
use crate::session::Phase;
use crate::store::sqlite::inspect::{SessionRow, VERSION};
use crate::store::{CURE, TOKENS_PER_SESSION};

use super::{Finding, Nature, Server, Snapshot};

mod agents;
mod events;
mod logs;
mod operators;

/// What to do about what no start mends.
const RESTORE: &str = CURE;

/// Everything that is wrong in the snapshot.
pub fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Findings { all: Vec::new(), has_server: snapshot.server != Server::Absent };
    check_file(snapshot, &mut findings);
    check_uniqueness(snapshot, &mut findings);
    for row in &snapshot.live {
        check_row(row, &mut findings);
        check_live(row, snapshot, &mut findings);
    }
    for row in &snapshot.history {
        check_row(row, &mut findings);
        check_ended(row, &mut findings);
    }
    check_notes(snapshot, &mut findings);
    check_data_files(snapshot, &mut findings);
    logs::check(snapshot, &mut findings);
    check_customers(snapshot, &mut findings);
    operators::check(snapshot, &mut findings);
    agents::check(snapshot, &mut findings);
    events::check(snapshot, &mut findings);
    findings.all
}

/// How many agents run on without a server, in order.
pub(super) fn running_on(snapshot: &Snapshot) -> usize {
    agents::running_on(snapshot)
}

struct Findings {
    all: Vec<Finding>,
    has_server: bool,
}

impl Findings {
    fn add(&mut self, nature: Nature, session: Option<SessionId>, what: impl std::fmt::Display, advice: &str) {
        let subject = session.map(|id| format!("session {id}: ")).unwrap_or_default();
        self.all.push(Finding { session, sentence: format!("{subject}{what}; {advice}"), nature });
    }

    fn damage(&mut self, session: SessionId, what: impl std::fmt::Display, advice: &str) {
        self.add(Nature::Damage, Some(session), what, advice);
    }

    /// Something that the next start settles; a running server should have.
    fn leftover(&mut self, session: Option<SessionId>, what: impl std::fmt::Display, settled: &str) {
        if self.has_server {
            let advice = "the running server should have seen to it: restart it, and report this";
            self.add(Nature::Lasting, session, what, advice);
        } else {
            self.add(Nature::Leftover, session, what, settled);
        }
    }
}

fn check_file(snapshot: &Snapshot, findings: &mut Findings) {
    for fault in &snapshot.faults {
        findings.add(Nature::Damage, None, format!("the store's file is damaged ({fault})"), RESTORE);
    }
    let version = snapshot.version;
    if version > VERSION {
        let what = format!("the store's schema is version {version} and this frontdesk knows versions up to {VERSION}");
        findings.add(Nature::Damage, None, what, "verify it with the newer frontdesk that wrote it");
    } else if version < VERSION {
        let what =
            format!("the store's schema is version {version} and not {VERSION}, so that nothing else was checked");
        findings.leftover(None, what, "the next start brings it up to date");
    }
}

fn check_uniqueness(snapshot: &Snapshot, findings: &mut Findings) {
    let mut of_customer: HashMap<&CustomerKey, SessionId> = HashMap::new();
    for row in &snapshot.live {
        if let Some(other) = of_customer.insert(&row.customer, row.id) {
            let what = format!("it is live beside session {other} of the same customer {}", row.customer);
            findings.damage(row.id, what, RESTORE);
        }
    }
    let live: HashSet<_> = snapshot.live.iter().map(|row| row.id).collect();
    for row in snapshot.history.iter().filter(|row| live.contains(&row.id)) {
        findings.damage(row.id, "it is both live and in the history", RESTORE);
    }
    let mut of_key = HashMap::new();
    for row in snapshot.history.iter().chain(&snapshot.live) {
        let Some(key) = row.creation_key else { continue };
        if let Some(other) = of_key.insert((&row.customer, key), row.id).filter(|other| *other != row.id) {
            let what = format!("its customer {} created it and session {other} with one key", row.customer);
            findings.damage(row.id, what, "report this: stop the one that is not wanted, if it is live");
        }
    }
}

/// What holds for live and ended sessions alike.
fn check_row(row: &SessionRow, findings: &mut Findings) {
    const TOKEN_BYTES: usize = 32;
    if row.revision < 1 {
        findings.damage(row.id, format!("its revision is {} and not at least 1", row.revision), RESTORE);
    }
    let (tokens, rest) = (row.token_bytes / TOKEN_BYTES, row.token_bytes % TOKEN_BYTES);
    if rest != 0 || !(1..=TOKENS_PER_SESSION).contains(&tokens) {
        let what = format!(
            "it has {} bytes of token hashes instead of 1 to {TOKENS_PER_SESSION} of {TOKEN_BYTES}",
            row.token_bytes
        );
        findings.damage(row.id, what, RESTORE);
    }
    if let Err(why) = &row.phase {
        findings.damage(row.id, format!("its phase can't be read ({why})"), RESTORE);
    }
}

fn check_live(row: &SessionRow, snapshot: &Snapshot, findings: &mut Findings) {
    const LONG_OVERDUE: Duration = Duration::from_mins(1);
    if let Some(Err(why)) = &row.inline_data {
        findings.damage(row.id, format!("its DATA is damaged ({why})"), RESTORE);
    }
    let Ok(phase) = &row.phase else { return };
    match phase {
        Phase::Pending { deadline, .. } => {
            if snapshot.server == Server::Serving && snapshot.now > *deadline + LONG_OVERDUE {
                let what = "it is PENDING and expired more than a minute ago";
                findings.add(Nature::Lasting, Some(row.id), what, "restart the server, and report this");
            }
        }
        Phase::Starting { epoch, .. } | Phase::Running { epoch, .. } | Phase::Stopping { epoch, .. } => {
            if *epoch < Epoch(1) {
                findings.damage(row.id, format!("it is {} and has epoch 0", phase.name()), RESTORE);
            }
        }
        Phase::Ended { .. } => findings.damage(row.id, "it is ENDED and still among the live ones", RESTORE),
    }
}

fn check_ended(row: &SessionRow, findings: &mut Findings) {
    match &row.phase {
        Ok(Phase::Ended { ending, .. }) if ending.reason.sentence().trim().is_empty() => {
            findings.damage(row.id, "it has ended without a reason", "report this: nothing else is lost");
        }
        Ok(Phase::Ended { .. }) | Err(_) => {}
        Ok(
            phase @ (Phase::Pending { .. } | Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. }),
        ) => {
            findings.damage(row.id, format!("it is in the history and still {}", phase.name()), RESTORE);
        }
    }
}

fn check_notes(snapshot: &Snapshot, findings: &mut Findings) {
    let known: HashSet<_> = snapshot.live.iter().chain(&snapshot.history).map(|row| row.id).collect();
    for id in snapshot.noted.iter().filter(|id| !known.contains(id)) {
        findings.damage(*id, "its keyed requests are on record, and it is not", "report this: nothing else is lost");
    }
}

fn check_data_files(snapshot: &Snapshot, findings: &mut Findings) {
    let pending = |id| {
        let is_pending = |row: &SessionRow| row.id == id && matches!(row.phase, Ok(Phase::Pending { .. }));
        snapshot.live.iter().any(is_pending)
    };
    let meant: HashMap<_, _> =
        snapshot.live.iter().filter_map(|row| row.data_file.as_deref().map(|name| (name, row.id))).collect();
    let mut found = HashSet::new();
    for file in &snapshot.files {
        if let Some(id) = meant.get(&*file.name) {
            found.insert(*id);
            if let Some(why) = &file.fault {
                findings.damage(*id, format!("its DATA in data/{} is damaged ({why})", file.name), RESTORE);
            }
            continue;
        }
        // A customer may take any time to send what a running server receives.
        let is_received = snapshot.server == Server::Serving && !file.is_finished && pending(file.session);
        if !is_received {
            let what = format!("the file data/{} belongs to no live session's DATA", Printable(&file.name));
            findings.leftover(file.is_finished.then_some(file.session), what, "the next start removes it");
        }
    }
    for row in snapshot.live.iter().filter(|row| row.data_file.is_some() && !found.contains(&row.id)) {
        let what = "it has no DATA: neither its row nor a file holds any";
        findings.add(Nature::Lasting, Some(row.id), what, RESTORE);
    }
}

fn check_customers(snapshot: &Snapshot, findings: &mut Findings) {
    for customer in &snapshot.customers {
        let key = customer.key.as_str();
        if email::canonical(key) != key || email::canonical(&customer.email) != key {
            let what = format!("customer {}: the key is not the canonical form of the email", customer.key);
            findings.add(Nature::Damage, None, what, "remove the customer and add it again");
        }
        let is_hash = PasswordHash::new(&customer.password_hash)
            .is_ok_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.salt.is_some() && hash.hash.is_some());
        if !is_hash {
            let what = format!("customer {}: the stored password is no argon2id hash", customer.key);
            findings.add(Nature::Damage, None, what, "set a new one with `frontdesk customer passwd`");
        }
    }
}
