//! Small charts of the last hour, a minute a step. Pure.
//!
//! Each stands beside the number that it is about, says in words what it shows, and has no axes: its height is that of
//! its highest minute.

use std::fmt::Write as _;

use maud::{Markup, html};

/// How many minutes a chart shows.
const MINUTES: usize = 60;
const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 36.0;
/// How wide a minute is.
const STEP: f64 = WIDTH / MINUTES as f64;

/// A line for what goes up and down, the oldest minute first.
pub(super) fn line(name: &str, values: &[u64]) -> Markup {
    let values = latest(values);
    let (line, area) = paths(values);
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(in_words(name, values)) {
            path.area d=(area) {}
            path.line d=(line) {}
        }
    }
}

/// Bars for what happens, the oldest minute first.
pub(super) fn bars(name: &str, values: &[u64]) -> Markup {
    let values = latest(values);
    let left = WIDTH - values.len() as f64 * STEP;
    let bars = values.iter().enumerate().filter(|(_, value)| **value > 0).map(|(minute, value)| {
        let height = HEIGHT - level(*value, values);
        (round(left + minute as f64 * STEP), round(height))
    });
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(in_words(name, values)) {
            line.base x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
            @for (x, height) in bars {
                rect x=(x) y=(round(HEIGHT - height)) width=(STEP - 0.6) height=(height) {}
            }
        }
    }
}

/// How much of something is used, and how much there is.
pub(super) fn meter(name: &str, used: u64, all: u64) -> Markup {
    let share = if all == 0 { 0.0 } else { used.min(all) as f64 / all as f64 };
    let percent = (share * 100.0).round();
    let look = if share >= 0.95 { "meter full" } else { "meter" };
    html! {
        svg class=(look) viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={ (name) ": " (percent) " % used" } {
            rect.all width="100" height="6" {}
            rect.used width=(round(share * 100.0)) height="6" {}
        }
    }
}

fn latest(values: &[u64]) -> &[u64] {
    &values[values.len().saturating_sub(MINUTES)..]
}

/// The line, and the area beneath it. A server that was just started has drawn nothing on the left yet.
fn paths(values: &[u64]) -> (String, String) {
    let left = WIDTH - values.len() as f64 * STEP;
    let mut line = String::new();
    for (minute, value) in values.iter().enumerate() {
        let (from, level) = (left + minute as f64 * STEP, round(level(*value, values)));
        let command = if minute == 0 { 'M' } else { 'L' };
        // Each minute is a step: between two there is nothing to be guessed.
        let _ = write!(line, "{command}{} {level}L{} {level}", round(from), round(from + STEP));
    }
    let area = if line.is_empty() { String::new() } else { format!("{line}V{HEIGHT}H{}Z", round(left)) };
    (line, area)
}

/// How far from the top a value is drawn; the highest stays below the edge, so that its line is whole.
fn level(value: u64, all: &[u64]) -> f64 {
    const EDGE: f64 = 2.0;
    let highest = all.iter().copied().max().unwrap_or(0).max(1);
    HEIGHT - (HEIGHT - EDGE) * (value as f64 / highest as f64)
}

fn in_words(name: &str, values: &[u64]) -> String {
    match (values.last(), values.iter().min(), values.iter().max()) {
        (Some(now), Some(least), Some(most)) => {
            format!("{name} in the last {} min, minute by minute: {now} now, from {least} to {most}", values.len())
        }
        _ => format!("{name}: nothing is known of the last hour"),
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_minute_reaches_the_top_and_nothing_stays_on_the_ground() {
        assert_eq!([0, 5, 10].map(|value| level(value, &[0, 5, 10])), [36.0, 19.0, 2.0]);
        assert_eq!(level(0, &[0, 0]), 36.0);
        assert_eq!(level(u64::MAX, &[u64::MAX]), 2.0);
    }

    #[test]
    fn a_line_ends_at_now_and_begins_where_the_server_did() {
        let (line, area) = paths(&[0, 4]);
        assert_eq!(line, "M174 36L177 36L177 2L180 2");
        assert_eq!(area, "M174 36L177 36L177 2L180 2V36H174Z");
        assert_eq!(paths(&[]), (String::new(), String::new()));
    }

    #[test]
    fn only_the_last_hour_is_drawn() {
        let values: Vec<u64> = (0..100).collect();
        assert_eq!(latest(&values), &values[40..]);
        assert_eq!(bars("Starts", &values).into_string().matches("<rect").count(), 60);
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        assert!(
            line("Running", &[1, 7, 3])
                .into_string()
                .contains("aria-label=\"Running in the last 3 min, minute by minute: 3 now, from 1 to 7\"")
        );
        assert!(bars("Starts", &[]).into_string().contains("nothing is known"));
        assert!(meter("Disk", 3, 4).into_string().contains("Disk: 75 % used"));
        assert!(meter("Disk", 0, 0).into_string().contains("Disk: 0 % used"));
        assert!(meter("Agents", 9, 4).into_string().contains("Agents: 100 % used"));
    }
}
