//! Lists, a page at a time.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many items a page has at most: 1 to 1000. Default 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u16);

const MOST: u16 = 1_000;

impl Limit {
    /// One more than the page has: whether there is that one says whether another page follows.
    pub(super) fn and_one(self) -> usize {
        usize::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = u16::deserialize(deserializer)?;
        if (1..=MOST).contains(&limit) { Ok(Self(limit)) } else { Err(D::Error::custom("`limit` is 1 to 1000")) }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST })
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page out of what was found, of which [`Limit::and_one`] were asked for. `cursor` names the place of an item.
    pub(super) fn of(mut found: Vec<T>, limit: Limit, cursor: impl Fn(&T) -> String) -> Self {
        let goes_on = found.len() > usize::from(limit.0);
        found.truncate(usize::from(limit.0));
        let next = found.last().filter(|_| goes_on).map(cursor);
        Self { items: found, next }
    }

    /// The same page of what is shown of its items.
    pub(super) fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(show).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one_if_there_is_more() {
        let (limit, cursor) = (Limit(2), |item: &u32| item.to_string());
        let page = Page::of(vec![3, 2, 1], limit, cursor);
        assert_eq!((page.items, page.next), (vec![3, 2], Some("2".to_owned())));
        assert_eq!(Page::of(vec![3, 2], limit, cursor).next, None);
        assert_eq!(Page::of(Vec::new(), limit, cursor).next, None);
    }

    #[test]
    fn a_page_has_1_to_1000_items() {
        #[derive(Deserialize)]
        struct Query {
            #[serde(default)]
            limit: Limit,
        }
        let read = |query: &str| serde_urlencoded::from_str::<Query>(query).map(|query| query.limit.0).ok();
        for (query, limit) in [("limit=1", Some(1)), ("limit=1000", Some(1_000)), ("", Some(100))] {
            assert_eq!(read(query), limit);
        }
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=", "limit=1.0"] {
            assert_eq!(read(query), None, "{query}");
        }
    }
}
