//! `GET /console/sessions`: the list of sessions, by filters and pages, with what can be done to many at once.

use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::clock::WallTime;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::v1::sessions::list;
use crate::http::v1::sessions::view::OperatorsView;
use crate::principal::Scope;
use crate::session::{Outcome, PhaseName};

use super::section::Section;
use super::{Page, STEPS, address, answer, operator, phase, query, words};

/// What the form says, to be shown in it again; the list itself reads the same address.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    email: String,
    persona: String,
    phase: Option<PhaseName>,
    outcome: Option<Outcome>,
    age: Option<Age>,
    ended: bool,
    cursor: String,
}

/// How old the sessions are that somebody looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Age {
    #[serde(rename = "under-10m")]
    UnderTenMinutes,
    #[serde(rename = "under-1h")]
    UnderAnHour,
    #[serde(rename = "over-1h")]
    OverAnHour,
    #[serde(rename = "over-1d")]
    OverADay,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let page = page(&app, &admitted, &parts).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Page, Refusal> {
    let form: Form = query(parts)?;
    let now = app.clock.wall();
    let mut wanted: list::Query = query(parts)?;
    if let Some(age) = form.age {
        age.narrow(&mut wanted, now);
    }
    let found = list::page(app, wanted).await?;
    let may_change = operator(&admitted.caller.principal).is_some_and(|operator| operator.may(Scope::SessionsWrite));
    let content = html! {
        h1 { "Sessions" }
        (filters(app, &form))
        @if may_change { (with_selected()) }
        div #list data-live {
            @if found.items.is_empty() {
                p.empty {
                    (if form.is_empty() { "There is no live session." } else { "No session matches." })
                    @if !form.email.is_empty() { " " (words::WHOLE_EMAIL) }
                }
            } @else {
                (table(&found.items, may_change, now))
            }
            nav.pages aria-label="Pages" {
                @if !form.cursor.is_empty() { a href=(form.address("")) { "First page" } }
                @if let Some(next) = &found.next { a href=(form.address(next)) rel="next" { "Older sessions" } }
            }
        }
    };
    Ok(Page { title: "Sessions".into(), section: Section::Sessions, stream: Some(STEPS.into()), content })
}

impl Form {
    fn is_empty(&self) -> bool {
        self.address("") == Section::Sessions.path()
    }

    /// The address of the same list at another place.
    fn address(&self, cursor: &str) -> String {
        let outcome = self.outcome.map(|outcome| outcome.to_string()).unwrap_or_default();
        let parameters = [
            ("email", &*self.email),
            ("persona", &self.persona),
            ("phase", self.phase.map_or("", PhaseName::name)),
            ("outcome", &outcome),
            ("age", self.age.map_or("", Age::name)),
            ("ended", if self.ended { "true" } else { "" }),
            ("cursor", cursor),
        ];
        address(Section::Sessions.path(), &parameters)
    }
}

impl Age {
    const ALL: [Self; 4] = [Self::UnderTenMinutes, Self::UnderAnHour, Self::OverAnHour, Self::OverADay];

    const fn name(self) -> &'static str {
        match self {
            Self::UnderTenMinutes => "under-10m",
            Self::UnderAnHour => "under-1h",
            Self::OverAnHour => "over-1h",
            Self::OverADay => "over-1d",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::UnderTenMinutes => "under 10 min",
            Self::UnderAnHour => "under 1 h",
            Self::OverAnHour => "over 1 h",
            Self::OverADay => "over 1 d",
        }
    }

    /// Asks for sessions of this age alone.
    fn narrow(self, wanted: &mut list::Query, now: WallTime) {
        let ago = |minutes: i64| {
            Some(WallTime::from_unix_millis(now.unix_millis().saturating_sub(minutes * 60_000)).to_string())
        };
        match self {
            Self::UnderTenMinutes => wanted.created_after = ago(10),
            Self::UnderAnHour => wanted.created_after = ago(60),
            Self::OverAnHour => wanted.created_before = ago(60),
            Self::OverADay => wanted.created_before = ago(24 * 60),
        }
    }
}

fn filters(app: &App, form: &Form) -> Markup {
    html! {
        form.filters method="get" action=(Section::Sessions.path()) role="search" aria-label="Sessions" {
            label { "Customer (whole email)" input name="email" type="text" value=(form.email) autocomplete="off" spellcheck="false"; }
            label {
                "Phase"
                select name="phase" {
                    option value="" { "any" }
                    @for phase in PhaseName::ALL {
                        option value=(phase.name()) selected[form.phase == Some(phase)] { (phase.name()) }
                    }
                }
            }
            label {
                "Persona"
                select name="persona" {
                    option value="" { "any" }
                    @for name in app.config().personas.keys() {
                        option value=(name) selected[*form.persona == name.to_string()] { (name) }
                    }
                }
            }
            label {
                "Outcome"
                select name="outcome" {
                    option value="" { "any" }
                    @for outcome in Outcome::ALL {
                        option value=(outcome) selected[form.outcome == Some(outcome)] { (outcome) }
                    }
                }
            }
            label {
                "Age"
                select name="age" {
                    option value="" { "any" }
                    @for age in Age::ALL {
                        option value=(age.name()) selected[form.age == Some(age)] { (age.words()) }
                    }
                }
            }
            label.check { input name="ended" type="checkbox" value="true" checked[form.ended]; "Ended ones, too" }
            button type="submit" { "Filter" }
            @if !form.is_empty() { a href=(Section::Sessions.path()) { "Show all" } }
        }
    }
}

/// What is done to those that are selected; the scripts show it once one is.
fn with_selected() -> Markup {
    html! {
        div.selected #selected role="group" aria-label="Selected sessions" hidden {
            strong #selected-count {}
            button type="button" data-many="restart" { "Restart" }
            button.danger type="button" data-many="stop" { "Stop" }
            button.danger type="button" data-many="kill" { "Kill" }
            button.plain type="button" data-many="none" { "Clear the selection" }
        }
    }
}

/// A table of sessions.
pub(super) fn table(sessions: &[OperatorsView], with_boxes: bool, now: WallTime) -> Markup {
    html! {
        table.sessions.cards {
            thead {
                tr {
                    @if with_boxes {
                        th scope="col" { input #select-all type="checkbox" aria-label="Select all on this page"; }
                    }
                    th scope="col" { "Phase" }
                    th scope="col" { "Customer" }
                    th scope="col" { "Why" }
                    th scope="col" { "Persona" }
                    th.number scope="col" { "Age" }
                    th.number scope="col" { "Epoch" }
                    th.number scope="col" { "PID" }
                }
            }
            tbody { @for session in sessions { (row(session, with_boxes, now)) } }
        }
    }
}

fn row(operators: &OperatorsView, with_boxes: bool, now: WallTime) -> Markup {
    let session = &operators.session;
    html! {
        @let is_troubled = session.reason.is_some() && trouble(operators).is_some();
        tr id={ "session-" (session.id) } class=[is_troubled.then_some("trouble")] {
            @if with_boxes {
                td.box {
                    @if session.phase != PhaseName::Ended {
                        input type="checkbox" data-session=(session.id) data-epoch=(session.epoch) data-who=(words::plain(&session.email))
                            data-phase=(session.phase.name()) data-may-restart[may_restart(operators)]
                            aria-label={ "Select the session of " (words::plain(&session.email)) };
                    }
                }
            }
            td { (phase::badge(session.phase, session.outcome)) }
            th.customer scope="row" {
                a href={ (Section::Sessions.path()) "/" (session.id) } { (words::text(&session.email)) }
            }
            td.why { (why(operators, words::text)) }
            td data-label="Persona" { (session.persona) }
            td.number data-label="Age" { (words::ago(&session.created, now)) }
            td.number data-label="Epoch" { (session.epoch) }
            td.number data-label="PID" { (operators.pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string())) }
        }
    }
}

/// What is wrong with a session that has a reason to be where it is, though nobody has asked for it.
fn trouble(operators: &OperatorsView) -> Option<&'static str> {
    let session = &operators.session;
    match (session.phase, session.outcome) {
        (PhaseName::Pending, _) => Some("Not started"),
        (PhaseName::Starting, _) if !had_an_agent(operators) => Some("Not started"),
        (PhaseName::Starting, _) => Some("Restarting"),
        (PhaseName::Running, _) => Some("Restarted"),
        (PhaseName::Stopping | PhaseName::Ended, Some(Outcome::Failed)) => Some("Failed"),
        (PhaseName::Stopping | PhaseName::Ended, _) => None,
    }
}

/// Whether its agent was ready once: losses are counted from then on.
const fn had_an_agent(operators: &OperatorsView) -> bool {
    operators.recent_losses.is_some()
}

/// Whether a restart does something: its agent runs, or was lost and is not being started yet.
pub(super) fn may_restart(operators: &OperatorsView) -> bool {
    match operators.session.phase {
        PhaseName::Running => true,
        PhaseName::Starting => had_an_agent(operators) && operators.pid.is_none(),
        PhaseName::Pending | PhaseName::Stopping | PhaseName::Ended => false,
    }
}

/// Why a session is where it is, and how it gets on. `shown` writes what others have said, cut or whole.
pub(super) fn why(operators: &OperatorsView, shown: fn(&str) -> Markup) -> Markup {
    let session = &operators.session;
    html! {
        @if let Some(reason) = &session.reason {
            span.reason { @if let Some(what) = trouble(operators) { strong { (what) ": " } } (shown(reason)) } " "
        }
        @if let Some(detail) = &session.reason_detail { span.detail { (shown(detail)) } " " }
        @if let Some(queue) = &session.queue { span { (queue) } " " }
        @if let Some(waits_for) = &operators.waits_for { span { (waits_for) } " " }
        @if let Some(progress) = &session.progress { span.quiet { (shown(progress)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_is_read_by_its_name_and_asks_for_one_side_of_a_moment() {
        let now: WallTime = "2026-01-31T12:00:00Z".parse().unwrap();
        let narrowed = |age: Age| {
            let named: Form = serde_urlencoded::from_str(&format!("age={}", age.name())).unwrap();
            assert_eq!(named.age, Some(age));
            let mut wanted = list::Query::default();
            age.narrow(&mut wanted, now);
            (wanted.created_after, wanted.created_before)
        };
        let at = |time: &str| Some(time.to_owned());
        assert_eq!(narrowed(Age::UnderTenMinutes), (at("2026-01-31T11:50:00Z"), None));
        assert_eq!(narrowed(Age::UnderAnHour), (at("2026-01-31T11:00:00Z"), None));
        assert_eq!(narrowed(Age::OverAnHour), (None, at("2026-01-31T11:00:00Z")));
        assert_eq!(narrowed(Age::OverADay), (None, at("2026-01-30T12:00:00Z")));
    }
}
