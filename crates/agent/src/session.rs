//! What `initialize` says of the session.

use std::fs;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Failure;

/// The session that an agent serves.
#[derive(Clone, Debug)]
pub struct Session {
    /// The customer's email, as the customer wrote it.
    pub email: String,
    /// The persona's name.
    pub persona: String,
    /// The session's id, the same for all agents of the session.
    pub session_id: String,
    /// How many agents were started for this session, this one included. Give it to whatever you write to elsewhere,
    /// so that a late write of an older agent can be told from yours.
    pub epoch: u32,
    /// What the customer gave as `DATA`, as JSON text.
    pub data: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Params {
    meta_data: Meta,
    session_data: Option<Box<RawValue>>,
    session_data_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Meta {
    email: String,
    persona_type: String,
    session_id: String,
    epoch: u32,
}

impl Session {
    /// Reads the params of `initialize`, and the file of large data if they name one.
    pub(super) fn read(params: &str) -> Result<Self, Failure> {
        let bad = |error: serde_json::Error| Failure::coded(Failure::BAD_FORM, &format!("initialize: {error}"));
        let params: Params = serde_json::from_str(params).map_err(bad)?;
        let data = match (params.session_data, params.session_data_file) {
            (Some(data), _) => data,
            (None, Some(path)) => {
                let text = fs::read_to_string(&path)
                    .map_err(|error| Failure::new(format!("the session's data in {path} can't be read: {error}")))?;
                RawValue::from_string(text).map_err(bad)?
            }
            (None, None) => RawValue::NULL.to_owned(),
        };
        let Meta { email, persona_type, session_id, epoch } = params.meta_data;
        Ok(Self { email, persona: persona_type, session_id, epoch, data })
    }

    /// The data as a type of yours.
    ///
    /// # Errors
    /// A [`Failure`] that says what is missing or of another type.
    pub fn read_data<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.data.get())
            .map_err(|error| Failure::coded(Failure::BAD_FORM, &format!("the session's DATA: {error}")))
    }
}
