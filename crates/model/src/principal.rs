//! Who calls, and what they may: customers by their session's token, operators by scopes. Pure.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::SessionId;
use crate::time::WallTime;

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// See sessions with their events and logs, personas and nodes.
    #[serde(rename = "sessions:read")]
    SessionsRead,
    /// Initialise, ask, stop and kill sessions; and see them.
    #[serde(rename = "sessions:write")]
    SessionsWrite,
    /// See, add, change and remove customers.
    #[serde(rename = "customers:write")]
    CustomersWrite,
    /// All of that, and operators' tokens and the audit.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 4] = [Self::SessionsRead, Self::SessionsWrite, Self::CustomersWrite, Self::Admin];

    /// Its name, as tokens, tables and documents spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionsRead => "sessions:read",
            Self::SessionsWrite => "sessions:write",
            Self::CustomersWrite => "customers:write",
            Self::Admin => "admin",
        }
    }

    /// Whether whoever has this scope may do what needs `other`.
    pub const fn includes(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::SessionsWrite => matches!(other, Self::SessionsRead | Self::SessionsWrite),
            Self::SessionsRead => matches!(other, Self::SessionsRead),
            Self::CustomersWrite => matches!(other, Self::CustomersWrite),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No scope has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope `{0}`; the scopes are sessions:read, sessions:write, customers:write and admin")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

/// The identity of an operator's token: a `UUIDv7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OperatorTokenId(Uuid);

impl OperatorTokenId {
    /// The id of a token that is made at `wall`, from ten random bytes.
    pub fn new(wall: WallTime, random: [u8; 10]) -> Self {
        let millis = u64::try_from(wall.unix_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Reads the sixteen bytes that [`OperatorTokenId::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes in network order.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for OperatorTokenId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for OperatorTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The authenticated side of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody said who they are.
    Nobody,
    /// Who holds the token of this session.
    Session(SessionId),
    /// An operator.
    Operator(Operator),
}

/// An operator, by token or by a console that was signed in to with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The token's identity.
    pub token: OperatorTokenId,
    /// Its name: what the audit says of who it was.
    pub name: String,
    /// What it may.
    pub scopes: Vec<Scope>,
}

impl Operator {
    /// Whether it may do what needs this scope.
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_by_its_name_and_includes_itself() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
            assert!(scope.includes(scope) && Scope::Admin.includes(scope));
        }
        assert!("sessions".parse::<Scope>().is_err());
    }

    #[test]
    fn who_may_change_sessions_may_see_them_and_nothing_else_follows() {
        let pairs = Scope::ALL.into_iter().flat_map(|one| Scope::ALL.map(|other| (one, other)));
        let wider: Vec<_> = pairs.filter(|(one, other)| one != other && one.includes(*other)).collect();
        assert_eq!(
            wider,
            [
                (Scope::SessionsWrite, Scope::SessionsRead),
                (Scope::Admin, Scope::SessionsRead),
                (Scope::Admin, Scope::SessionsWrite),
                (Scope::Admin, Scope::CustomersWrite),
            ]
        );
    }
}
