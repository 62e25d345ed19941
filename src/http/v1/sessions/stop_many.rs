//! `POST /v1/sessions/stop`: ends all sessions that match.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use crate::customer;
use crate::http::App;
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::error::Refusal;
use crate::http::input::{MOST_EMAIL_CHARACTERS, check_email_length};
use crate::http::operation::{Answer, Body, Content, Operation, Tag, schema_of};
use crate::http::v1::{self, object, present};
use crate::id::SessionId;
use crate::session::{PhaseName, SessionRecord};
use crate::store::{Action, Filter};

use super::list::first_of;
use super::stop::{is_to_stop, reason};

/// At most so many are stopped by one call.
const MOST: usize = 1_000;
/// So many are stopped at once.
const AT_ONCE: usize = 64;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "stopSessions",
    tag: Tag::Sessions,
    summary: "Stop many sessions",
    description: "Stops the live sessions that match all conditions of the body, as a stop of each would. One call \
                  stops at most 1,000, the newest first: while `more` is true, send it again. It leaves sessions \
                  that are ending alone, so it is safe to send again at any time. To stop every session, say \
                  `\"all\": true`.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<Wanted>)] }),
    answers: &[Answer {
        status: 200,
        description: "They are ending, or have ended.",
        contents: &[Content::json(schema_of::<Stopped>)],
        headers: &[],
    }],
    problems: &[],
};

/// Which sessions to stop, and how.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "StopSessions", transform = says_which)]
pub struct Wanted {
    /// Only this customer's, as in the list of sessions.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = MOST_EMAIL_CHARACTERS))]
    pub email: Option<String>,
    /// Only those of this persona.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub persona: Option<String>,
    /// Only those in this phase.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PhaseName")]
    pub phase: Option<PhaseName>,
    /// Only those that were requested before this time, in RFC 3339.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created_before: Option<String>,
    /// Kill their agents at once, also those of sessions that are ending already.
    pub force: bool,
    /// Every session, if nothing else is said.
    pub all: bool,
}

/// Nobody stops everything by leaving something out.
fn says_which(schema: &mut Schema) {
    let filters = ["email", "persona", "phase", "created_before"].map(|name| json!({ "required": [name] }));
    let all = json!({ "required": ["all"], "properties": { "all": { "const": true } } });
    schema.insert("anyOf".into(), filters.into_iter().chain([all]).collect());
}

/// What was stopped.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StoppedSessions")]
pub struct Stopped {
    /// How many sessions matched that this call has looked at, those included that were ending already.
    pub matched: usize,
    /// Those that it has stopped.
    #[schemars(length(max = 1_000))]
    pub stopping: Vec<SessionId>,
    /// Whether there are more to stop: send the same again.
    pub more: bool,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let wanted = match object::<Wanted>(&app, &parts, body).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.problem(),
    };
    match stop(&app, &admitted.caller, &wanted).await {
        Ok(stopped) => v1::json(StatusCode::OK, &stopped),
        Err(refusal) => refusal.problem(),
    }
}

async fn stop(app: &Arc<App>, caller: &Caller, wanted: &Wanted) -> Result<Stopped, Refusal> {
    let mut filter = wanted.filter()?;
    let (mut matched, mut found, mut more) = (0, Vec::new(), false);
    'pages: loop {
        let page = customer::sessions(&*app.store, &app.embedded, wanted.email.as_deref(), &filter, MOST).await?;
        let is_last = page.len() < MOST;
        filter.before = page.last().map(|record| record.id);
        for record in page {
            let is_to_stop = is_to_stop(&record.phase, wanted.force, app.clock.now());
            if is_to_stop && found.len() == MOST {
                more = true;
                break 'pages;
            }
            matched += 1;
            if is_to_stop {
                found.push(record);
            }
        }
        if is_last {
            break;
        }
    }
    for some in found.chunks(AT_ONCE) {
        stop_at_once(app, caller, some, wanted.force).await?;
    }
    Ok(Stopped { matched, stopping: found.iter().map(|record| record.id).collect(), more })
}

/// Stops these, each to its end even if the caller goes away.
async fn stop_at_once(app: &Arc<App>, caller: &Caller, some: &[SessionRecord], force: bool) -> Result<(), Refusal> {
    let (tell, mut outcomes) = mpsc::channel(AT_ONCE);
    for record in some {
        let (app, caller, record, tell) = (Arc::clone(app), caller.clone(), record.clone(), tell.clone());
        Arc::clone(&app).tasks.spawn(async move {
            // Nobody listens once the client has hung up.
            let _ = tell.send(stop_one(&app, &caller, &record, force).await).await;
        });
    }
    drop(tell);
    let mut failure = Ok(());
    while let Some(outcome) = outcomes.recv().await {
        failure = failure.and(outcome);
    }
    failure
}

async fn stop_one(app: &App, caller: &Caller, record: &SessionRecord, force: bool) -> Result<(), Refusal> {
    let action = if force { Action::SessionKilled } else { Action::SessionStopped };
    let note = app.audit_entry(caller, action, Some(record), "");
    match app.registry.stop(record.id, force, reason(caller), Some(&note)).await.map_err(Refusal::from) {
        // It has ended since, and its history is kept no longer.
        Ok(_) | Err(Refusal::NoSuchSession) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Refusal> {
        if let Some(email) = &self.email {
            check_email_length(email, MOST_EMAIL_CHARACTERS)?;
        }
        let created_before = first_of("created_before", self.created_before.as_deref())?;
        let filters = self.email.is_some() || self.persona.is_some() || self.phase.is_some();
        if !filters && created_before.is_none() && !self.all {
            let why = "Name which sessions to stop, by `email`, `persona`, `phase` or `created_before`; or all of them, by \
                       `\"all\": true`.";
            return Err(Refusal::Invalid(why.into()));
        }
        Ok(Filter { persona: self.persona.clone(), phase: self.phase, before: created_before, ..Filter::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn wanted(text: &str) -> Result<Filter, Refusal> {
        crate::http::input::read::<Wanted>(text.as_bytes())?.filter()
    }

    #[test]
    fn everything_is_stopped_only_if_that_is_said() {
        assert!(wanted(r#"{"all": true}"#).is_ok() && wanted(r#"{"persona": "CUSTOMERS"}"#).is_ok());
        for text in
            ["{}", r#"{"force": true}"#, r#"{"all": false}"#, r#"{"email": null}"#, r#"{"emial": "ada", "all": true}"#]
        {
            assert!(matches!(wanted(text), Err(Refusal::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn what_was_requested_at_the_named_time_or_later_stays() {
        let before = wanted(r#"{"created_before": "2026-01-31T12:00:00+01:00"}"#).unwrap().before.unwrap();
        let at = |millis: i64| SessionId::new(WallTime::from_unix_millis(1_769_857_200_000 + millis), [0; 10]);
        assert!(at(-1) < before && at(0) >= before);
    }
}
