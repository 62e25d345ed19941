//! A session that asks to be admitted.

use std::net::IpAddr;

use crate::store::CheckedAccount;
use crate::token::TokenHash;

use super::record::{CreationKey, SessionData, SessionRecord};

/// A session that asks to be admitted.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The record with which it begins.
    pub record: SessionRecord,
    /// The customer's `DATA`.
    pub data: SessionData,
    /// The first token of the session.
    pub token: TokenHash,
    /// From where the request came, for the audit.
    pub origin: Option<IpAddr>,
    /// By which the call that creates it is known if it comes again.
    pub key: Option<CreationKey>,
    /// The account whose password was good; nothing if that was a remote credential server's to say.
    pub account: Option<CheckedAccount>,
}
