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
    description: "Answers as long as the process serves. Supervisors ask this.",
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
                  sessions can be written; `events`, whether the log of events can; `records`, whether all that is \
                  stored can be read. Damaged records are set aside and everything else goes on, so `records` alone \
                  does not make the server not ready.",
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
    /// `serving`, `store`, `events` or `records`.
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
const DAMAGED: &str = "Everything that is not damaged goes on. `frontdesk verify` names what is; stop the server and \
                       restore the data directory from a backup with `frontdesk restore`. Without a backup, `frontdesk \
                       session stop ID --force` gives up a live session that can't be read.";
const WRITES_FAIL: &str = "Free space if its disk is full; `frontdesk session stop --force` kills an agent that fills it, also \
                           now. It is opened again by itself; nothing that was acknowledged is lost.";

const RELEASED: &str = "the room that was kept back (the file `ballast`) is released, so that sessions can still end";
const FULL: &str = "Free at least 16 MiB: everything is taken again within seconds. Until then stops, ends and revocations are \
                    stored, and nothing new is. `frontdesk session stop --force` kills an agent that fills the disk.";

/// The check that does not decide whether the server is ready.
const RECORDS: &str = "records";

/// `GET /livez`: 200 as long as the process serves.
pub(super) fn live(_: Call) -> Response {
    json(StatusCode::OK, &Health { status: "alive".into() })
}

/// `GET /readyz`: 200 while new customers can be served, else 503 and a problem that says why not.
pub(super) fn ready(Call { app, .. }: Call) -> Response {
    let checks = app.checks();
    if checks.iter().all(|check| check.ok || !check.is_needed()) {
        json(StatusCode::OK, &Readiness { status: "ready".into(), checks })
    } else {
        Refusal::NotReady("The server does not take new customers; `checks` says why.").problem_with_checks(checks)
    }
}

impl Check {
    /// Whether the server is not ready without it.
    pub fn is_needed(&self) -> bool {
        self.name != RECORDS
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
        let fails = |error: StoreError| (error.to_string(), Some(WRITES_FAIL));
        let damaged = |why: String| (why, Some(DAMAGED));
        let (records, events) = (self.store.damage(), self.events.damage());
        let full = |error: StoreError| (format!("{error}; {RELEASED}"), Some(FULL));
        let store = self.store.ready().map_err(fails);
        let store = store.and_then(|()| self.store.room().map_err(full)).and_then(|()| match &records.malformed {
            Some(why) => Err(damaged(format!("the store's file is damaged, and changes were refused: {why}"))),
            None => Ok(()),
        });
        let set_aside: Vec<_> = records.in_words().into_iter().chain(events.in_words()).collect();
        let records = if set_aside.is_empty() { Ok(()) } else { Err(damaged(set_aside.join("; "))) };
        let checks = [
            ("serving", serving),
            ("store", store),
            ("events", self.events.ready().map_err(fails)),
            (RECORDS, records),
        ];
        let check = |(name, state): (&'static str, Result<(), (String, Option<&'static str>)>)| {
            let ok = state.is_ok();
            let (reason, cure) = state.err().unzip();
            Check { name: name.into(), ok, reason, cure: cure.flatten().map(Cow::Borrowed) }
        };
        checks.map(check).into()
    }
}
