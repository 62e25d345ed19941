//! `GET /console`: how the server is doing, what is wrong first.

use axum::response::Response;
use maud::{Markup, html};

use crate::clock::WallTime;
use crate::http::App;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::v1::overview::view::{
    CredentialServerKind, CredentialServerState, CredentialServerView, HourView, OverviewView, SampleView,
};
use crate::session::PhaseName;

use super::section::Section;
use super::{Page, STEPS, address, answer, chart, facts, phase, trouble, words};

pub(in crate::http) async fn handle(Call { app, admitted, .. }: Call) -> Response {
    let page = page(&app).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App) -> Result<Page, Refusal> {
    let view = OverviewView::of(app).await?;
    let now = app.clock.wall();
    let troubles = trouble::count(&view);
    let content = html! {
        h1 { "Overview" }
        div #trouble data-live { (trouble::section(&view, now)) }
        div #numbers data-live {
            (phases(&view))
            (hour(&view.last_hour, now))
            (machine(&view))
        }
    };
    let title = if troubles == 0 { "Overview".to_owned() } else { format!("({troubles}) Overview") };
    Ok(Page { title, section: Section::Overview, stream: Some(STEPS.into()), content })
}

fn phases(view: &OverviewView) -> Markup {
    let now = &view.sessions;
    let each = |of: fn(&SampleView) -> usize| each(&view.last_hour, |sample| of(sample) as u64);
    let tiles = [
        (PhaseName::Pending, now.pending, each(|sample| sample.pending)),
        (PhaseName::Starting, now.starting, each(|sample| sample.starting)),
        (PhaseName::Running, now.running, each(|sample| sample.running)),
        (PhaseName::Stopping, now.stopping, each(|sample| sample.stopping)),
    ];
    html! {
        section aria-labelledby="by-phase" {
            h2 #by-phase { "Live sessions" }
            div.tiles {
                @for (name, count, minutes) in &tiles {
                    div class={ "tile " (phase::look(*name)) } {
                        a href=(address(Section::Sessions.path(), &[("phase", name.name())])) { (phase::badge(*name, None)) }
                        p.big { (words::number(*count as u64)) }
                        (chart::line(name.name(), minutes))
                        @if *name == PhaseName::Starting && now.restarting > 0 {
                            p.quiet { (words::number(now.restarting as u64)) " of them again" }
                        }
                        @if *name == PhaseName::Pending && view.queue.length > 0 {
                            p.quiet { (queue(view)) }
                        }
                    }
                }
            }
        }
    }
}

fn queue(view: &OverviewView) -> String {
    let waited = view.queue.oldest_wait_seconds.map(|waited| format!(", the oldest for {}", words::seconds(waited)));
    format!("{} in the queue{}", words::number(view.queue.length as u64), waited.unwrap_or_default())
}

fn hour(hour: &HourView, now: WallTime) -> Markup {
    let refused: u64 = hour.refusals.iter().map(|refusals| refusals.count).sum();
    let starts = &hour.starts;
    let ended = &hour.ended;
    html! {
        section aria-labelledby="hour" {
            h2 #hour { "The last hour" }
            div.tiles {
                div.tile {
                    h3 { "Admitted" }
                    p.big { (words::number(hour.admitted)) }
                    (chart::bars("Admissions", &each(hour, |sample| sample.admitted)))
                }
                div.tile.refused {
                    h3 { "Refused" }
                    p.big { (words::number(refused)) }
                    (chart::bars("Refusals", &each(hour, |sample| sample.refused)))
                }
                div.tile {
                    h3 { "Started" }
                    p.big { (words::number(starts.count)) " " small.quiet { (a_minute(starts.count, hour, now)) } }
                    (chart::bars("Starts", &each(hour, |sample| sample.starts)))
                    (facts(&[
                        ("To running, p50", starts.p50_seconds.map(|seconds| html! { (words::seconds(seconds)) })),
                        ("p99", starts.p99_seconds.map(|seconds| html! { (words::seconds(seconds)) })),
                        ("Failed", (starts.failures > 0).then(|| html! { (words::number(starts.failures)) })),
                    ]))
                }
                div.tile.restarted {
                    h3 { "Restarted" }
                    p.big { (words::number(hour.restarts)) }
                    (chart::bars("Restarts", &each(hour, |sample| sample.restarts)))
                }
                div.tile {
                    h3 { "Ended" }
                    p.big { (words::number(ended.completed + ended.failed + ended.stopped + ended.expired)) }
                    (facts(&[
                        ("Completed", Some(html! { (words::number(ended.completed)) })),
                        ("Failed", Some(html! { (ended_link("failed", ended.failed)) })),
                        ("Stopped", Some(html! { (words::number(ended.stopped)) })),
                        ("Expired", Some(html! { (words::number(ended.expired)) })),
                    ]))
                }
            }
            @if !hour.refusals.is_empty() { (refusals(hour)) }
        }
    }
}

fn ended_link(outcome: &str, count: u64) -> Markup {
    html! {
        @if count > 0 {
            a href=(address(Section::Sessions.path(), &[("outcome", outcome)])) { (words::number(count)) }
        } @else { "0" }
    }
}

/// How many a minute, over as much of the hour as the server has been running.
fn a_minute(count: u64, hour: &HourView, now: WallTime) -> String {
    let since: Option<WallTime> = hour.since.parse().ok();
    let minutes = since.map_or(1, |since| now.unix_millis().saturating_sub(since.unix_millis()) / 60_000).max(1);
    format!("{:.1} a minute", count as f64 / minutes as f64)
}

fn refusals(hour: &HourView) -> Markup {
    html! {
        h3 { "Refused, and why" }
        div.scroll tabindex="0" role="region" aria-label="Refusals" {
            table {
                thead { tr { th.number scope="col" { "Calls" } th scope="col" { "Code" } th scope="col" { "What it means" } } }
                tbody {
                    @for refusals in &hour.refusals {
                        tr {
                            td.number { (words::number(refusals.count)) }
                            th scope="row" { code { (refusals.reason) } }
                            td { @if let Some(code) = Code::named(&refusals.reason) { (code.meaning()) } }
                        }
                    }
                }
            }
        }
    }
}

fn machine(view: &OverviewView) -> Markup {
    let (agents, memory) = (&view.agents, &view.memory);
    let used = |all: Option<u64>, free: Option<u64>| Some((all?, all?.saturating_sub(free?)));
    html! {
        section aria-labelledby="machine" {
            h2 #machine { "The server" }
            div.tiles {
                div.tile {
                    h3 { "Agents" }
                    p.big { (words::number(agents.running as u64)) " " small.quiet { "of " (words::number(agents.max_running.into())) } }
                    (chart::meter("Agents", agents.running as u64, agents.max_running.into()))
                    (facts(&[("Coming up now", Some(html! { (agents.starting) " of " (agents.max_starting) }))]))
                }
                @if let Some(disk) = &view.disk {
                    div.tile {
                        h3 { "Disk" }
                        p.big { (words::bytes(disk.free_bytes)) " " small.quiet { "free" } }
                        (chart::meter("Disk", disk.total_bytes.saturating_sub(disk.free_bytes), disk.total_bytes))
                        (facts(&[("Store and events", Some(html! { (words::bytes(disk.store_bytes)) }))]))
                    }
                }
                @if let Some((all, used)) = used(memory.machine_total_bytes, memory.machine_available_bytes) {
                    div.tile {
                        h3 { "Memory" }
                        p.big { (words::bytes(all - used)) " " small.quiet { "available" } }
                        (chart::meter("Memory", used, all))
                        (facts(&[("This server", memory.server_bytes.map(|bytes| html! { (words::bytes(bytes)) }))]))
                    }
                }
                (credential_server(&view.credential_server))
            }
        }
    }
}

fn credential_server(server: &CredentialServerView) -> Markup {
    let state = match server.state {
        CredentialServerState::Well => "OK",
        CredentialServerState::Failing => "failing",
        CredentialServerState::Unused => "not asked yet",
    };
    html! {
        div.tile.failed[server.state == CredentialServerState::Failing] {
            h3 { "Credential server" }
            p.big { (state) }
            (facts(&[
                ("Which", Some(match server.kind {
                    CredentialServerKind::Embedded => html! { "this server's own" },
                    CredentialServerKind::Remote => words::text(server.address.as_deref().unwrap_or("remote")),
                })),
                ("Checks", Some(html! { (words::number(server.checks)) })),
                ("Without a verdict", Some(html! { (words::number(server.failures)) })),
            ]))
        }
    }
}

fn each(hour: &HourView, of: impl Fn(&SampleView) -> u64) -> Vec<u64> {
    hour.samples.iter().map(of).collect()
}
