//! Whose password an attempt is for, and where it comes from.
//!
//! An account is always counted under its canonical email, so that other spellings of it gain a guesser nothing. Under
//! a remote credential server two spellings may be two customers; these share their counts. What one of them has earned
//! by signing in, a known address or a proof, is that one's alone.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::credential::email::canonical;
use crate::id::CustomerKey;

/// Whose password is guessed. A customer and an operator of one name are two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account<'a> {
    kind: Kind,
    name: Cow<'a, str>,
    identity: &'a str,
}

/// Which accounts a name is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A customer's, by the canonical email.
    Customer,
    /// An operator's, by the id of the token.
    Operator,
}

impl<'a> Account<'a> {
    /// The customer with this key: the email in the form that tells customers apart.
    pub fn customer(key: &'a str) -> Self {
        Self { kind: Kind::Customer, name: canonical(key), identity: key }
    }

    /// Whoever signs in with the operator's token of this id; or with none that could be one.
    pub fn operator(token: &'a str) -> Self {
        Self { kind: Kind::Operator, name: Cow::Borrowed(token), identity: token }
    }

    /// What its name is the name of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The canonical email, or the token's id: what failures count for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The customer's key, or the token's id: who has signed in.
    pub fn identity(&self) -> &str {
        self.identity
    }
}

impl<'a> From<&'a str> for Account<'a> {
    fn from(email: &'a str) -> Self {
        Self::customer(email)
    }
}

impl<'a> From<&'a String> for Account<'a> {
    fn from(email: &'a String) -> Self {
        Self::customer(email)
    }
}

impl<'a> From<&'a CustomerKey> for Account<'a> {
    fn from(customer: &'a CustomerKey) -> Self {
        Self::customer(customer.as_str())
    }
}

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The address.
    pub address: IpAddr,
    /// Whether that is a proxy's, through which everybody comes, so that it says nothing about the customer.
    pub is_proxy: bool,
    /// What shows that a known customer sends it.
    pub proof: Option<Proof>,
}

/// What only a customer who has signed in before can show: a device cookie, or the token of a live session. Whoever
/// makes one has checked that it belongs to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub [u8; 32]);

impl Sender {
    /// An address of the customer's own, or one that few share.
    pub fn address(address: IpAddr) -> Self {
        Self { address, is_proxy: false, proof: None }
    }

    /// A proxy. It alone knows the customers' addresses, and can limit them.
    pub fn proxy(address: IpAddr) -> Self {
        Self { address, is_proxy: true, proof: None }
    }

    /// The same, with a proof.
    #[must_use]
    pub fn with_proof(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }
}

impl From<IpAddr> for Sender {
    fn from(address: IpAddr) -> Self {
        Self::address(address)
    }
}
