//! The audit as an operator reads it.

use serde::{Deserialize, Serialize};

use crate::id::{CustomerKey, Printable, SessionId};
use crate::store::{Action, Actor, AuditCursor, AuditFilter, NumberedEntry, Store};

use super::operator::of_store;

/// What an operator wants to see of the audit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only what concerns this session.
    pub session: Option<String>,
    /// Only what concerns the customer with this email.
    pub customer: Option<String>,
    /// Only what is called so.
    pub action: Option<String>,
    /// Only what is older than the entry with this place.
    pub before: Option<String>,
}

/// An entry of the audit as a table shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its place: no other entry has it, and the next page goes on from it.
    pub place: String,
    /// When, in RFC 3339.
    pub at: String,
    /// What.
    pub action: String,
    /// `customer`, `operator`, `command-line` or `unknown`.
    pub actor: String,
    /// The name of the operator's token.
    pub operator: Option<String>,
    /// To which session.
    pub session: Option<SessionId>,
    /// Whose, or to which customer.
    pub customer: Option<String>,
    /// From which address.
    pub from: Option<String>,
    /// More, in words; empty if there is nothing to add.
    pub detail: String,
}

/// Up to `most` entries, the youngest first. A customer is known under one of the `keys`.
pub(super) async fn read(
    store: &dyn Store,
    query: &AuditQuery,
    keys: Option<[CustomerKey; 2]>,
    most: usize,
) -> Result<Vec<AuditRow>, String> {
    let unknown_session =
        |text: &String| text.parse::<SessionId>().map_err(|_| format!("{} is no session's id", Printable(text)));
    let unknown_action = |text: &String| {
        let names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        Action::named(text)
            .ok_or_else(|| format!("there is no action {}; the actions are {}", Printable(text), names.join(", ")))
    };
    let unknown_place =
        |text: &String| text.parse::<AuditCursor>().map_err(|_| format!("{} is no place", Printable(text)));
    let filter = AuditFilter {
        session: query.session.as_ref().map(unknown_session).transpose()?,
        customer: None,
        action: query.action.as_ref().map(unknown_action).transpose()?,
        before: query.before.as_ref().map(unknown_place).transpose()?,
    };
    let customers = keys.map_or(vec![None], |keys| keys.map(Some).to_vec());
    for customer in customers {
        let filter = AuditFilter { customer, ..filter.clone() };
        let page = store.audit(filter, most).await.map_err(|error| of_store(&error))?;
        if !page.is_empty() {
            return Ok(page.into_iter().map(row).collect());
        }
    }
    Ok(Vec::new())
}

fn row(NumberedEntry { cursor, entry }: NumberedEntry) -> AuditRow {
    let (actor, operator) = match entry.actor {
        Actor::Customer => ("customer", None),
        Actor::Operator(name) => ("operator", Some(name)),
        Actor::CommandLine => ("command-line", None),
        Actor::Unknown => ("unknown", None),
    };
    AuditRow {
        place: cursor.to_string(),
        at: entry.at.to_string(),
        action: entry.action.name().to_owned(),
        actor: actor.to_owned(),
        operator,
        session: entry.session,
        customer: entry.customer.map(|customer| customer.as_str().to_owned()),
        from: entry.from.map(|address| address.to_string()),
        detail: entry.detail,
    }
}
