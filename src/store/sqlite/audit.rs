//! The audit: the table `audit`, and the admissions that stand in the rows of sessions.
//!
//! An admission has its place by its session's id alone: the id tells the time of the request, and sorts by it. So the
//! primary keys of `sessions` and `history` answer in the audit's order, an admission costs nothing more, and its place
//! stays the same when its session's row is deleted and an entry takes over.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Rows, params, params_from_iter};

use crate::clock::WallTime;
use crate::id::{CustomerKey, SessionId};
use crate::store::{
    Action, Actor, Answer, Audit, AuditCursor, AuditEntry, AuditFilter, Damage, NumberedEntry, StoreError,
};

use super::SqliteStore;
use super::conditions::Conditions;
use super::file::unavailable;
use super::writer::Needs;

mod one_by_one;

impl Audit for SqliteStore {
    fn note(&self, entry: AuditEntry) -> Answer<'_, ()> {
        let customer = entry.customer.as_ref().map_or(0, |customer| customer.as_str().len());
        self.run_sized(needs_of(entry.action), customer + entry.detail.len(), move |connection| {
            let cursor = AuditCursor { at: entry.at.unix_millis(), tie: next_tie(connection, entry.at)? };
            insert(connection, cursor, &entry)
        })
    }

    fn audit(&self, filter: AuditFilter, most: usize) -> Answer<'_, Vec<NumberedEntry>> {
        // Looked up before the tables are: a session that ends in between is found in the history.
        let of_customer = |customer| self.index.by_customer(customer).map(|stored| stored.record.id);
        let live = filter.customer.as_ref().map(of_customer);
        let damage = Arc::clone(&self.damage);
        self.read(move |connection| {
            // What moves from table to table is seen in one of them.
            let look = connection.unchecked_transaction().map_err(unavailable)?;
            let mut found = match entries(&look, &filter, most, &damage) {
                Err(StoreError::Malformed(why)) => {
                    damage.note(&format!("the audit: {why}"));
                    one_by_one::entries(&look, &filter, most, &damage)?
                }
                read => read?,
            };
            if filter.action.is_none_or(|action| action == Action::SessionCreated) {
                // There is no index of live sessions by customer on the disk.
                let live = (live != Some(None)).then_some(("sessions", live.flatten()));
                for (table, only) in live.into_iter().chain([("history", None)]) {
                    let conditions = of_admissions(&filter).and("id = ?", only.map(blob));
                    found.extend(match admissions(&look, table, conditions, most, Some(&damage)) {
                        Err(StoreError::Malformed(_)) => {
                            one_by_one::admissions(&look, table, &filter, only, most, &damage)?
                        }
                        read => read?,
                    });
                }
            }
            found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.cursor));
            // A session that was given up may have its damaged row still.
            found.dedup_by_key(|entry| entry.cursor);
            found.truncate(most);
            Ok(found)
        })
    }
}

/// Whether an entry needs room: it does if its act does. Strangers can have any number of refusals noted.
fn needs_of(action: Action) -> Needs {
    match action {
        Action::SessionCreated
        | Action::SessionRequested
        | Action::SessionDataReplaced
        | Action::CustomerAdded
        | Action::TokenMade
        | Action::CredentialsRefused
        | Action::CredentialsThrottled
        | Action::TokenRefused
        | Action::ScopeRefused => Needs::Room,
        Action::SessionTokenIssued
        | Action::SessionInitialised
        | Action::SessionRestarted
        | Action::SessionStopped
        | Action::SessionKilled
        | Action::PasswordChanged
        | Action::CustomerDisabled
        | Action::CustomerEnabled
        | Action::CustomerRemoved
        | Action::ThrottleCleared
        | Action::TokenRevoked
        | Action::SignedIn
        | Action::SignedOut
        | Action::ServerStopped
        | Action::ServerDrained
        | Action::ServerReloaded => Needs::NoRoom,
    }
}

/// Writes the admission of a session of the history as an entry, because its row is about to be deleted.
pub(super) fn keep_admission(connection: &Connection, session: SessionId) -> Result<(), StoreError> {
    let own = Conditions::new("id = ?", [blob(session)]);
    for NumberedEntry { cursor, entry } in admissions(connection, "history", own, 1, None)? {
        insert(connection, cursor, &entry)?;
    }
    Ok(())
}

const COLUMNS: &str = "at, tie, actor, operator, action, session, customer, origin, detail";

const CUSTOMER: &str = "customer";
const OPERATOR: &str = "operator";
const COMMAND_LINE: &str = "command-line";
const UNKNOWN: &str = "unknown";

fn insert(connection: &Connection, cursor: AuditCursor, entry: &AuditEntry) -> Result<(), StoreError> {
    let operator = match &entry.actor {
        Actor::Operator(name) => Some(name),
        Actor::Customer | Actor::CommandLine | Actor::Unknown => None,
    };
    connection
        .prepare_cached(&format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"))
        .and_then(|mut statement| {
            statement.execute(params![
                cursor.at,
                cursor.tie,
                actor_text(&entry.actor),
                operator,
                entry.action.name(),
                entry.session.map(|session| *session.as_bytes()),
                entry.customer.as_ref().map(CustomerKey::as_str),
                entry.from.map(|address| address.to_string()),
                entry.detail,
            ])
        })
        .map_err(unavailable)?;
    Ok(())
}

/// The number of the next entry of a millisecond. Below every session's id, whose first eight bytes are never zero.
fn next_tie(connection: &Connection, at: WallTime) -> Result<[u8; 16], StoreError> {
    let highest = number_tie(u64::MAX);
    let last: Option<[u8; 16]> = connection
        .prepare_cached("SELECT tie FROM audit WHERE at = ?1 AND tie <= ?2 ORDER BY tie DESC LIMIT 1")
        .and_then(|mut statement| statement.query_row(params![at.unix_millis(), highest], |row| row.get(0)).optional())
        .map_err(unavailable)?;
    let number = last.map_or(0, u128::from_be_bytes) + 1;
    Ok(number.to_be_bytes())
}

fn number_tie(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

fn entries(
    connection: &Connection,
    filter: &AuditFilter,
    most: usize,
    damage: &Damage,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let conditions = of_entries(filter);
    let mut statement = connection.prepare_cached(&entries_query(&conditions)).map_err(unavailable)?;
    let rows = statement.query(params_from_iter(conditions.into_values(usize::MAX))).map_err(unavailable)?;
    readable(rows, most, read, Some(damage))
}

/// Up to `most` rows that can be read. Damage of the others is noted, or fails the whole if nobody notes it.
fn readable(
    mut rows: Rows<'_>,
    most: usize,
    read: impl Fn(&Row<'_>) -> Result<NumberedEntry, StoreError>,
    damage: Option<&Damage>,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let mut found = Vec::new();
    while found.len() < most {
        let Some(row) = rows.next().map_err(unavailable)? else { break };
        match (read(row), damage) {
            (Ok(entry), _) => found.push(entry),
            (Err(error), Some(damage)) => damage.note(&error.cause()),
            (Err(error), None) => return Err(error),
        }
    }
    Ok(found)
}

fn of_entries(filter: &AuditFilter) -> Conditions {
    let before = filter.before.unwrap_or(AuditCursor { at: i64::MAX, tie: [0xff; 16] });
    Conditions::new("(at, tie) < (?, ?)", [before.at.into(), before.tie.to_vec().into()])
        .and("session = ?", filter.session.map(blob))
        .and("customer = ?", filter.customer.as_ref().map(|customer| customer.as_str().to_owned()))
        .and("action = ?", filter.action.map(|action| action.name().to_owned()))
}

fn entries_query(conditions: &Conditions) -> String {
    format!("SELECT {COLUMNS} FROM audit WHERE {} ORDER BY at DESC, tie DESC LIMIT ?", conditions.text())
}

fn of_admissions(filter: &AuditFilter) -> Conditions {
    Conditions::new("id < ?", [end_of(filter.before.as_ref())])
        .and("id = ?", filter.session.map(blob))
        .and("customer = ?", filter.customer.as_ref().map(|customer| customer.as_str().to_owned()))
}

fn admissions(
    connection: &Connection,
    table: &str,
    conditions: Conditions,
    most: usize,
    damage: Option<&Damage>,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let mut statement = connection.prepare_cached(&admissions_query(table, &conditions)).map_err(unavailable)?;
    let rows = statement.query(params_from_iter(conditions.into_values(usize::MAX))).map_err(unavailable)?;
    readable(rows, most, admission, damage)
}

fn admissions_query(table: &str, conditions: &Conditions) -> String {
    format!("SELECT id, customer, origin FROM {table} WHERE {} ORDER BY id DESC LIMIT ?", conditions.text())
}

/// What the ids of all admissions before the cursor are below, and no others: bytes compare as ids do, and a beginning
/// stands before all that it begins.
fn end_of(before: Option<&AuditCursor>) -> Value {
    let after_all = vec![0xff; 17];
    let Some(cursor) = before else { return after_all.into() };
    // An id has six bytes for the time; before it began to count, there is no session.
    let Ok(at) = u64::try_from(cursor.at) else { return Vec::new().into() };
    let [0, 0, time @ ..] = at.to_be_bytes() else { return after_all.into() };
    match cursor.tie[..time.len()].cmp(&time) {
        Ordering::Equal => cursor.tie.to_vec().into(),
        Ordering::Less => time.to_vec().into(),
        Ordering::Greater => [&time[..], &after_all].concat().into(),
    }
}

fn admission(row: &Row<'_>) -> Result<NumberedEntry, StoreError> {
    let id: [u8; 16] = row.get(0).map_err(|error| damaged(&error))?;
    let session = SessionId::from_bytes(id);
    let at = session.requested();
    let customer: String = row.get(1).map_err(|error| damaged(&error))?;
    let entry = AuditEntry {
        at,
        actor: Actor::Customer,
        action: Action::SessionCreated,
        session: Some(session),
        customer: Some(CustomerKey::new(&customer)),
        from: address(row, 2)?,
        detail: String::new(),
    };
    Ok(NumberedEntry { cursor: AuditCursor { at: at.unix_millis(), tie: id }, entry })
}

/// Reads a row of [`COLUMNS`].
fn read(row: &Row<'_>) -> Result<NumberedEntry, StoreError> {
    let unreadable = |error: rusqlite::Error| damaged(&error);
    let cursor = AuditCursor { at: row.get(0).map_err(unreadable)?, tie: row.get(1).map_err(unreadable)? };
    let operator: Option<String> = row.get(3).map_err(unreadable)?;
    let actor: String = row.get(2).map_err(unreadable)?;
    let action: String = row.get(4).map_err(unreadable)?;
    let session: Option<[u8; 16]> = row.get(5).map_err(unreadable)?;
    let customer: Option<String> = row.get(6).map_err(unreadable)?;
    let entry = AuditEntry {
        at: WallTime::from_unix_millis(cursor.at),
        actor: read_actor(&actor, operator).ok_or_else(|| damaged(&format!("nobody is called {actor:?}")))?,
        action: Action::named(&action).ok_or_else(|| damaged(&format!("nothing is called {action:?}")))?,
        session: session.map(SessionId::from_bytes),
        customer: customer.map(|customer| CustomerKey::new(&customer)),
        from: address(row, 7)?,
        detail: row.get(8).map_err(unreadable)?,
    };
    Ok(NumberedEntry { cursor, entry })
}

/// How many entries can't be read.
pub(super) fn strange_entries(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM audit")).map_err(unavailable)?;
    let mut rows = statement.query([]).map_err(unavailable)?;
    let mut strange = 0;
    while let Some(row) = rows.next().map_err(unavailable)? {
        strange += u64::from(read(row).is_err());
    }
    Ok(strange)
}

/// Whether the triggers are there that keep entries as they are.
pub(super) fn is_guarded(connection: &Connection) -> Result<bool, StoreError> {
    connection
        .query_row(
            "SELECT count(*) = 2 FROM sqlite_schema
             WHERE type = 'trigger' AND name IN ('audit_is_not_changed', 'audit_is_not_deleted')",
            [],
            |row| row.get(0),
        )
        .map_err(unavailable)
}

fn actor_text(actor: &Actor) -> &'static str {
    match actor {
        Actor::Customer => CUSTOMER,
        Actor::Operator(_) => OPERATOR,
        Actor::CommandLine => COMMAND_LINE,
        Actor::Unknown => UNKNOWN,
    }
}

fn read_actor(text: &str, operator: Option<String>) -> Option<Actor> {
    match (text, operator) {
        (CUSTOMER, None) => Some(Actor::Customer),
        (OPERATOR, Some(name)) => Some(Actor::Operator(name)),
        (COMMAND_LINE, None) => Some(Actor::CommandLine),
        (UNKNOWN, None) => Some(Actor::Unknown),
        _ => None,
    }
}

fn address(row: &Row<'_>, column: usize) -> Result<Option<IpAddr>, StoreError> {
    let text: Option<String> = row.get(column).map_err(|error| damaged(&error))?;
    text.map(|text| text.parse().map_err(|error| damaged(&error))).transpose()
}

fn blob(session: SessionId) -> Value {
    session.as_bytes().to_vec().into()
}

fn damaged(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("its audit: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::conditions::plan;
    use super::*;

    #[test]
    fn every_page_of_the_audit_is_found_by_an_index_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let session = Some(SessionId::from_bytes([1; 16]));
        let customer = Some(CustomerKey::new("ann"));
        let before = Some(AuditCursor { at: 7, tie: [1; 16] });
        let action = Some(Action::SessionStopped);
        let plans = |filter: AuditFilter| {
            let entries = plan(&connection, &entries_query(&of_entries(&filter)));
            let admissions = |table| plan(&connection, &admissions_query(table, &of_admissions(&filter)));
            [entries, admissions("sessions"), admissions("history")]
        };
        let of_page = [
            "SEARCH audit USING PRIMARY KEY ((at,tie)<(?,?))",
            "SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (id<?)",
            "SEARCH history USING INDEX sqlite_autoindex_history_1 (id<?)",
        ];
        assert_eq!(plans(AuditFilter::default()), of_page);
        assert_eq!(plans(AuditFilter { before, ..Default::default() }), of_page);
        let of_session = [
            "SEARCH audit USING INDEX audit_by_session (session=? AND (at,tie)<(?,?))",
            "SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (id=?)",
            "SEARCH history USING INDEX sqlite_autoindex_history_1 (id=?)",
        ];
        assert_eq!(plans(AuditFilter { session, ..Default::default() }), of_session);
        let [of_customer, _, ended_of_customer] = plans(AuditFilter { customer, ..Default::default() });
        assert_eq!(of_customer, "SEARCH audit USING INDEX audit_by_customer (customer=? AND (at,tie)<(?,?))");
        assert_eq!(ended_of_customer, "SEARCH history USING INDEX history_by_customer (customer=? AND id<?)");
        let [of_action, ..] = plans(AuditFilter { action, ..Default::default() });
        assert_eq!(of_action, "SEARCH audit USING INDEX audit_by_action (action=? AND (at,tie)<(?,?))");
    }

    #[test]
    fn what_is_in_the_audit_is_neither_changed_nor_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let entry = AuditEntry {
            at: WallTime::from_unix_millis(1),
            actor: Actor::Unknown,
            action: Action::TokenRefused,
            session: None,
            customer: None,
            from: None,
            detail: String::new(),
        };
        insert(&connection, AuditCursor { at: 1, tie: [0; 16] }, &entry).unwrap();
        for change in ["UPDATE audit SET detail = 'x'", "DELETE FROM audit"] {
            assert!(connection.execute(change, []).unwrap_err().to_string().contains("in the audit"), "{change}");
        }
    }

    #[test]
    fn the_end_of_a_page_falls_between_the_same_admissions_whatever_its_cursor_is_of() {
        let id = |millis, byte| SessionId::new(WallTime::from_unix_millis(millis), [byte; 10]);
        let ids = [id(0, 0), id(4, 9), id(5, 1), id(5, 2), id(6, 0)];
        let before = |at, tie| {
            let Value::Blob(end) = end_of(Some(&AuditCursor { at, tie })) else { panic!("no blob") };
            ids.iter().filter(|id| id.as_bytes()[..] < end[..]).count()
        };
        assert_eq!([before(5, *ids[2].as_bytes()), before(5, *ids[3].as_bytes())], [2, 3]);
        assert_eq!(before(5, number_tie(9)), 2, "an entry is older than the admissions of its millisecond");
        assert_eq!(before(5, [0xff; 16]), 4);
        assert_eq!([before(-1, [0xff; 16]), before(i64::MAX, [0; 16])], [0, 5]);
    }
}
