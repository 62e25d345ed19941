//! What is in trouble, as the overview shows it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::http::App;
use crate::http::error::Refusal;
use crate::metrics::PersonaMetrics;
use crate::metrics::history::{HOUR, History, Moment};
use crate::metrics::personas::PersonaTotals;
use crate::session::Trouble;
use crate::session::registry::Troubles;

use super::view::{TroubledPersonaView, TroubledSessionView, TroubledView};

const MOST_SESSIONS: usize = 20;
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// What is in trouble now.
///
/// # Errors
/// What the store failed with.
pub(super) async fn view(app: &App, history: &History, now: &Moment) -> Result<TroubledView, Refusal> {
    let Troubles { sessions, has_more, restarting } = app.registry.troubles(MOST_SESSIONS).await?;
    Ok(TroubledView {
        personas: personas(app, history, now, restarting),
        sessions: sessions.iter().map(session).collect(),
        more_sessions: has_more,
    })
}

fn personas(
    app: &App,
    history: &History,
    now: &Moment,
    restarting: HashMap<Arc<str>, usize>,
) -> Vec<TroubledPersonaView> {
    let personas = &app.metrics.personas;
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (name, count) in &restarting {
        *by_name.entry(&personas.of(name).name).or_default() += count;
    }
    let since = |age| now.totals.since(&history.before(now.at, age).totals).personas;
    let (hour, ten_minutes) = (since(HOUR), since(TEN_MINUTES));
    let mut views: Vec<_> = personas
        .iter()
        .zip(hour.iter().zip(&ten_minutes))
        .map(|(persona, (hour, lately))| {
            let restarting = by_name.get(&*persona.name).copied().unwrap_or(0);
            persona_view(persona, hour, lately, restarting)
        })
        .filter(is_troubled)
        .collect();
    views.sort_by_key(|view| {
        Reverse((view.restarts_10_min, view.restarting, view.failed_hour, view.start_failures_hour))
    });
    views
}

fn persona_view(
    persona: &PersonaMetrics,
    hour: &PersonaTotals,
    lately: &PersonaTotals,
    restarting: usize,
) -> TroubledPersonaView {
    TroubledPersonaView {
        persona: persona.name.to_string(),
        restarting,
        restarts_10_min: lately.restarts,
        start_failures_hour: hour.failed_starts,
        failed_hour: hour.failed,
        last_reason: persona.last_loss().map(Into::into),
    }
}

fn is_troubled(view: &TroubledPersonaView) -> bool {
    let TroubledPersonaView { restarting, restarts_10_min, start_failures_hour, failed_hour, .. } = view;
    *restarting > 0 || restarts_10_min + start_failures_hour + failed_hour > 0
}

fn session(trouble: &Trouble) -> TroubledSessionView {
    let record = &trouble.record;
    TroubledSessionView {
        id: record.id,
        email: record.email().to_owned(),
        persona: record.persona.to_string(),
        phase: record.phase.kind(),
        created: record.created.to_string(),
        trouble: trouble.kind.into(),
        reason: trouble.reason(),
    }
}
