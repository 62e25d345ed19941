//! The conditions of a query, each with the value that it compares with.

use rusqlite::types::Value;

/// Conditions that must all hold. A `?` in them stands for the next of the values.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Begins with this condition.
    pub(super) fn new(condition: &str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { text: condition.to_owned(), values: values.into_iter().collect() }
    }

    /// Adds a condition, if there is a value for it.
    #[must_use]
    pub(super) fn and(mut self, condition: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.text.push_str(" AND ");
            self.text.push_str(condition);
            self.values.push(value.into());
        }
        self
    }

    /// The conditions as SQL.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands for each `?`: the conditions' values, and then how many rows are wanted.
    pub(super) fn into_values(self, most: usize) -> impl Iterator<Item = Value> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.values.into_iter().chain([Value::Integer(most)])
    }
}

/// How SQLite would answer a query, in its own words.
#[cfg(test)]
pub(super) fn plan(connection: &rusqlite::Connection, query: &str) -> String {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
    let (mut steps, mut rows) = (Vec::new(), explained.raw_query());
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps.join("; ")
}
