//! `GET /console/personas`: the kinds of session with their configuration.

use axum::response::Response;
use maud::{Markup, html};

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::v1::personas::{self, AgentView, PersonaView, ProtocolView, StartView};

use super::section::Section;
use super::{Page, address, answer, facts, words};

pub(in crate::http) fn handle(Call { app, admitted, .. }: Call) -> Response {
    answer(&app, &admitted, Ok(page(&app, &admitted)))
}

fn page(app: &App, admitted: &Admitted) -> Page {
    let personas = personas::seen_by(app, admitted).items;
    let content = html! {
        h1 { "Personas" }
        p.quiet { "The kinds of session that customers may ask for, as the configuration has them." }
        @if personas.is_empty() {
            p.empty { "There is no persona. Add one to the configuration, as " code { "[personas.NAME]" } "." }
        }
        @for persona in &personas { (card(persona)) }
    };
    Page { title: "Personas".into(), section: Section::Personas, stream: None, content }
}

fn card(persona: &PersonaView) -> Markup {
    let heading = format!("persona-{}", persona.name);
    html! {
        section.card aria-labelledby=(heading) {
            h2 id=(heading) { (persona.name) }
            p {
                (match persona.agent { AgentView::Process => "Each agent is a process", AgentView::Http => "Each agent is a service" })
                (match persona.protocol { ProtocolView::JsonRpc => " that speaks JSON-RPC. ", ProtocolView::None => " that takes no requests. " })
                @if persona.auto_initialize { "The server starts its sessions by itself. " }
                a href=(address(Section::Sessions.path(), &[("persona", &persona.name)])) { "Its sessions" }
            }
            @if let Some(start) = &persona.start { (how_started(start)) }
            (limits(persona))
        }
    }
}

/// How a persona's agents are started, as far as the configuration says.
fn how_started(start: &StartView) -> Markup {
    let text = |text: &Option<String>| text.as_deref().map(words::text);
    let all = |texts: &[String]| {
        (!texts.is_empty()).then(|| html! { @for text in texts { code { (words::text(text)) } " " } })
    };
    let own = start.own_directory.then(|| html! { "one for each session" });
    facts(&[
        ("Command", all(&start.command)),
        ("Service", text(&start.service)),
        ("User", text(&start.user)),
        ("Directory", own.or_else(|| text(&start.working_directory))),
        ("Environment", all(&start.environment)),
        ("Inherits", all(&start.inherit_environment)),
    ])
}

/// What holds for a persona's sessions and agents.
pub(super) fn limits(persona: &PersonaView) -> Markup {
    let (times, limits) = (&persona.timeouts, &persona.limits);
    let seconds = |seconds: f64| Some(html! { (words::seconds(seconds)) });
    let or_off = |time: Option<f64>| Some(html! { (time.map_or_else(|| "off".to_owned(), words::seconds)) });
    let or_none = |limit: Option<String>| Some(html! { (limit.unwrap_or_else(|| "none".to_owned())) });
    facts(&[
        ("Pending at most", seconds(times.pending_seconds)),
        (
            "Start at most",
            Some(html! {
                (words::seconds(times.start_seconds)) ", " (persona.start_attempts)
                @if persona.start_attempts == 1 { " attempt" } @else { " attempts" }
            }),
        ),
        ("Idle at most", or_off(times.idle_seconds)),
        ("Lifetime", or_off(times.lifetime_seconds)),
        ("Grace to stop", seconds(times.stop_grace_seconds)),
        ("A request", seconds(times.request_seconds)),
        (
            "Ping",
            Some(html! {
                @match times.ping_interval_seconds {
                    Some(interval) => { "every " (words::seconds(interval)) ", answered in " (words::seconds(times.ping_seconds)) }
                    None => "off",
                }
            }),
        ),
        ("Without a server", seconds(times.orphan_seconds)),
        ("Memory", or_none(limits.memory_bytes.map(words::bytes))),
        ("CPU time", or_none(limits.cpu_seconds.map(words::seconds))),
        ("Open files", or_none(limits.open_files.map(|files| words::number(files.into())))),
        ("Processes", or_none(limits.processes.map(|processes| words::number(processes.into())))),
        ("Output", or_none(limits.output_bytes_per_second.map(|rate| format!("{} a second", words::bytes(rate))))),
        ("Own directory", or_none(limits.own_directory_bytes.map(words::bytes))),
        ("A line", Some(html! { (words::bytes(limits.line_bytes)) })),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_agents_are_started_has_a_row_for_each_thing_that_is_configured() {
        let shown = |start: serde_json::Value| how_started(&serde_json::from_value(start).unwrap()).into_string();
        let process = shown(json!({
            "command": ["run", "<it>"], "user": "ada", "own_directory": true, "environment": ["KEY"], "inherit_environment": [],
        }));
        for text in ["Command", "&lt;it&gt;", "ada", "one for each session", "KEY"] {
            assert!(process.contains(text), "{text} is not in {process}");
        }
        assert!(!process.contains("Service") && !process.contains("Inherits"), "{process}");
        let service = shown(json!({
            "service": "greeter", "own_directory": false, "environment": [], "inherit_environment": [],
        }));
        assert_eq!(service.matches("<dt>").count(), 1, "{service}");
    }
}
