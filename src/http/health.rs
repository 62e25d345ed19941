//! Whether the server is there, and whether it can do its work: for whoever starts it and whoever sends it requests.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::App;
use super::call::Call;
use super::code::Code;
use super::error::Refusal;
use super::operation::{Answer, Content, Operation, Tag, schema_of};
use super::v1::json;
use crate::store::StoreError;

pub(super) static LIVE: Operation = Operation {
    id: "getLiveness",
    tag: Tag::Server,
    summary: "Whether the server is there",
    description: "Answers as long as the process serves: whoever starts the server asks this.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "It is.",
        contents: &[Content::json(schema_of::<Health>)],
        headers: &[],
    }],
    problems: &[],
};

pub(super) static READY: Operation = Operation {
    id: "getReadiness",
    tag: Tag::Server,
    summary: "Whether the server can do its work",
    description: "Whoever sends customers here asks this. `checks` says of each part whether it is well: `serving`, which \
                  goes off first of all when the server is told to stop, and while it is being drained; `store`, whether \
                  sessions can be written; `events`, whether the log of events can.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "It can.",
        contents: &[Content::json(schema_of::<Readiness>)],
        headers: &[],
    }],
    problems: &[Code::NotReady],
};

/// How the server is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Health {
    /// `alive` or `ready`.
    status: Cow<'static, str>,
}

/// That the server can do its work, and what was looked at.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Readiness {
    /// `ready`.
    status: Cow<'static, str>,
    /// Each part of the server.
    checks: Vec<Check>,
}

/// A part of the server, and whether it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// `serving`, `store` or `events`.
    pub name: Cow<'static, str>,
    /// Whether it is well.
    pub ok: bool,
    /// What is wrong with it, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it, in a sentence or two, if there is anything to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<Cow<'static, str>>,
}

const DRAINED: &str = "It takes no new sessions and starts no agents until `frontdesk drain --cancel` ends that.";
const WRITES_FAIL: &str =
    "Free space if its disk is full. It is opened again by itself; nothing that was acknowledged is lost.";

/// `GET /livez`: 200 as long as the process serves.
pub(super) fn live(_: Call) -> Response {
    json(StatusCode::OK, &Health { status: "alive".into() })
}

/// `GET /readyz`: 200 while new customers can be served, else 503 and a problem that says why not.
pub(super) fn ready(Call { app, .. }: Call) -> Response {
    let checks = app.checks();
    if checks.iter().all(|check| check.ok) {
        json(StatusCode::OK, &Readiness { status: "ready".into(), checks })
    } else {
        Refusal::NotReady("The server does not take new customers; `checks` says why.").problem_with_checks(checks)
    }
}

impl App {
    /// What has to be well so that new customers can be served. Nothing is served before the server has recovered.
    pub fn checks(&self) -> Vec<Check> {
        let serving = if self.tasks.is_withdrawn() {
            Err(("the server is shutting down".to_owned(), None))
        } else if self.registry.is_drained() {
            Err(("the server is being drained".to_owned(), Some(DRAINED)))
        } else {
            Ok(())
        };
        let words = |error: StoreError| (error.to_string(), Some(WRITES_FAIL));
        let checks = [
            ("serving", serving),
            ("store", self.store.ready().map_err(words)),
            ("events", self.events.ready().map_err(words)),
        ];
        let check = |(name, state): (&'static str, Result<(), (String, Option<&'static str>)>)| {
            let ok = state.is_ok();
            let (reason, cure) = state.err().unzip();
            Check { name: name.into(), ok, reason, cure: cure.flatten().map(Cow::Borrowed) }
        };
        checks.map(check).into()
    }
}
