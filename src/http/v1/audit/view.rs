//! The audit as `/v1` shows it.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::SessionId;
use crate::store::{Action, Actor, AuditCursor, AuditEntry};

/// One thing that somebody did, or tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct EntryView {
    /// When, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// Who.
    pub actor: ActorView,
    /// What.
    pub action: ActionName,
    /// To which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// To which customer, as the credential server in force knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// From which address; absent for a command on the server's machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub from: Option<IpAddr>,
    /// More, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Who did it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Actor")]
pub struct ActorView {
    /// What they are.
    pub kind: ActorKind,
    /// The name of the operator's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What somebody who did something is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A customer, by password or by a session's token.
    Customer,
    /// An operator, by token or at the console.
    Operator,
    /// Whoever may run commands as the server's own user.
    CommandLine,
    /// Somebody who did not prove who they are.
    Unknown,
}

impl From<AuditEntry> for EntryView {
    fn from(entry: AuditEntry) -> Self {
        let (kind, name) = match entry.actor {
            Actor::Customer => (ActorKind::Customer, None),
            Actor::Operator(name) => (ActorKind::Operator, Some(name)),
            Actor::CommandLine => (ActorKind::CommandLine, None),
            Actor::Unknown => (ActorKind::Unknown, None),
        };
        Self {
            at: entry.at.to_string(),
            actor: ActorView { kind, name },
            action: ActionName(entry.action),
            session: entry.session,
            customer: entry.customer.map(|key| key.as_str().to_owned()),
            from: entry.from,
            detail: Some(entry.detail).filter(|detail| !detail.is_empty()),
        }
    }
}

/// What was done, by its name.
#[derive(Clone, Copy, Debug)]
pub struct ActionName(pub Action);

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        Action::named(&name).map(Self).ok_or_else(|| D::Error::custom("`action` is not an action of the audit"))
    }
}

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl JsonSchema for ActionName {
    fn schema_name() -> Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// A place in the audit, as 48 hexadecimal digits: any such text is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub AuditCursor);

impl Cursor {
    pub(super) fn text(self) -> String {
        format!("{:016x}{:032x}", self.0.at, u128::from_be_bytes(self.0.tie))
    }

    fn read(text: &str) -> Option<Self> {
        let is_hex = text.len() == 48 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (at, tie) = text.split_at_checked(16).filter(|_| is_hex)?;
        let at = u64::from_str_radix(at, 16).ok()?.cast_signed();
        let tie = u128::from_str_radix(tie, 16).ok()?.to_be_bytes();
        Some(Self(AuditCursor { at, tie }))
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("`cursor` is not one of this server's"))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl JsonSchema for Cursor {
    fn schema_name() -> Cow<'static, str> {
        "AuditCursor".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{48}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(at: i64, tie: [u8; 16]) {
            let cursor = Cursor(AuditCursor { at, tie });
            prop_assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
        }

        #[test]
        fn any_48_digits_are_a_cursor_and_nothing_else_is(text in "[0-9a-f]{47,49}", other: String) {
            prop_assert_eq!(Cursor::read(&text).is_some(), text.len() == 48);
            prop_assert_eq!(Cursor::read(&other), None);
        }
    }
}
