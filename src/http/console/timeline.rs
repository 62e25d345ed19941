//! A session's life as a picture: its phases from the request to the end, one after the other. Pure.
//!
//! Lives are of very different lengths, and so are their phases: a start takes milliseconds, a run takes days. So a
//! phase is drawn as wide as the logarithm of its length says; the numbers beneath say how long it was.

use maud::{Markup, html};
use serde::Deserialize;

use crate::clock::WallTime;
use crate::events::{Event, Kind};
use crate::session::{Outcome, PhaseName};

use super::{phase, words};

/// A step of a session's life: the phase that it came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    at: WallTime,
    phase: PhaseName,
    epoch: u32,
    outcome: Option<Outcome>,
    reason: Option<String>,
}

/// A phase with its place in the picture.
#[derive(Debug)]
struct Segment<'a> {
    step: &'a Step,
    /// How long it was, or has been.
    length: std::time::Duration,
    left: f64,
    width: f64,
}

const WIDTH: f64 = 1_000.0;

impl Step {
    /// The step that a transition tells of.
    pub(super) fn of(event: &Event) -> Option<Self> {
        #[derive(Deserialize)]
        struct Transition {
            phase: PhaseName,
            epoch: u32,
            outcome: Option<Outcome>,
            reason: Option<String>,
        }
        if event.kind != Kind::Transition {
            return None;
        }
        let Transition { phase, epoch, outcome, reason } = serde_json::from_slice(&event.body).ok()?;
        Some(Self { at: event.at, phase, epoch, outcome, reason })
    }
}

/// The picture of these steps, which are in their order, and the same as a table.
pub(super) fn picture(steps: &[Step], now: WallTime) -> Markup {
    let segments = segments(steps, now);
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return html! { p.empty { "No steps of it are kept." } };
    };
    html! {
        figure.timeline {
            div.scroll tabindex="0" role="region" aria-label="Timeline" {
                svg viewBox={ "0 0 " (WIDTH) " 66" } role="img" aria-label=(in_words(&segments, last)) {
                    @for segment in &segments { (drawn(segment)) }
                    @for (left, epoch) in epochs(&segments) {
                        line.epoch x1=(left) x2=(left) y1="0" y2="44" {}
                        text.epoch x=(left + 4.0) y="11" { "epoch " (epoch) }
                    }
                }
            }
            figcaption.quiet {
                span { (first.at) }
                span { "not to scale" }
                span {
                    @if last.phase == PhaseName::Ended { (last.at) } @else { "now" }
                }
            }
            details {
                summary { "The same as a table" }
                div.scroll { (table(steps, &segments)) }
            }
        }
    }
}

fn drawn(segment: &Segment<'_>) -> Markup {
    let Segment { step, length, left, width } = segment;
    let name = step.phase.name();
    let length = words::duration(*length);
    html! {
        g class=(phase::look(step.phase)) {
            title { (name) " for " (length) }
            rect x=(round(*left)) y="16" width=(round((width - 2.0).max(1.0))) height="28" rx="3" {}
            @if fits(name, *width) {
                text.name x=(round(left + 8.0)) y="34" { (name) }
            } @else if fits(&name[..1], *width) {
                text.name x=(round(left + 6.0)) y="34" { (&name[..1]) }
            }
            @if fits(&length, *width) { text.length x=(round(left + 2.0)) y="59" { (length) } }
        }
    }
}

fn fits(text: &str, width: f64) -> bool {
    const CHARACTER: f64 = 8.0;
    const AROUND: f64 = 12.0;
    text.chars().count() as f64 * CHARACTER + AROUND <= width
}

fn table(steps: &[Step], segments: &[Segment<'_>]) -> Markup {
    let lengths = segments.iter().map(|segment| words::duration(segment.length));
    let lengths = lengths.chain(std::iter::repeat("–".to_owned()));
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Since" }
                    th scope="col" { "Phase" }
                    th.number scope="col" { "For" }
                    th.number scope="col" { "Epoch" }
                    th scope="col" { "Why" }
                }
            }
            tbody {
                @for (step, length) in steps.iter().zip(lengths) {
                    tr {
                        td { (step.at) }
                        td { (phase::badge(step.phase, step.outcome)) }
                        td.number { (length) }
                        td.number { (step.epoch) }
                        td { @if let Some(reason) = &step.reason { (words::whole(reason)) } }
                    }
                }
            }
        }
    }
}

fn in_words(segments: &[Segment<'_>], last: &Step) -> String {
    let mut phases: Vec<_> = segments
        .iter()
        .map(|segment| format!("{} for {}", segment.step.phase.name(), words::duration(segment.length)))
        .collect();
    if last.phase == PhaseName::Ended {
        phases.push(last.outcome.map_or_else(|| "ENDED".to_owned(), |outcome| format!("ENDED {outcome}")));
    }
    phases.join(", then ")
}

/// Where an agent of a new epoch begins.
fn epochs(segments: &[Segment<'_>]) -> Vec<(f64, u32)> {
    const ROOM: f64 = 62.0;
    let mut known = 0;
    let mut begun: Vec<(f64, u32)> = Vec::new();
    for segment in segments.iter().filter(|segment| segment.step.epoch > 0) {
        let has_room = begun.last().is_none_or(|(left, _)| segment.left - left >= ROOM);
        if segment.step.epoch > known && has_room && segment.left + ROOM <= WIDTH {
            begun.push((round(segment.left), segment.step.epoch));
            known = segment.step.epoch;
        }
    }
    begun
}

/// Gives every phase but the end its place.
fn segments(steps: &[Step], now: WallTime) -> Vec<Segment<'_>> {
    let length = |from: WallTime, to: WallTime| {
        let millis = to.unix_millis().saturating_sub(from.unix_millis());
        std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    };
    let ends = steps.iter().skip(1).map(|step| step.at).chain([now]);
    let phases: Vec<_> = steps
        .iter()
        .zip(ends)
        .filter(|(step, _)| step.phase != PhaseName::Ended)
        .map(|(step, end)| (step, length(step.at, end)))
        .collect();
    let weight = |length: &std::time::Duration| (1.0 + length.as_secs_f64() * 10.0).ln() + 0.05;
    let all: f64 = phases.iter().map(|(_, length)| weight(length)).sum();
    let narrowest = (WIDTH / (phases.len().max(1) as f64)).min(6.0);
    let room = WIDTH - narrowest * phases.len() as f64;
    let mut left = 0.0;
    let placed = phases.into_iter().map(|(step, length)| {
        let width = narrowest + room * weight(&length) / all;
        let segment = Segment { step, length, left, width };
        left += width;
        segment
    });
    placed.collect()
}

/// A tenth of a unit is finer than any screen.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;

    fn step(seconds: i64, phase: PhaseName, epoch: u32) -> Step {
        Step { at: WallTime::from_unix_millis(seconds * 1_000), phase, epoch, outcome: None, reason: None }
    }

    fn crashed_once() -> Vec<Step> {
        vec![
            step(0, PhaseName::Pending, 0),
            step(10, PhaseName::Starting, 1),
            step(11, PhaseName::Running, 1),
            step(3_611, PhaseName::Starting, 2),
            step(3_612, PhaseName::Running, 2),
        ]
    }

    #[test]
    fn phases_follow_one_another_and_fill_the_picture() {
        let steps = crashed_once();
        let segments = segments(&steps, WallTime::from_unix_millis(3_700_000));

        assert_eq!(segments.iter().map(|segment| segment.length.as_secs()).collect::<Vec<_>>(), [10, 1, 3_600, 1, 88]);
        for pair in segments.windows(2) {
            assert!((pair[0].left + pair[0].width - pair[1].left).abs() < 1e-6);
        }
        let last = segments.last().unwrap();
        assert!((last.left + last.width - WIDTH).abs() < 1e-6);
        assert!(segments[2].width > segments[0].width && segments[0].width > segments[1].width);
        assert_eq!(epochs(&segments).iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_picture_says_in_words_what_it_shows_and_an_end_has_no_length() {
        let mut steps = crashed_once();
        steps.push(Step { outcome: Some(Outcome::Failed), ..step(3_700, PhaseName::Ended, 2) });

        let segments = segments(&steps, WallTime::from_unix_millis(9_999_000));

        assert_eq!(
            in_words(&segments, steps.last().unwrap()),
            "PENDING for 10 s, then STARTING for 1 s, then RUNNING for 1 h, then STARTING for 1 s, then RUNNING for \
             1 min 28 s, then ENDED failed"
        );
    }

    #[test]
    fn any_number_of_phases_fits_and_a_clock_that_was_set_back_does_no_harm() {
        let steps: Vec<_> = (0..400).map(|at| step(-at, PhaseName::Running, 1)).collect();
        for segment in segments(&steps, WallTime::from_unix_millis(-500_000)) {
            assert!(segment.width > 0.0 && segment.left + segment.width < WIDTH + 0.1 && segment.length.is_zero());
        }
        assert!(picture(&[], WallTime::from_unix_millis(0)).into_string().contains("No steps of it are kept"));
    }

    #[test]
    fn a_hostile_reason_is_only_text() {
        let body =
            br#"{"phase":"ENDED","epoch":1,"revision":4,"outcome":"failed","reason":"<img src=x onerror=alert(1)>"}"#;
        let event = Event {
            number: 4,
            epoch: Epoch(1),
            kind: Kind::Transition,
            at: WallTime::from_unix_millis(0),
            body: body[..].into(),
        };
        let steps = vec![step(0, PhaseName::Running, 1), Step::of(&event).unwrap()];

        let text = picture(&steps, WallTime::from_unix_millis(0)).into_string();

        assert!(text.contains("&lt;img src=x onerror=alert(1)&gt;") && !text.contains("<img"));
        let said = Event { kind: Kind::Event, ..event };
        assert_eq!(Step::of(&said), None);
    }
}
