//! Sentences as they stand in code, made into markup: paragraphs, lists, and words in backticks.

use maud::{Markup, html};

/// Paragraphs and lists.
pub(super) fn blocks(text: &str) -> Markup {
    html! {
        @for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
            @if block.starts_with("- ") {
                ul { @for item in block.lines().filter_map(|line| line.strip_prefix("- ")) { li { (inline(item)) } } }
            } @else {
                p { (inline(block)) }
            }
        }
    }
}

/// A sentence.
pub(super) fn inline(text: &str) -> Markup {
    html! {
        @for (position, part) in text.split('`').enumerate() {
            @if position % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// What a title is called in a link.
pub(super) fn anchor(title: &str) -> String {
    title.to_ascii_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_backticks_are_code_and_nothing_is_markup_by_itself() {
        assert_eq!(inline("a `b<c>` d & e").into_string(), "a <code>b&lt;c&gt;</code> d &amp; e");
        assert_eq!(blocks("one\n\n- a\n- b").into_string(), "<p>one</p><ul><li>a</li><li>b</li></ul>");
    }
}
