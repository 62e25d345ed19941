//! Every family that is shown. docs/OPERATING.md has a line for each, which a test holds to what is served.

use crate::http::v1::overview::machine;
use crate::http::v1::overview::view::QueueView;
use crate::http::{App, openapi};
use crate::metrics::{Metrics, PersonaMetrics, Writes};

use super::process;
use super::text::Family;

/// All families as they are now.
pub(super) async fn now(app: &App) -> Vec<Family> {
    let started = app.presence.started.unix_millis() as f64 / 1_000.0;
    let paths = app.paths.clone();
    // The system is asked off the async threads: a disk may hang.
    let of_system = tokio::task::spawn_blocking(move || (machine::disk(&paths), process::families(started))).await.ok();
    let (disk, process) = of_system.unwrap_or_default();
    let metrics = &app.metrics;
    let mut families = levels(app);
    families.extend(counts(metrics));
    families.extend(personas(metrics));
    families.extend(durations(metrics));
    families.extend(writes(
        &metrics.store,
        ["frontdesk_store_changes", "frontdesk_store_failures", "frontdesk_store_commit_seconds"],
        [
            "Changes that the store has committed.",
            "Batches of changes that the store could not commit.",
            "How long the store took for a batch, commit included.",
        ],
    ));
    families.extend(writes(
        &metrics.events,
        ["frontdesk_events", "frontdesk_event_log_failures", "frontdesk_event_log_commit_seconds"],
        [
            "Events that the log of events has taken.",
            "Batches of events that the log of events could not commit.",
            "How long the log of events took for a batch, commit included.",
        ],
    ));
    if let Some(disk) = disk {
        families.extend([
            Family::gauge("frontdesk_disk_free_bytes", "Free on the data directory's disk.", disk.free_bytes as f64),
            Family::gauge("frontdesk_disk_size_bytes", "Size of the data directory's disk.", disk.total_bytes as f64),
            Family::gauge("frontdesk_store_size_bytes", "Store and log of events on disk.", disk.store_bytes as f64),
        ]);
    }
    families.extend(process);
    families
}

/// What there is at this moment.
fn levels(app: &App) -> Vec<Family> {
    let (census, load, queue) = (app.store.census(), app.registry.load(), QueueView::of(app));
    let phases = [
        ("pending", census.pending),
        ("starting", census.starting),
        ("running", census.running),
        ("stopping", census.stopping),
    ];
    let config = app.config();
    let limits = &config.limits;
    let checks = app.checks().into_iter().map(|check| (check.name, f64::from(u8::from(check.ok))));
    let mut families = vec![
        Family::gauges(
            "frontdesk_build_info",
            "1, by the version that runs.",
            "version",
            [(env!("CARGO_PKG_VERSION"), 1.0)],
        ),
        Family::gauges("frontdesk_ready", "1 for each check of /readyz that passes, else 0.", "check", checks),
        Family::gauge(
            "frontdesk_store_room",
            "1 while the store may grow, 0 while the disk is full and its ballast released.",
            f64::from(u8::from(app.store.room().is_ok())),
        ),
        Family::gauges(
            "frontdesk_sessions",
            "Live sessions.",
            "phase",
            phases.map(|(phase, count)| (phase, count as f64)),
        ),
        Family::gauge(
            "frontdesk_sessions_restarting",
            "Those among the starting sessions that have had a running agent.",
            census.restarting as f64,
        ),
        Family::gauge(
            "frontdesk_agents",
            "Sessions with an agent, or with one that is being started.",
            load.running as f64,
        ),
        Family::gauge("frontdesk_agents_max", "How many of these there may be.", f64::from(limits.max_running)),
        Family::gauge("frontdesk_agents_starting", "Agents that are being brought up.", load.starting as f64),
        Family::gauge("frontdesk_queue_length", "Sessions that wait to be started.", queue.length as f64),
        Family::gauge(
            "frontdesk_queue_oldest_wait_seconds",
            "How long the oldest of them has been waiting; 0 if none waits.",
            queue.oldest_wait_seconds.unwrap_or(0.0),
        ),
        Family::gauge("frontdesk_connections", "Open connections.", app.metrics.connections.get() as f64),
        Family::gauge("frontdesk_streams", "Open streams of events, logs and answers.", app.streams.count() as f64),
    ];
    let certificate_end = app.metrics.certificate_end.get();
    families.extend(certificate_end.map(|end| {
        let help = "When the certificate in force ends, since the Unix epoch.";
        Family::gauge("frontdesk_certificate_expiry_seconds", help, end as f64)
    }));
    families
}

/// What has happened since the server was started.
fn counts(metrics: &Metrics) -> Vec<Family> {
    let refused = metrics.refused.iter().filter(|(code, count)| *count > 0 || openapi::refuses_admission(code));
    let admissions = std::iter::once(("admitted", metrics.admitted.get())).chain(refused);
    let checks = [("decided", metrics.checks.decided.get()), ("failed", metrics.checks.failed.get())];
    vec![
        Family::counters(
            "frontdesk_admissions",
            "Calls for a session that were admitted, or refused by this code.",
            "outcome",
            admissions,
        ),
        Family::counters("frontdesk_sessions_ended", "Sessions that have ended.", "outcome", metrics.ended.iter()),
        Family::counters(
            "frontdesk_requests",
            "Requests for agents, by what came of them.",
            "outcome",
            metrics.requests.iter(),
        ),
        Family::counters(
            "frontdesk_http_answers",
            "Answers over HTTP, by the code of the refusal or `ok`.",
            "outcome",
            metrics.answers.iter(),
        ),
        Family::counters(
            "frontdesk_credential_checks",
            "Checks of credentials that had a verdict, or failed to have one.",
            "outcome",
            checks,
        ),
        Family::counter(
            "frontdesk_connections_refused",
            "Connections that were closed because their address had too many.",
            metrics.connections_refused.get(),
        ),
    ]
}

/// What happened to the sessions of each persona.
fn personas(metrics: &Metrics) -> Vec<Family> {
    let each = |name, help, count: fn(&PersonaMetrics) -> u64| {
        let counts = metrics.personas.iter().map(|persona| (&*persona.name, count(persona)));
        Family::counters(name, help, "persona", counts)
    };
    vec![
        each("frontdesk_starts", "First starts of agents that came to be ready.", |persona| persona.started.get()),
        each("frontdesk_start_failures", "First starts of agents that failed.", |persona| persona.failed_starts.get()),
        each("frontdesk_restarts", "Starts of agents after the loss of one.", |persona| persona.restarts.get()),
        each("frontdesk_sessions_failed", "Sessions that ended as failed.", |persona| persona.failed.get()),
    ]
}

/// How long things took.
fn durations(metrics: &Metrics) -> Vec<Family> {
    vec![
        Family::histogram(
            "frontdesk_admission_seconds",
            "How long an admission took, from the whole request to the session on disk.",
            &metrics.admissions,
        ),
        Family::histogram(
            "frontdesk_start_seconds",
            "How long a first start took, from initialise to the agent being ready.",
            &metrics.starts,
        ),
        Family::histogram(
            "frontdesk_request_seconds",
            "How long an agent took for a request.",
            &metrics.request_durations,
        ),
        Family::histograms(
            "frontdesk_http_seconds",
            "How long a call took until its answer began.",
            "class",
            metrics.latencies.iter().map(|(class, durations)| (*class, durations)),
        ),
        Family::histogram(
            "frontdesk_credential_check_seconds",
            "How long a check of credentials took.",
            &metrics.checks.durations,
        ),
        Family::histogram(
            "frontdesk_recovery_seconds",
            "How long this server took to take up what an earlier one left.",
            &metrics.recovery,
        ),
    ]
}

fn writes(writes: &Writes, names: [&'static str; 3], help: [&'static str; 3]) -> [Family; 3] {
    [
        Family::counter(names[0], help[0], writes.written.get()),
        Family::counter(names[1], help[1], writes.failures.get()),
        Family::histogram(names[2], help[2], &writes.commits),
    ]
}
