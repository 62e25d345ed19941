//! What the desk says, read from a line. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Failure, Session};

/// One message of the desk's.
#[derive(Debug)]
pub(super) enum Message {
    Initialize {
        id: u64,
        params: Result<Session, Failure>,
    },
    Request {
        id: u64,
        value: Box<RawValue>,
    },
    Cancel {
        id: u64,
    },
    Ping {
        id: u64,
    },
    Shutdown,
    /// A call of a later protocol.
    Unknown {
        id: u64,
    },
    /// An empty line, or a notification of a later protocol.
    Nothing,
    Malformed,
}

#[derive(Deserialize)]
struct Wire<'a> {
    id: Option<u64>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Params {
    request: Option<Box<RawValue>>,
    id: Option<u64>,
}

impl Message {
    /// Reads a line, with or without its end.
    pub(super) fn read(line: &[u8]) -> Self {
        if line.trim_ascii().is_empty() {
            return Self::Nothing;
        }
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(line) else { return Self::Malformed };
        let text = wire.params.map_or("{}", RawValue::get);
        let params = || serde_json::from_str::<Params>(text).unwrap_or_default();
        match (wire.method.as_str(), wire.id) {
            ("initialize", Some(id)) => Self::Initialize { id, params: Session::read(text) },
            ("request", Some(id)) => match params().request {
                Some(value) => Self::Request { id, value },
                None => Self::Request { id, value: RawValue::NULL.to_owned() },
            },
            ("ping", Some(id)) => Self::Ping { id },
            ("cancel", None) => params().id.map_or(Self::Nothing, |id| Self::Cancel { id }),
            ("shutdown", _) => Self::Shutdown,
            (_, Some(id)) => Self::Unknown { id },
            (_, None) => Self::Nothing,
        }
    }
}
