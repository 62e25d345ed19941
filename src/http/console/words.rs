//! Numbers and times in words that are read at a glance. Pure.

use std::time::Duration;

use maud::{Markup, html};

use crate::clock::WallTime;
use crate::id::{Printable, is_reordering};

/// What is said where a filter by email has found nothing.
pub(super) const WHOLE_EMAIL: &str = "The filter takes the whole email.";

/// A duration in its two largest units.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() > 0 => format!("{} ms", duration.as_millis()),
        0..10 if duration.subsec_millis() >= 100 => format!("{:.1} s", duration.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    if small == 0 || large >= 10 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

/// A number of seconds as [`duration`] says it.
pub(super) fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "for ever".to_owned(), duration)
}

/// A size to three digits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1_000.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    let digits = if unit == 0 || amount >= 100.0 { 0 } else { usize::from(amount < 10.0) };
    format!("{amount:.digits$} {}", UNITS[unit])
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago, with the time itself for whoever points at it. `at` is in RFC 3339, as all views have it.
pub(super) fn ago(at: &str, now: WallTime) -> Markup {
    let elapsed = at.parse().ok().map(|at: WallTime| since(at, now));
    html! { time datetime=(at) title=(at) { (elapsed.map_or_else(|| at.to_owned(), duration)) } }
}

/// How long until a moment, with the time itself.
pub(super) fn left(at: &str, now: WallTime) -> Markup {
    let left = at.parse().ok().map(|at: WallTime| since(now, at));
    html! { time datetime=(at) title=(at) { (left.map_or_else(|| at.to_owned(), duration)) } }
}

/// The time between two moments, to the second; nothing if the clock was set back between them.
fn since(at: WallTime, now: WallTime) -> Duration {
    let millis = now.unix_millis().saturating_sub(at.unix_millis());
    Duration::from_secs(u64::try_from(millis / 1_000).unwrap_or(0))
}

/// Text from outside: what does not print, or would turn around what stands beside it, is escaped; a long one is cut.
pub(super) fn text(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// The same without its element, for where only text may stand.
pub(super) fn plain(text: &str) -> String {
    // What is nothing but spaces would not be seen, and could not be pointed at.
    if !text.is_empty() && text.trim().is_empty() {
        return format!("\"{}\"", Printable(text));
    }
    Printable(text).to_string()
}

/// The same as [`text`], whole: for a page about one thing, which has room for all of it.
pub(super) fn whole(text: &str) -> Markup {
    html! { bdi { (code(text)) } }
}

/// Many lines from outside, whole: only what does not print, or would turn around what stands beside it, is escaped.
pub(super) fn code(text: &str) -> String {
    let is_hidden =
        |character: char| (character.is_control() && !matches!(character, '\t' | '\n')) || is_reordering(character);
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) { shown.extend(character.escape_unicode()) } else { shown.push(character) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_their_two_largest_units() {
        let said = |millis| duration(Duration::from_millis(millis));
        for (millis, words) in [
            (0, "0 s"),
            (7, "7 ms"),
            (1_000, "1 s"),
            (1_450, "1.4 s"),
            (59_999, "59 s"),
            (90_000, "1 min 30 s"),
            (900_000, "15 min"),
            (3_600_000, "1 h"),
            (3_720_000, "1 h 2 min"),
            (90_000_000, "1 d 1 h"),
            (9_000_000_000, "104 d"),
        ] {
            assert_eq!(said(millis), words, "{millis}");
        }
    }

    #[test]
    fn sizes_have_at_most_three_digits() {
        for (size, words) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_023, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (50 << 20, "50 MiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(bytes(size), words);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn hostile_text_is_only_text() {
        let shown = text("<script>\u{202e}\u{7}\"&").into_string();
        assert_eq!(shown, r"<bdi>&lt;script&gt;\u{202e}\u{7}&quot;&amp;</bdi>");
    }

    #[test]
    fn a_name_of_spaces_is_seen() {
        assert_eq!((plain("  "), plain(" a"), plain("")), ("\"  \"".into(), " a".into(), String::new()));
    }

    #[test]
    fn code_is_shown_whole_and_hides_nothing() {
        assert_eq!(
            code("{\"a\":\n\t\"\u{202e}gnp.exe\u{61c}\u{7f}\"}"),
            "{\"a\":\n\t\"\\u{202e}gnp.exe\\u{61c}\\u{7f}\"}"
        );
        assert_eq!(code(&"x".repeat(1_000)).len(), 1_000);
    }

    #[test]
    fn what_is_in_the_future_was_just_now() {
        let now = WallTime::from_unix_millis(1_000);
        assert_eq!(since(WallTime::from_unix_millis(9_000), now), Duration::ZERO);
        assert!(ago("1970-01-01T00:00:00Z", WallTime::from_unix_millis(61_000)).into_string().contains(">1 min 1 s<"));
        assert!(ago("<nonsense>", now).into_string().contains("&lt;nonsense&gt;"));
    }
}
