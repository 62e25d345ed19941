//! What is wrong, why, and what to do about it: the first thing that the overview says.

use std::borrow::Cow;

use maud::{Markup, html};

use crate::clock::WallTime;
use crate::http::health::Check;
use crate::http::v1::overview::view::{
    CredentialServerState, OverviewView, TroubleView, TroubledPersonaView, TroubledSessionView,
};

use super::section::Section;
use super::{address, phase, words};

/// Something about the whole server that an operator has to look after.
#[derive(Debug, PartialEq)]
struct Alert {
    what: String,
    cure: Cow<'static, str>,
}

/// A persona whose agents are lost as often as that goes round in circles.
const CRASH_LOOP_RESTARTS: u64 = 3;
/// Less than this share of something is little.
const LITTLE: f64 = 0.05;

/// How many things are wrong.
pub(super) fn count(view: &OverviewView) -> usize {
    alerts(view).len() + view.troubled.personas.len() + view.troubled.sessions.len()
}

/// All that is wrong, or that nothing is.
pub(super) fn section(view: &OverviewView, now: WallTime) -> Markup {
    let (alerts, troubled) = (alerts(view), &view.troubled);
    html! {
        section aria-labelledby="in-trouble" {
            h2 #in-trouble { "In trouble" }
            @if count(view) == 0 { p.well { "Nothing is in trouble." } }
            @for alert in &alerts {
                p.alert { strong { (alert.what) " " } (alert.cure) }
            }
            @for persona in &troubled.personas { (persona_in_trouble(persona)) }
            @if !troubled.sessions.is_empty() {
                table.cards {
                    caption { "Sessions, the worst first" }
                    thead {
                        tr {
                            th scope="col" { "Phase" }
                            th scope="col" { "Customer" }
                            th scope="col" { "What is wrong" }
                            th scope="col" { "Persona" }
                            th.number scope="col" { "Age" }
                        }
                    }
                    tbody { @for session in &troubled.sessions { (session_in_trouble(session, now)) } }
                }
                @if troubled.more_sessions { p.quiet { "There are more." } }
            }
        }
    }
}

fn persona_in_trouble(persona: &TroubledPersonaView) -> Markup {
    let counts = [
        (persona.restarting as u64, "starting again now"),
        (
            persona.restarts_10_min,
            if persona.restarts_10_min == 1 { "restart in 10 min" } else { "restarts in 10 min" },
        ),
        (
            persona.start_failures_hour,
            if persona.start_failures_hour == 1 {
                "failed start within the hour"
            } else {
                "failed starts within the hour"
            },
        ),
        (
            persona.failed_hour,
            if persona.failed_hour == 1 { "session failed within the hour" } else { "sessions failed within the hour" },
        ),
    ];
    let counts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", words::number(*count)))
        .collect();
    html! {
        div.alert {
            p {
                strong { (persona_trouble(persona)) ": " }
                a href=(address(Section::Sessions.path(), &[("persona", &persona.persona)])) { (words::text(&persona.persona)) }
                " – " (counts.join(", ")) "."
            }
            @if let Some(reason) = &persona.last_reason { p.why { "Last: " (words::text(reason)) } }
        }
    }
}

fn persona_trouble(persona: &TroubledPersonaView) -> &'static str {
    if persona.restarts_10_min >= CRASH_LOOP_RESTARTS {
        "Crash-looping"
    } else if persona.start_failures_hour > 0 {
        "Not starting"
    } else {
        "Losing agents"
    }
}

fn session_in_trouble(session: &TroubledSessionView, now: WallTime) -> Markup {
    html! {
        tr.trouble id={ "trouble-" (session.id) } {
            td { (phase::badge(session.phase, None)) }
            th.customer scope="row" {
                a href={ (Section::Sessions.path()) "/" (session.id) } { (words::text(&session.email)) }
            }
            td.why {
                span.reason { strong { (session_trouble(session.trouble)) ": " } (words::text(&session.reason)) }
            }
            td data-label="Persona" { (session.persona) }
            td.number data-label="Age" { (words::ago(&session.created, now)) }
        }
    }
}

fn session_trouble(trouble: TroubleView) -> &'static str {
    match trouble {
        TroubleView::StopOverdue => "Does not stop",
        TroubleView::Restarting => "Restarting",
        TroubleView::Unstable => "Unstable",
        TroubleView::StartFailed => "Not started",
        TroubleView::Waiting => "Waiting",
    }
}

fn alerts(view: &OverviewView) -> Vec<Alert> {
    let mut alerts: Vec<_> = view.ready.iter().filter(|check| !check.ok).map(not_ready).collect();
    let mut alert = |what: String, cure: &'static str| alerts.push(Alert { what, cure: cure.into() });
    let credential = &view.credential_server;
    if credential.state == CredentialServerState::Failing {
        let why = credential.last_failure.as_ref().map(|failure| format!(": {}", words::plain(&failure.reason)));
        alert(
            format!("The credential server gives no verdicts{}.", why.unwrap_or_default()),
            "No customer can sign in until it does. See that it runs, and that the service mapping has its address.",
        );
    }
    let is_little = |left: u64, all: u64| all > 0 && (left as f64) < all as f64 * LITTLE;
    if let Some(disk) = view.disk.filter(|disk| is_little(disk.free_bytes, disk.total_bytes)) {
        alert(
            format!("The disk is nearly full: {} are left.", words::bytes(disk.free_bytes)),
            "On a full disk the server admits nobody. Free some space, or shorten history.keep and events.keep.",
        );
    }
    if let (Some(left), Some(all)) = (view.memory.machine_available_bytes, view.memory.machine_total_bytes)
        && is_little(left, all)
    {
        alert(
            format!("The machine's memory is nearly used up: {} are left.", words::bytes(left)),
            "Give personas a memory limit, lower limits.max_running, or stop sessions.",
        );
    }
    if view.agents.running >= view.agents.max_running as usize {
        alert(
            format!("All {} agent slots are in use.", view.agents.max_running),
            "New sessions wait. Raise limits.max_running if the machine has room, or stop sessions.",
        );
    }
    alerts
}

fn not_ready(check: &Check) -> Alert {
    let why = check.reason.as_ref().map_or_else(|| check.name.to_string(), |reason| words::plain(reason));
    let what = if check.is_needed() { "The server takes no new work" } else { "Stored records are damaged" };
    Alert {
        what: format!("{what}: {why}."),
        cure: check.cure.clone().unwrap_or_else(|| "There is nothing to do.".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(change: impl FnOnce(&mut serde_json::Value)) -> OverviewView {
        let well = |name| json!({"name": name, "ok": true});
        let mut value = json!({
            "at": "2026-01-31T12:00:00Z",
            "ready": [well("serving"), well("store"), well("events")],
            "sessions": {"pending": 0, "starting": 0, "restarting": 0, "running": 1, "stopping": 0},
            "agents": {"running": 1, "max_running": 2, "starting": 0, "max_starting": 8},
            "queue": {"length": 0},
            "last_hour": {
                "since": "2026-01-31T11:00:00Z", "samples": [], "admitted": 1, "refusals": [], "restarts": 0,
                "ended": {"completed": 0, "failed": 0, "stopped": 0, "expired": 0}, "starts": {"count": 1, "failures": 0},
            },
            "credential_server": {"kind": "embedded", "state": "well", "checks": 1, "failures": 0},
            "disk": {"free_bytes": 90, "total_bytes": 100, "store_bytes": 1},
            "memory": {"machine_available_bytes": 50, "machine_total_bytes": 100},
            "troubled": {"personas": [], "sessions": [], "more_sessions": false},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn shown(view: &OverviewView) -> String {
        section(view, "2026-01-31T12:00:00Z".parse().unwrap()).into_string()
    }

    #[test]
    fn a_server_that_is_well_says_so() {
        let view = view(|_| {});
        assert_eq!((alerts(&view), count(&view)), (Vec::new(), 0));
        assert!(shown(&view).contains("Nothing is in trouble."));
    }

    #[test]
    fn what_is_short_is_an_alert_with_its_cure() {
        let view = view(|value| {
            value["agents"]["running"] = json!(2);
            value["disk"]["free_bytes"] = json!(4);
            value["memory"]["machine_available_bytes"] = json!(4);
            value["credential_server"]["state"] = json!("failing");
            value["credential_server"]["last_failure"] =
                json!({"at": "2026-01-31T12:00:00Z", "reason": "connection <refused>"});
        });
        let whats: Vec<_> = alerts(&view).into_iter().map(|alert| alert.what).collect();
        assert_eq!(
            whats,
            [
                "The credential server gives no verdicts: connection <refused>.",
                "The disk is nearly full: 4 B are left.",
                "The machine's memory is nearly used up: 4 B are left.",
                "All 2 agent slots are in use.",
            ]
        );
        assert!(shown(&view).contains("connection &lt;refused&gt;"));
    }

    #[test]
    fn a_server_that_takes_no_new_work_says_so_first_with_the_reason_and_the_cure() {
        let view = view(|value| {
            value["agents"]["running"] = json!(2);
            value["ready"] = json!([
                {"name": "serving", "ok": false, "reason": "the server is shutting down"},
                {"name": "store", "ok": false, "reason": "the disk is <full>", "cure": "Free some space."},
                {"name": "events", "ok": true},
            ]);
        });
        let said: Vec<_> = alerts(&view).into_iter().map(|alert| (alert.what, alert.cure)).collect();
        let first = [
            ("The server takes no new work: the server is shutting down.", "There is nothing to do."),
            ("The server takes no new work: the disk is <full>.", "Free some space."),
        ];
        assert_eq!(said.len(), 3);
        assert_eq!(said[..2], first.map(|(what, cure)| (what.to_owned(), cure.into())));
        assert!(shown(&view).contains("the disk is &lt;full&gt;"));
    }

    #[test]
    fn personas_and_sessions_in_trouble_stand_with_their_reasons() {
        let view = view(|value| {
            value["troubled"] = json!({
                "personas": [{
                    "persona": "FLAKY", "restarting": 1, "restarts_10_min": 9, "start_failures_hour": 0, "failed_hour": 0,
                    "last_reason": "it exited with status 134",
                }],
                "sessions": [{
                    "id": "01890000-0000-7000-8000-000000000000", "email": "<b>@x", "persona": "FLAKY", "phase": "STARTING",
                    "created": "2026-01-31T11:59:00Z", "trouble": "restarting", "reason": "lost 9 times",
                }],
                "more_sessions": true,
            });
        });
        let shown = shown(&view);
        for text in [
            "Crash-looping",
            "9 restarts in 10 min",
            "it exited with status 134",
            "&lt;b&gt;@x",
            "lost 9 times",
            "There are more.",
        ] {
            assert!(shown.contains(text), "{text} is not in {shown}");
        }
        assert!(!shown.contains("failed starts"));
        assert_eq!(count(&view), 2);
    }
}
