//! What must hold of operators' tokens, the console's sessions and the audit.

use std::collections::HashMap;

use crate::id::Printable;
use crate::store::sqlite::inspect::VERSION;

use super::{Findings, Nature, RESTORE, Snapshot};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings) {
    if snapshot.version != VERSION {
        return;
    }
    let rows = &snapshot.operators;
    let tokens: HashMap<_, _> = rows.tokens.iter().map(|token| (token.id, token)).collect();
    for token in rows.tokens.iter().filter(|token| token.scopes.is_empty()) {
        let what = format!("operators' token {}: it has no scope", Printable(&token.name));
        findings.add(Nature::Damage, None, what, "revoke it with `frontdesk token revoke`");
    }
    for id in &rows.console {
        let what = match tokens.get(id) {
            Some(token) if token.revoked.is_none() => continue,
            Some(token) => format!("a console session goes on with the revoked token {}", Printable(&token.name)),
            None => format!("a console session was opened with a token that is not on record, {id}"),
        };
        findings.add(Nature::Damage, None, what, "revoke the token again");
    }
    if rows.strange_entries > 0 {
        let what = format!("entries of the audit that can't be read: {}", rows.strange_entries);
        findings.add(Nature::Damage, None, what, RESTORE);
    }
    // A file that could not be read to its end is said to be damaged already.
    if snapshot.is_whole() && !rows.is_guarded {
        let what = "the audit can be changed: the triggers that guard it are gone";
        findings.add(Nature::Damage, None, what, "find out who changed the store, and restore it from a backup");
    }
}
