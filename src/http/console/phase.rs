//! A session's phase as a sign: a word and a shape, and a colour that says no more than these.

use maud::{Markup, html};

use crate::session::{Outcome, PhaseName};

/// The sign of a phase; of an ended session, of its outcome.
pub(super) fn badge(phase: PhaseName, outcome: Option<Outcome>) -> Markup {
    let (look, shape, word) = match (phase, outcome) {
        (PhaseName::Pending, _) => ("pending", ring(), "PENDING"),
        (PhaseName::Starting, _) => ("starting", half(), "STARTING"),
        (PhaseName::Running, _) => ("running", disc(), "RUNNING"),
        (PhaseName::Stopping, _) => ("stopping", hourglass(), "STOPPING"),
        (PhaseName::Ended, Some(Outcome::Failed)) => ("failed", cross(), "ENDED failed"),
        (PhaseName::Ended, Some(Outcome::Completed)) => ("completed", tick(), "ENDED completed"),
        (PhaseName::Ended, Some(Outcome::Stopped)) => ("ended", square(), "ENDED stopped"),
        (PhaseName::Ended, Some(Outcome::Expired)) => ("ended", hourglass(), "ENDED expired"),
        (PhaseName::Ended, None) => ("ended", square(), "ENDED"),
    };
    html! {
        span class={ "badge " (look) } {
            svg viewBox="0 0 12 12" width="11" height="11" aria-hidden="true" { (shape) }
            (word)
        }
    }
}

/// The class that colours a phase in pictures.
pub(super) const fn look(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Pending => "pending",
        PhaseName::Starting => "starting",
        PhaseName::Running => "running",
        PhaseName::Stopping => "stopping",
        PhaseName::Ended => "ended",
    }
}

fn ring() -> Markup {
    html! { circle cx="6" cy="6" r="4.25" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2.4 1.6" {} }
}

fn half() -> Markup {
    html! {
        circle cx="6" cy="6" r="4.25" fill="none" stroke="currentColor" stroke-width="1.5" {}
        path d="M6 1.75a4.25 4.25 0 0 1 0 8.5z" fill="currentColor" {}
    }
}

fn disc() -> Markup {
    html! { circle cx="6" cy="6" r="5" fill="currentColor" {} }
}

fn hourglass() -> Markup {
    html! { path d="M2 1h8L7 6l3 5H2l3-5z" fill="currentColor" {} }
}

fn cross() -> Markup {
    html! { path d="M2 2l8 8M10 2l-8 8" fill="none" stroke="currentColor" stroke-width="2" {} }
}

fn tick() -> Markup {
    html! { path d="M1.5 6.5l3 3 6-7" fill="none" stroke="currentColor" stroke-width="2" {} }
}

fn square() -> Markup {
    html! { rect x="2" y="2" width="8" height="8" fill="currentColor" {} }
}
