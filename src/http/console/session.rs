//! `GET /console/sessions/{id}`: one session: its life as a picture, its agent, its limits, its events and log as they
//! come, and a request by hand.

use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::v1::event::EventView;
use crate::http::v1::personas::{self, PersonaView, ProtocolView};
use crate::http::v1::sessions::view::OperatorsView;
use crate::principal::Scope;
use crate::session::{PhaseName, SessionRecord};

use super::acts::Act;
use super::section::Section;
use super::timeline::{self, Step};
use super::{Page, answer, facts, operator, phase, sessions, words};

/// How many steps the picture shows, and how many events the page begins with.
const MOST_STEPS: usize = 60;
const LATEST_EVENTS: u16 = 100;

pub(in crate::http) async fn handle(Call { app, admitted, .. }: Call) -> Response {
    let page = page(&app, &admitted).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App, admitted: &Admitted) -> Result<Page, Refusal> {
    let id = admitted.session()?.record.id;
    let record = app.registry.wait_until(id, Duration::ZERO, |_| true).await?;
    let view = OperatorsView::of_one(app, &record);
    let steps = app.registry.sequences().steps(&record, MOST_STEPS).await?;
    let steps: Vec<_> = steps.iter().filter_map(Step::of).collect();
    let (events, last) = latest_events(app, &record).await?;
    let persona = personas::all(app).items.into_iter().find(|persona| persona.name == view.session.persona);
    let may_change = operator(&admitted.caller.principal).is_some_and(|operator| operator.may(Scope::SessionsWrite));
    let session = &view.session;
    let who = words::plain(&session.email);
    let content = html! {
        p.path { a href=(Section::Sessions.path()) { "Sessions" } }
        div.head #head data-live {
            h1 { (words::whole(&session.email)) }
            p { (phase::badge(session.phase, session.outcome)) " " (session.persona) }
            p.why { (sessions::why(&view, words::whole)) }
        }
        @if may_change { div.acts #acts data-live { (acts(&view, &who, persona.as_ref())) } }
        section aria-labelledby="life" {
            h2 #life { "Its life" }
            div #timeline data-live { (timeline::picture(&steps, app.clock.wall())) }
        }
        div.columns #facts data-live { (columns(app, &view)) }
        div.columns.wide {
            (told(&events, last))
            (log(session.phase, session.log_bytes))
        }
        @if may_change && session.phase != PhaseName::Ended && takes_requests(persona.as_ref()) { (by_hand(session.phase)) }
        (limits(&view, persona.as_ref()))
    };
    // Nothing comes of one that has ended: a stream would be closed and opened again for ever.
    let is_live = session.phase != PhaseName::Ended;
    let stream = is_live.then(|| format!("/v1/sessions/{id}/events?after={last}"));
    Ok(Page { title: format!("{who}, {}", session.phase.name()), section: Section::Sessions, stream, content })
}

/// The session's latest events, and the number of the last one among them.
async fn latest_events(app: &App, record: &SessionRecord) -> Result<(Vec<EventView>, u64), Refusal> {
    let sequences = app.registry.sequences();
    let after = sequences.read(record, u64::MAX, 0).await?.last.saturating_sub(LATEST_EVENTS.into());
    let page = sequences.read(record, after, LATEST_EVENTS.into()).await?;
    let last = page.events.last().map_or(after, |event| event.number);
    Ok((page.events.iter().map(EventView::of).collect(), last))
}

fn acts(view: &OperatorsView, who: &str, persona: Option<&PersonaView>) -> Markup {
    let (session, id) = (&view.session, view.session.id);
    let path = format!("/v1/sessions/{id}");
    let (by_force, start) = (format!("{path}?force=true"), format!("{path}/initialize"));
    let grace = persona.map_or("its time".to_owned(), |persona| words::seconds(persona.timeouts.stop_grace_seconds));
    let stopping = format!(
        "Its agent is asked to finish and gets {grace}; then it is killed. The session is over, and {who} may ask for a new one."
    );
    let killing = format!(
        "Its agent is killed at once, with all that it has started; what it has not saved is lost. The session is over, and \
         {who} may ask for a new one."
    );
    let stop = Act {
        method: "DELETE",
        path: &path,
        body: None,
        label: "Stop",
        question: Some((&format!("Stop the session of {who}?"), &stopping)),
        done: "The session is ending.",
        is_dangerous: true,
    };
    let kill = Act {
        path: &by_force,
        label: "Kill",
        question: Some((&format!("Kill the session of {who}?"), &killing)),
        done: "The session is killed.",
        ..stop
    };
    let initialise = Act {
        method: "POST",
        path: &start,
        body: None,
        label: "Start its agent",
        question: None,
        done: "Its agent is being started.",
        is_dangerous: false,
    };
    let again = format!("{path}/restart?epoch={}", session.epoch);
    let restarting = format!(
        "Its agent is asked to finish and gets {grace}; then the next one is started. The session goes on; requests that are \
         under way are lost."
    );
    let restart = Act {
        method: "POST",
        path: &again,
        label: "Restart its agent",
        question: Some((&format!("Restart the agent of {who}?"), &restarting)),
        done: "Its agent is being restarted.",
        ..stop
    };
    html! {
        @match session.phase {
            PhaseName::Pending => { (initialise.button()) (stop.button()) }
            PhaseName::Starting | PhaseName::Running => {
                @if sessions::may_restart(view) { (restart.button()) }
                (stop.button()) (kill.button())
            }
            PhaseName::Stopping => { (kill.button()) }
            PhaseName::Ended => {}
        }
    }
}

fn columns(app: &App, view: &OperatorsView) -> Markup {
    let session = &view.session;
    let is_live = session.phase != PhaseName::Ended;
    html! {
        section aria-labelledby="about" {
            h2 #about { "Session" }
            (facts(&[
                ("Id", Some(html! { code { (session.id) } })),
                ("Customer", Some(words::whole(&view.customer))),
                ("Requested", Some(html! { (words::ago(&session.created, app.clock.wall())) " ago" })),
                ("Revision", Some(html! { (session.revision) })),
                ("Progress", session.progress.as_deref().map(words::whole)),
                ("Queue", session.queue.as_ref().map(|queue| html! { (queue) })),
            ]))
        }
        @if is_live {
            section aria-labelledby="agent" {
                h2 #agent { "Agent" }
                (facts(&[
                    ("PID", Some(html! { (view.pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string())) })),
                    ("Epoch", Some(html! { (session.epoch) })),
                    ("Ready for", view.running_since.as_deref().map(|since| words::ago(since, app.clock.wall()))),
                    ("Lost in 10 min", view.recent_losses.filter(|lost| *lost > 0).map(|lost| html! { (lost) })),
                    ("Open requests", view.open_requests.map(|open| html! { (open) })),
                    ("Memory", view.usage.map(|usage| html! { (words::bytes(usage.memory_bytes)) })),
                    ("CPU time", view.usage.map(|usage| html! { (words::seconds(usage.cpu_seconds)) })),
                    ("Processes", view.usage.map(|usage| html! { (usage.processes) })),
                    ("Own directory", view.usage.and_then(|usage| usage.own_directory_bytes).map(|bytes| html! { (words::bytes(bytes)) })),
                ]))
            }
        }
    }
}

fn limits(view: &OperatorsView, persona: Option<&PersonaView>) -> Markup {
    html! {
        section.limits aria-labelledby="limits" {
            h2 #limits { "Limits" }
            @if let Some(limits) = &view.limits { p { "In force: " (limits) "." } }
            @match persona {
                Some(persona) => { (super::personas::limits(persona)) }
                None => p.quiet { "The configuration no longer has a persona of this name." }
            }
        }
    }
}

fn takes_requests(persona: Option<&PersonaView>) -> bool {
    persona.is_some_and(|persona| matches!(persona.protocol, ProtocolView::JsonRpc))
}

fn by_hand(phase: PhaseName) -> Markup {
    html! {
        section aria-labelledby="by-hand" {
            h2 #by-hand { "Send it a request" }
            form #request {
                label for="request-text" { "Any JSON; the agent gets it as it stands" }
                textarea #request-text name="request" rows="4" spellcheck="false" required { "{}" }
                div.buttons {
                    button.primary type="submit" { "Send" }
                    button #request-cancel type="button" hidden { "Cancel" }
                    span.quiet #request-phase data-live {
                        @if phase != PhaseName::Running { "It takes requests while it is RUNNING." }
                    }
                }
                p.alert role="alert" hidden {}
            }
            pre.answer #request-answer role="log" aria-label="The agent's answer" tabindex="0" hidden {}
        }
    }
}

fn told(events: &[EventView], last: u64) -> Markup {
    html! {
        section aria-labelledby="events" {
            h2 #events { "Events" }
            div.tools {
                label { "Search" input #events-search type="search" autocomplete="off" spellcheck="false"; }
                label.check { input #events-follow type="checkbox" checked; "Follow" }
                button #events-download type="button" { "Download" }
            }
            ol.lines.scroll #events-list tabindex="0" aria-label="Events" data-last=(last) {
                @for event in events { (line(event)) }
            }
            template #event-line {
                li { span.number {} " " time {} " " span.kind {} " " span.epoch {} " " code {} }
            }
        }
    }
}

/// An event; the scripts fill in the template, which is of the same shape.
fn line(event: &EventView) -> Markup {
    html! {
        li {
            span.number { (event.number) } " "
            time datetime=(event.at) { (event.at) } " "
            span.kind { (event.kind) } " "
            span.epoch { "epoch " (event.epoch) } " "
            code { (words::code(event.body.get())) }
        }
    }
}

fn log(phase: PhaseName, kept: Option<u32>) -> Markup {
    html! {
        section aria-labelledby="log" {
            h2 #log { "Log" }
            @if phase == PhaseName::Ended && kept.is_none() {
                p.quiet { "The agent's log went with it when the session ended: only that of a session that failed is kept." }
            } @else {
                @if let Some(bytes) = kept {
                    p.quiet { "The end of the log, " (words::bytes(bytes.into())) ", kept because the session failed." }
                }
                div.tools {
                    label { "Search" input #log-search type="search" autocomplete="off" spellcheck="false"; }
                    label.check { input #log-follow type="checkbox" checked; "Follow" }
                    button #log-download type="button" { "Download" }
                }
                pre.lines.scroll #log-text role="log" aria-live="off" tabindex="0" aria-label="What the agent writes to stderr" {}
            }
        }
    }
}
