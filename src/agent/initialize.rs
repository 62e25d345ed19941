//! What an agent is told first: about its session, and the customer's `DATA`.

use crate::session::{Reason, SessionData};

use super::{AgentSpec, Launcher};

/// Data above this many bytes is handed over as the name of a file, to agents that may read it.
const LARGEST_INLINE_DATA_BYTES: usize = 1 << 20;

/// The session's data as a field of `initialize`; it is read if it is not known.
pub(super) async fn data_field(
    launcher: &Launcher,
    spec: &AgentSpec,
    known: Option<SessionData>,
) -> Result<Vec<u8>, Reason> {
    let data = match known {
        Some(data) => Ok(Some(data)),
        None => launcher.store.data(spec.session).await,
    };
    let data = data.map_err(|error| Reason::new("its session data could not be read").with_detail(error))?;
    let path = match data {
        Some(SessionData::Inline(text)) => return Ok(field("SESSION_DATA", &text)),
        None => return Ok(field("SESSION_DATA", b"{}")),
        Some(SessionData::File(path)) => path,
    };
    // The agent may run in another directory.
    let path = std::path::absolute(&path).unwrap_or(path);
    let size = tokio::fs::metadata(&path).await.map(|metadata| metadata.len());
    let is_small = size.is_ok_and(|size| size <= LARGEST_INLINE_DATA_BYTES as u64);
    // Another user can't reach the data directory.
    match if is_small || spec.persona.user.is_some() { tokio::fs::read(&path).await.ok() } else { None } {
        Some(text) => Ok(field("SESSION_DATA", &text)),
        None => Ok(field("SESSION_DATA_FILE", serde_json::Value::from(path.to_string_lossy()).to_string().as_bytes())),
    }
}

/// The parameters of `initialize`, as JSON text.
pub(super) fn params(spec: &AgentSpec, data_field: &[u8]) -> Vec<u8> {
    let meta = serde_json::json!({
        "EMAIL": &*spec.email,
        "PERSONA_TYPE": &*spec.persona_name,
        "SESSION_ID": spec.session.to_string(),
        "EPOCH": spec.epoch.0,
    });
    let mut params = format!("{{\"META_DATA\":{meta},").into_bytes();
    params.extend_from_slice(data_field);
    params.push(b'}');
    params
}

pub(super) fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = format!("\"{name}\":").into_bytes();
    field.extend_from_slice(value);
    field
}
