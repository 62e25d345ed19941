//! The rows of customers. Each function is one change inside the writer's transaction, or a look.

use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use crate::clock::WallTime;
use crate::id::{CustomerKey, Printable};
use crate::store::{Customer, Damage, StoreError};

use super::file::unavailable;

const COLUMNS: &str = "key, email, password_hash, created, disabled";

/// Adds a customer.
pub(super) fn add(connection: &Connection, customer: &Customer) -> Result<(), StoreError> {
    connection
        .execute(
            &format!("INSERT INTO customers ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"),
            params![
                customer.key.as_str(),
                customer.email,
                customer.password_hash,
                customer.created.unix_millis(),
                customer.disabled.map(WallTime::unix_millis)
            ],
        )
        .map_err(unavailable)?;
    Ok(())
}

/// The customer with this key.
pub(super) fn find(connection: &Connection, key: &CustomerKey) -> Result<Option<Customer>, StoreError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM customers WHERE key = ?1"))
        .and_then(|mut statement| statement.query_row([key.as_str()], read).optional())
        .map_err(unavailable)
}

/// Replaces the password's hash; with `expect`, only if it is still that one.
pub(super) fn set_password(
    connection: &Connection,
    key: &CustomerKey,
    hash: &str,
    expect: Option<&str>,
) -> Result<(), StoreError> {
    let changed = connection
        .execute(
            "UPDATE customers SET password_hash = ?2 WHERE key = ?1 AND (?3 IS NULL OR password_hash = ?3)",
            params![key.as_str(), hash, expect],
        )
        .map_err(unavailable)?;
    match changed {
        0 if find(connection, key)?.is_none() => Err(StoreError::Missing),
        0 => Err(StoreError::Conflict),
        _ => Ok(()),
    }
}

/// Disables a customer since then, or since it was before; or enables it.
pub(super) fn set_disabled(
    connection: &Connection,
    key: &CustomerKey,
    since: Option<WallTime>,
) -> Result<(), StoreError> {
    let changed = connection
        .execute(
            "UPDATE customers SET disabled = iif(?2 IS NULL, NULL, coalesce(disabled, ?2)) WHERE key = ?1",
            params![key.as_str(), since.map(WallTime::unix_millis)],
        )
        .map_err(unavailable)?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Missing) }
}

/// Removes a customer.
pub(super) fn remove(connection: &Connection, key: &CustomerKey) -> Result<(), StoreError> {
    let removed = connection.execute("DELETE FROM customers WHERE key = ?1", [key.as_str()]).map_err(unavailable)?;
    if removed == 1 { Ok(()) } else { Err(StoreError::Missing) }
}

/// Up to `most` customers after a key, in the order of their keys. One that can't be read is noted as damage.
pub(super) fn page(
    connection: &Connection,
    after: Option<&CustomerKey>,
    most: usize,
    damage: &Damage,
) -> Result<Vec<Customer>, StoreError> {
    page_or_each(connection, after, most, |why| damage.note(why))
}

/// All customers that can be read; of each other one it is told why not.
pub(super) fn all(connection: &Connection, damaged: impl FnMut(&str)) -> Result<Vec<Customer>, StoreError> {
    page_or_each(connection, None, usize::MAX, damaged)
}

fn page_or_each(
    connection: &Connection,
    after: Option<&CustomerKey>,
    most: usize,
    mut damaged: impl FnMut(&str),
) -> Result<Vec<Customer>, StoreError> {
    let query = format!("SELECT {COLUMNS} FROM customers WHERE ?1 IS NULL OR key > ?1 ORDER BY key");
    let mut statement = connection.prepare_cached(&query).map_err(unavailable)?;
    let mut customers = Vec::new();
    let rows = statement.query([after.map(CustomerKey::as_str)]).map_err(unavailable)?;
    match readable(&mut customers, rows, most, &mut damaged) {
        Err(StoreError::Malformed(why)) => {
            damaged(&format!("the table of customers: {why}"));
            one_by_one(connection, after, most, damaged)
        }
        read => read.map(|()| customers),
    }
}

/// The same where a page of the table is damaged: an index tells which customers there are, and each is read by itself.
fn one_by_one(
    connection: &Connection,
    after: Option<&CustomerKey>,
    most: usize,
    mut damaged: impl FnMut(&str),
) -> Result<Vec<Customer>, StoreError> {
    let query = "SELECT key FROM customers INDEXED BY customers_by_age WHERE ?1 IS NULL OR key > ?1 ORDER BY key";
    let mut statement = connection.prepare_cached(query).map_err(unavailable)?;
    let mut keys = statement.query([after.map(CustomerKey::as_str)]).map_err(unavailable)?;
    let mut customers = Vec::new();
    while customers.len() < most {
        let Some(row) = keys.next().map_err(unavailable)? else { break };
        let Ok(key) = row.get::<_, String>(0).map(|key| CustomerKey::new(&key)) else { continue };
        match find(connection, &key) {
            Ok(customer) => customers.extend(customer),
            Err(error) if error.is_damage() => damaged(&format!("customer {key}: {}", error.cause())),
            Err(error) => return Err(error),
        }
    }
    Ok(customers)
}

fn readable(
    customers: &mut Vec<Customer>,
    mut rows: Rows<'_>,
    most: usize,
    mut damaged: impl FnMut(&str),
) -> Result<(), StoreError> {
    while customers.len() < most {
        let Some(row) = rows.next().map_err(unavailable)? else { break };
        match read(row) {
            Ok(customer) => customers.push(customer),
            Err(error) => {
                let key =
                    row.get_ref(0).map(|key| String::from_utf8_lossy(key.as_bytes().unwrap_or_default()).into_owned());
                damaged(&format!("customer {}: {error}", Printable(&key.unwrap_or_default())));
            }
        }
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Customer> {
    let key: String = row.get(0)?;
    Ok(Customer {
        key: CustomerKey::new(&key),
        email: row.get(1)?,
        password_hash: row.get(2)?,
        created: WallTime::from_unix_millis(row.get(3)?),
        disabled: row.get::<_, Option<i64>>(4)?.map(WallTime::from_unix_millis),
    })
}
