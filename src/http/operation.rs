//! What a route's call looks like from outside: the words and schemas from which its document is made.
//!
//! Each handler's file has one [`Operation`] beside its handler. What follows from the route itself - who may call, the
//! refusals of every body, every token, every session - is not written here; `openapi` adds it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::code::Code;

/// A call, described.
pub struct Operation {
    /// Its name in generated clients, in camel case; unique.
    pub id: &'static str,
    /// The chapter of the reference that it stands in.
    pub tag: Tag,
    /// A few words.
    pub summary: &'static str,
    /// What somebody who calls it wants to know, in Markdown.
    pub description: &'static str,
    /// The query's parameters: the properties of an object.
    pub query: Option<SchemaOf>,
    /// Headers that the call looks at.
    pub headers: &'static [Header],
    /// The request's body, if it takes one.
    pub body: Option<Body>,
    /// The answers of success.
    pub answers: &'static [Answer],
    /// The refusals that are its own.
    pub problems: &'static [Code],
}

/// What a call asks for, if it takes a part in the admission of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A session.
    ForSession,
    /// The agent of a session.
    ForAgent,
}

/// A chapter of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Sessions and what is done with them.
    Sessions,
    /// What sessions and agents say.
    Events,
    /// Customers and their passwords.
    Customers,
    /// Operators: tokens, the console, the audit.
    Operators,
    /// The server itself.
    Server,
}

/// Makes a type's schema, and notes the types that it refers to.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A header of a request or an answer.
pub struct Header {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Its schema.
    pub schema: SchemaOf,
}

impl Header {
    /// A header that may be any text.
    pub const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, description, schema: text }
    }

    /// A header that is a whole number from 0.
    pub const fn number(name: &'static str, description: &'static str) -> Self {
        Self { name, description, schema: number }
    }

    /// The header under which a call may be sent again.
    pub const fn idempotency_key(description: &'static str) -> Self {
        Self { name: "Idempotency-Key", description, schema: key }
    }
}

/// Any text.
pub fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
}

/// What a name of one's own looks like in a header.
fn key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 })
}

/// A request's body.
pub struct Body {
    /// Whether the call is refused without one.
    pub required: bool,
    /// The media types and their schemas.
    pub contents: &'static [Content],
}

/// An answer of success.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When it is given, and what it says.
    pub description: &'static str,
    /// The media types and their schemas; none if it has no body.
    pub contents: &'static [Content],
    /// The headers that it carries.
    pub headers: &'static [Header],
}

/// A body in one media type.
pub struct Content {
    /// The media type.
    pub media_type: &'static str,
    /// Its schema.
    pub schema: SchemaOf,
}

impl Content {
    /// JSON of a type.
    pub const fn json(schema: SchemaOf) -> Self {
        Self { media_type: "application/json", schema }
    }
}

impl Tag {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 5] = [Self::Sessions, Self::Events, Self::Customers, Self::Operators, Self::Server];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Events => "Events and logs",
            Self::Customers => "Customers",
            Self::Operators => "Operators",
            Self::Server => "The server",
        }
    }

    /// What it is about, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Sessions => "A session is one customer's use of one agent, from the request to its end.",
            Self::Events => "What sessions go through and what their agents say, as it happens and afterwards.",
            Self::Customers => "The accounts of the embedded credential server.",
            Self::Operators => "Operators' tokens, the console's sign-in, and the audit.",
            Self::Server => "The server's health, and its personas.",
        }
    }
}
