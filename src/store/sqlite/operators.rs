//! Operators' tokens and the console's sessions, in the tables `operator_tokens` and `console_sessions`.

use std::future::ready;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::clock::{Timestamp, WallTime};
use crate::id::Printable;
use crate::principal::{OperatorTokenId, Scope};
use crate::store::{Answer, ConsoleSession, OperatorToken, Operators, StoreError};
use crate::token::TokenHash;

use super::SqliteStore;
use super::file::unavailable;
use super::writer::Needs;

impl Operators for SqliteStore {
    fn add_operator_token(&self, token: OperatorToken) -> Answer<'_, ()> {
        self.run(Needs::Room, move |connection| add_token(connection, &token))
    }

    fn operator_token(&self, id: OperatorTokenId) -> Answer<'_, Option<OperatorToken>> {
        if let Some(token) = self.tokens.get(id) {
            return Box::pin(ready(Ok(Some(token))));
        }
        let tokens = Arc::clone(&self.tokens);
        self.read(move |connection| {
            let token = token(connection, id)?;
            token.iter().for_each(|token| tokens.keep(token));
            Ok(token)
        })
    }

    fn operator_tokens(&self) -> Answer<'_, Vec<OperatorToken>> {
        let damage = Arc::clone(&self.damage);
        self.read(move |connection| tokens(connection, |why| damage.note(why)))
    }

    fn revoke_operator_token(&self, id: OperatorTokenId, at: WallTime) -> Answer<'_, ()> {
        let tokens = Arc::clone(&self.tokens);
        self.run(Needs::NoRoom, move |connection| {
            tokens.about_to_be_revoked(id);
            revoke_token(connection, id, at)
        })
    }

    fn add_console_session(&self, session: ConsoleSession, forget_before: Timestamp) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| add_session(connection, &session, forget_before))
    }

    fn console_session(&self, secret: TokenHash) -> Answer<'_, Option<ConsoleSession>> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT secret, token, opened, seen FROM console_sessions WHERE secret = ?1")
                .and_then(|mut statement| statement.query_row([secret.0], read_session).optional())
                .map_err(unavailable)
        })
    }

    fn saw_console_session(&self, secret: TokenHash, at: Timestamp) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| {
            connection
                .prepare_cached("UPDATE console_sessions SET seen = max(seen, ?2) WHERE secret = ?1")
                .and_then(|mut statement| statement.execute(params![secret.0, at.micros()]))
                .map_err(unavailable)?;
            Ok(())
        })
    }

    fn end_console_session(&self, secret: TokenHash) -> Answer<'_, ()> {
        self.run(Needs::NoRoom, move |connection| {
            connection
                .prepare_cached("DELETE FROM console_sessions WHERE secret = ?1")
                .and_then(|mut statement| statement.execute([secret.0]))
                .map_err(unavailable)?;
            Ok(())
        })
    }
}

const TOKEN: &str = "id, name, scopes, hash, created, expires, revoked";

fn add_token(connection: &Connection, token: &OperatorToken) -> Result<(), StoreError> {
    // The index of names that are in use refuses a second one.
    connection
        .execute(
            &format!("INSERT INTO operator_tokens ({TOKEN}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            params![
                token.id.as_bytes(),
                token.name,
                scopes_text(&token.scopes),
                token.hash.0,
                token.created.unix_millis(),
                token.expires.map(WallTime::unix_millis),
                token.revoked.map(WallTime::unix_millis),
            ],
        )
        .map_err(unavailable)?;
    Ok(())
}

fn token(connection: &Connection, id: OperatorTokenId) -> Result<Option<OperatorToken>, StoreError> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {TOKEN} FROM operator_tokens WHERE id = ?1"))
        .map_err(unavailable)?;
    let mut rows = statement.query([id.as_bytes()]).map_err(unavailable)?;
    rows.next().map_err(unavailable)?.map(read_token).transpose()
}

/// All tokens that can be read, the oldest first; of each other one it is told why not.
pub(super) fn tokens(connection: &Connection, mut damaged: impl FnMut(&str)) -> Result<Vec<OperatorToken>, StoreError> {
    let mut tokens = Vec::new();
    match all_at_once(connection, &mut tokens, &mut damaged) {
        Err(StoreError::Malformed(why)) => {
            damaged(&format!("the table of operators' tokens: {why}"));
            one_by_one(connection, damaged)
        }
        read => read.map(|()| tokens),
    }
}

fn all_at_once(
    connection: &Connection,
    tokens: &mut Vec<OperatorToken>,
    mut damaged: impl FnMut(&str),
) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare(&format!("SELECT {TOKEN} FROM operator_tokens ORDER BY id")).map_err(unavailable)?;
    let mut rows = statement.query([]).map_err(unavailable)?;
    while let Some(row) = rows.next().map_err(unavailable)? {
        match read_token(row) {
            Ok(token) => tokens.push(token),
            Err(error) => damaged(&error.cause()),
        }
    }
    Ok(())
}

/// The same where a page of the table is damaged: an index tells which tokens there are, and each is read by itself.
fn one_by_one(connection: &Connection, mut damaged: impl FnMut(&str)) -> Result<Vec<OperatorToken>, StoreError> {
    let query = "SELECT id FROM operator_tokens INDEXED BY operator_tokens_by_age ORDER BY id";
    let mut statement = connection.prepare(query).map_err(unavailable)?;
    let mut ids = statement.query([]).map_err(unavailable)?;
    let mut tokens = Vec::new();
    while let Some(row) = ids.next().map_err(unavailable)? {
        let Ok(id) = row.get(0).map(OperatorTokenId::from_bytes) else { continue };
        match token(connection, id) {
            Ok(token) => tokens.extend(token),
            Err(error) if error.is_damage() => damaged(&format!("the operator's token {id}: {}", error.cause())),
            Err(error) => return Err(error),
        }
    }
    Ok(tokens)
}

/// The tokens with which the console's sessions were opened.
pub(super) fn console_tokens(connection: &Connection) -> Result<Vec<OperatorTokenId>, StoreError> {
    connection
        .prepare("SELECT token FROM console_sessions")
        .and_then(|mut statement| {
            let tokens = statement.query_map([], |row| row.get(0).map(OperatorTokenId::from_bytes))?;
            tokens.collect()
        })
        .map_err(unavailable)
}

fn revoke_token(connection: &Connection, id: OperatorTokenId, at: WallTime) -> Result<(), StoreError> {
    let found = connection
        .execute(
            "UPDATE operator_tokens SET revoked = ifnull(revoked, ?2) WHERE id = ?1",
            params![id.as_bytes(), at.unix_millis()],
        )
        .map_err(unavailable)?;
    if found == 0 {
        return Err(StoreError::Missing);
    }
    connection.execute("DELETE FROM console_sessions WHERE token = ?1", [id.as_bytes()]).map_err(unavailable)?;
    Ok(())
}

fn add_session(connection: &Connection, session: &ConsoleSession, forget_before: Timestamp) -> Result<(), StoreError> {
    let token = token(connection, session.token)?.ok_or(StoreError::Missing)?;
    if token.revoked.is_some() {
        // It was revoked while somebody signed in with it: nobody would end this session.
        return Err(StoreError::Conflict);
    }
    connection
        .execute("DELETE FROM console_sessions WHERE seen < ?1", [forget_before.micros()])
        .and_then(|_| {
            connection.execute(
                "INSERT INTO console_sessions (secret, token, opened, seen) VALUES (?1, ?2, ?3, ?4)",
                params![session.secret.0, session.token.as_bytes(), session.opened.micros(), session.seen.micros()],
            )
        })
        .map_err(unavailable)?;
    Ok(())
}

fn read_token(row: &Row<'_>) -> Result<OperatorToken, StoreError> {
    let damaged = |error: &dyn std::fmt::Display| {
        let name = row.get_ref(1).ok().and_then(|name| name.as_str().ok()).unwrap_or("without a readable name");
        StoreError::Corrupt(format!("the operator's token {}: {error}", Printable(name)))
    };
    let scopes: String = row.get(2).map_err(|error| damaged(&error))?;
    let read = |row: &Row<'_>| {
        Ok(OperatorToken {
            id: OperatorTokenId::from_bytes(row.get(0)?),
            name: row.get(1)?,
            scopes: Vec::new(),
            hash: TokenHash(row.get(3)?),
            created: WallTime::from_unix_millis(row.get(4)?),
            expires: row.get::<_, Option<i64>>(5)?.map(WallTime::from_unix_millis),
            revoked: row.get::<_, Option<i64>>(6)?.map(WallTime::from_unix_millis),
        })
    };
    let token = read(row).map_err(|error: rusqlite::Error| damaged(&error))?;
    Ok(OperatorToken { scopes: read_scopes(&scopes).map_err(|error| damaged(&error))?, ..token })
}

fn read_session(row: &Row<'_>) -> rusqlite::Result<ConsoleSession> {
    Ok(ConsoleSession {
        secret: TokenHash(row.get(0)?),
        token: OperatorTokenId::from_bytes(row.get(1)?),
        opened: Timestamp::from_micros(row.get(2)?),
        seen: Timestamp::from_micros(row.get(3)?),
    })
}

fn scopes_text(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" ")
}

fn read_scopes(text: &str) -> Result<Vec<Scope>, crate::principal::UnknownScope> {
    text.split_ascii_whitespace().map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::super::conditions::plan;
    use super::*;

    #[test]
    fn what_is_looked_up_or_forgotten_is_found_by_an_index() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::schema::open(&directory.path().join("store.db")).unwrap();
        let plan = |query: &str| plan(&connection, query);
        let found = |table: &str, how: &str| format!("SEARCH {table} USING {how}");
        assert_eq!(plan("SELECT 1 FROM operator_tokens WHERE id = ?"), found("operator_tokens", "PRIMARY KEY (id=?)"));
        assert_eq!(
            plan("SELECT seen FROM console_sessions WHERE secret = ?"),
            found("console_sessions", "PRIMARY KEY (secret=?)")
        );
        for (condition, how) in [
            ("token = ?", "COVERING INDEX console_sessions_by_token (token=?)"),
            ("seen < ?", "COVERING INDEX console_sessions_by_last_use (seen<?)"),
        ] {
            let plan = plan(&format!("DELETE FROM console_sessions WHERE {condition}"));
            assert!(
                plan.starts_with(&found("console_sessions", how).replace("COVERING ", ""))
                    || plan == found("console_sessions", how),
                "{plan}"
            );
        }
        assert_eq!(plan(&format!("SELECT {TOKEN} FROM operator_tokens ORDER BY id")), "SCAN operator_tokens");
    }
}
