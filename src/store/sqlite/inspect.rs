//! The tables as they are, for whoever looks for damage: nothing is refused, and what can't be read is said.
//!
//! One read transaction on a read-only connection sees everything at one moment, beside a running server or without
//! one. It takes no lock on the directory, brings no schema up to date and writes nothing. A store that was closed in
//! order has no log, and is opened as a file that doesn't change, so that SQLite makes no files beside it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use crate::agent::kept_logs::KeptLog;
use crate::clock::Heartbeat;
use crate::data_dir::DataPaths;
use crate::id::{CustomerKey, SessionId};
use crate::principal::OperatorTokenId;
use crate::session::Phase;
use crate::store::{Customer, OperatorToken, StoreError};

use super::data_files::DataFile;
use super::{audit, customers, file, given_up, meta, operators, schema};

/// Everything that the file holds, as far as it can be read.
#[derive(Debug, Default)]
pub struct Tables {
    /// What is wrong with the file itself, in words.
    pub faults: Vec<String>,
    /// The version of its schema; zero if it has none yet.
    pub version: i64,
    /// The desk's id.
    pub desk: Option<String>,
    /// Where the desk's timeline stood last.
    pub heartbeat: Option<Heartbeat>,
    /// The rows of live sessions.
    pub live: Vec<SessionRow>,
    /// The rows of ended ones.
    pub history: Vec<SessionRow>,
    /// The sessions that have keyed requests on record.
    pub noted: Vec<SessionId>,
    /// The customers of the embedded credential server.
    pub customers: Vec<Customer>,
    /// What is kept of operators, and the audit.
    pub operators: OperatorRows,
}

/// What the tables of operators and the audit hold, as far as it can be wrong.
#[derive(Clone, Debug, Default)]
pub struct OperatorRows {
    /// Operators' tokens.
    pub tokens: Vec<OperatorToken>,
    /// The tokens with which the console's sessions were opened.
    pub console: Vec<OperatorTokenId>,
    /// How many entries of the audit tell of something that nobody does, or of nobody.
    pub strange_entries: u64,
    /// Whether the audit refuses to be changed.
    pub is_guarded: bool,
}

/// One session's row.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub customer: CustomerKey,
    /// Its revision.
    pub revision: i64,
    /// Its phase, or why that can't be read.
    pub phase: Result<Phase, String>,
    /// How many bytes of token hashes it has.
    pub token_bytes: usize,
    /// The `DATA` in the row; `None` if a file holds it, and in the history. Else what is wrong with it, if anything.
    pub inline_data: Option<Result<(), String>>,
    /// The name of the file that holds the `DATA`; empty in the history.
    pub data_file: Option<String>,
    /// The key with which it was created.
    pub creation_key: Option<[u8; 32]>,
}

/// The schema's version that this binary writes.
pub const VERSION: i64 = schema::VERSION;

/// The session whose data file has this name, and whether it is finished; nothing if the store gives no file such a name.
pub fn data_file(path: &Path) -> Option<(SessionId, bool)> {
    DataFile::of(path).map(|(file, is_finished)| (file.session, is_finished))
}

/// Reads everything in one transaction.
///
/// # Errors
/// What the system or SQLite said when the file could not be opened at all.
pub fn read(path: &Path) -> Result<Tables, StoreError> {
    let connection = open(path)?;
    connection.execute_batch("BEGIN").map_err(file::unavailable)?;
    let mut tables = Tables::default();
    if let Err(error) = fill(&connection, &mut tables) {
        tables.faults.push(error.to_string());
    }
    Ok(tables)
}

/// Where the desk's timeline stood last; nothing if that can't be read, or there is no store yet.
pub fn heartbeat(directory: &Path) -> Option<Heartbeat> {
    let database = DataPaths::new(directory).database();
    let connection = database.exists().then(|| open(&database).ok())??;
    serde_json::from_slice(&meta(&connection, "heartbeat").ok()??).ok()
}

/// How many customers the embedded credential server has; nothing if that can't be read, or there is no store yet.
pub fn customer_count(directory: &Path) -> Option<i64> {
    let database = DataPaths::new(directory).database();
    let connection = database.exists().then(|| open(&database).ok())??;
    connection.query_row("SELECT count(*) FROM customers", [], |row| row.get(0)).ok()
}

/// The names of the files that hold live sessions' data.
pub(crate) fn data_file_names(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let query = "SELECT id, data_version FROM sessions WHERE data IS NULL AND id NOT IN (SELECT id FROM given_up)";
    let mut statement = connection.prepare(query).map_err(file::unavailable)?;
    let rows = statement.query_map([], |row| {
        let (session, version): (_, Option<i64>) = (SessionId::from_bytes(row.get(0)?), row.get(1)?);
        Ok(version.map(|version| DataFile { session, version }.name()))
    });
    let names = rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(file::unavailable)?;
    Ok(names.into_iter().flatten().collect())
}

/// The names of the kept logs of sessions that failed.
pub(crate) fn kept_log_names(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection
        .prepare("SELECT id, phase FROM history WHERE instr(phase, 'log_bytes')")
        .map_err(file::unavailable)?;
    let rows = statement.query_map([], |row| {
        let (session, phase): (_, String) = (SessionId::from_bytes(row.get(0)?), row.get(1)?);
        let phase = serde_json::from_str::<Phase>(&phase).ok();
        Ok(phase.and_then(|phase| phase.kept_log()).map(|_| KeptLog::name(session)))
    });
    let names = rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(file::unavailable)?;
    Ok(names.into_iter().flatten().collect())
}

/// Opens a file of the data directory for looking only; nothing is made beside it.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    if Path::new(&log).exists() {
        return file::open_reader(path);
    }
    let name =
        percent_encoding::percent_encode(path.as_os_str().as_encoded_bytes(), percent_encoding::NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let address = format!("file:{}?immutable=1", name.to_string().replace("%2F", "/"));
    Connection::open_with_flags(address, flags).map_err(file::unavailable)
}

fn fill(connection: &Connection, tables: &mut Tables) -> Result<(), StoreError> {
    tables.version = file::version(connection)?;
    if tables.version != VERSION {
        return Ok(());
    }
    match integrity(connection) {
        Ok(faults) => tables.faults.extend(faults),
        // The check ends where a page can't be read at all.
        Err(error) => tables.faults.push(error.cause()),
    }
    tables.desk = meta(connection, "desk_id")?.and_then(|bytes| String::from_utf8(bytes).ok());
    tables.heartbeat = meta(connection, "heartbeat")?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let faults = &mut tables.faults;
    // Each by itself: the damage of one concerns none of the others.
    let mut live = sessions(connection, "sessions", "data, data_version", faults);
    let given_up = part("given_up", given_up::all(connection), faults);
    live.retain(|row| !given_up.contains(&row.id));
    tables.live = live;
    tables.history = sessions(connection, "history", "NULL, NULL", faults);
    tables.noted = part("requests", noted(connection), faults);
    let mut found = Vec::new();
    let customers = customers::all(connection, |why| found.push(why.to_owned()));
    tables.customers = part("customers", customers, faults);
    let tokens = operators::tokens(connection, |why| found.push(why.to_owned()));
    tables.operators = OperatorRows {
        tokens: part("operator_tokens", tokens, faults),
        console: part("console_sessions", operators::console_tokens(connection), faults),
        strange_entries: part("audit", audit::strange_entries(connection), faults),
        is_guarded: audit::is_guarded(connection)?,
    };
    faults.append(&mut found);
    Ok(())
}

/// What was read of a table, or nothing and a fault.
fn part<T: Default>(table: &str, read: Result<T, StoreError>, faults: &mut Vec<String>) -> T {
    read.unwrap_or_else(|error| {
        faults.push(format!("its table {table}: {}", error.cause()));
        T::default()
    })
}

/// What SQLite finds wrong in an open file, in words.
pub(crate) fn integrity(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut check = connection.prepare("PRAGMA integrity_check(20)").map_err(file::unavailable)?;
    let messages = check.query_map([], |row| row.get::<_, String>(0)).map_err(file::unavailable)?;
    let messages: Vec<_> = messages.collect::<rusqlite::Result<_>>().map_err(file::unavailable)?;
    Ok(messages.into_iter().filter(|message| message != "ok").collect())
}

fn noted(connection: &Connection) -> Result<Vec<SessionId>, StoreError> {
    let mut statement = connection.prepare("SELECT DISTINCT session FROM requests").map_err(file::unavailable)?;
    let rows = statement.query_map([], |row| row.get(0).map(SessionId::from_bytes)).map_err(file::unavailable)?;
    rows.collect::<rusqlite::Result<_>>().map_err(file::unavailable)
}

fn sessions(connection: &Connection, table: &str, data: &str, faults: &mut Vec<String>) -> Vec<SessionRow> {
    let query = format!("SELECT id, customer, revision, phase, length(tokens), creation_key, {data} FROM {table}");
    let mut sessions = Vec::new();
    if let Err(error) = read_sessions(connection, &query, &mut sessions, table, faults) {
        faults.push(format!("its table {table}: {}", error.cause()));
        sessions.clear();
        sessions_one_by_one(connection, &query, &mut sessions, table, faults);
    }
    sessions
}

/// The same where a page of the table is damaged: the index of ids tells which rows there are.
fn sessions_one_by_one(
    connection: &Connection,
    query: &str,
    sessions: &mut Vec<SessionRow>,
    table: &str,
    faults: &mut Vec<String>,
) {
    let ids = connection.prepare(&format!("SELECT id FROM {table} INDEXED BY sqlite_autoindex_{table}_1")).and_then(
        |mut statement| {
            let ids = statement.query_map([], |row| row.get(0).map(SessionId::from_bytes))?;
            ids.collect::<rusqlite::Result<Vec<_>>>()
        },
    );
    for id in part("the index of its ids", ids.map_err(file::unavailable), faults) {
        let own = format!("{query} WHERE id = x'{}'", uuid::Uuid::from_bytes(*id.as_bytes()).simple());
        if let Err(error) = read_sessions(connection, &own, sessions, table, faults) {
            faults.push(format!("session {id} in its table {table}: {}", error.cause()));
        }
    }
}

fn read_sessions(
    connection: &Connection,
    query: &str,
    sessions: &mut Vec<SessionRow>,
    table: &str,
    faults: &mut Vec<String>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(query).map_err(file::unavailable)?;
    let mut rows = statement.query([]).map_err(file::unavailable)?;
    while let Some(row) = rows.next().map_err(file::unavailable)? {
        match session(row) {
            Ok(session) => sessions.push(session),
            Err(error) => faults.push(format!("a row of its table {table} can't be read: {error}")),
        }
    }
    Ok(())
}

fn session(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    let id: [u8; 16] = row.get(0)?;
    let customer: String = row.get(1)?;
    let phase: String = row.get(3)?;
    let id = SessionId::from_bytes(id);
    let data = row.get_ref(6)?.as_blob_or_null()?;
    let version = row.get::<_, Option<i64>>(7)?.filter(|_| data.is_none());
    Ok(SessionRow {
        id,
        customer: CustomerKey::new(&customer),
        revision: row.get(2)?,
        phase: serde_json::from_str(&phase).map_err(|error| error.to_string()),
        token_bytes: usize::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
        inline_data: data.map(check_data),
        data_file: version.map(|version| DataFile { session: id, version }.name()),
        creation_key: row.get(5)?,
    })
}

/// Whether `DATA` is what a creation takes: one JSON object.
///
/// # Errors
/// What is wrong with it, without any of it.
pub fn check_data(bytes: &[u8]) -> Result<(), String> {
    use crate::json::JsonError;
    match crate::json::check(bytes) {
        Ok(()) if bytes.trim_ascii_start().starts_with(b"{") => Ok(()),
        Ok(()) => Err("it is JSON, but no object".into()),
        // The names of keys are the customer's own business.
        Err(JsonError::DuplicateKey(_) | JsonError::DuplicateLongKey(_)) => {
            Err("a key stands twice in one object".into())
        }
        Err(error @ (JsonError::Malformed(_) | JsonError::TooDeep | JsonError::NoMemory)) => Err(error.to_string()),
    }
}
