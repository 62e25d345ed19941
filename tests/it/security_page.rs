//! docs/SECURITY.md: every requirement has its row, and every test that it names is there.

use std::collections::BTreeSet;
use std::fs;

use frontdesk::credential::password;

use crate::harness::{repository, rust_files};

/// How many requirements of level 1 and 2 each section of ASVS 5.0.0 has, by the last number of each; where a section
/// has some of level 3 among them, they are left out.
const REQUIREMENTS: [(&str, &[u32]); 14] = [
    ("6.1", &[1, 2, 3]),
    ("6.2", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ("6.3", &[1, 2, 3, 4]),
    ("6.4", &[1, 2, 3, 4]),
    ("6.5", &[1, 2, 3, 4, 5]),
    ("6.6", &[1, 2, 3]),
    ("6.7", &[]),
    ("6.8", &[1, 2, 3, 4]),
    ("7.1", &[1, 2, 3]),
    ("7.2", &[1, 2, 3, 4]),
    ("7.3", &[1, 2]),
    ("7.4", &[1, 2, 3, 4, 5]),
    ("7.5", &[1, 2]),
    ("7.6", &[1, 2]),
];

#[test]
fn every_requirement_of_level_one_and_two_has_its_row_and_no_row_is_empty() {
    let page = page();
    let mut found = Vec::new();
    for cells in rows(&page) {
        let [ids, level, asks, here, why] = cells[..] else { panic!("a row has five cells: {cells:?}") };
        assert!(["1", "2"].contains(&level), "{ids}");
        assert!(["met", "partly", "not met", "n/a"].contains(&here), "{ids}: {here}");
        assert!(!asks.is_empty() && !why.is_empty(), "{ids}");
        let (first, last) = ids.split_once(" - ").unwrap_or((ids, ids));
        let (section, from) = first.rsplit_once('.').unwrap();
        let to = last.rsplit_once('.').unwrap().1;
        found.extend((from.parse().unwrap()..=to.parse().unwrap()).map(|number: u32| format!("{section}.{number}")));
    }
    let all = REQUIREMENTS.iter().flat_map(|(section, numbers)| numbers.iter().map(move |n| format!("{section}.{n}")));
    assert_eq!(found, all.collect::<Vec<_>>());
}

#[test]
fn every_test_that_the_page_names_is_there_and_is_run() {
    let page = page();
    // Names of settings are shorter.
    let is_test = |text: &&str| text.matches('_').count() > 3 && text.chars().all(|c| c == '_' || c.is_alphanumeric());
    let in_rows = rows(&page).flat_map(|cells| quoted(cells[4]).filter(|text| text.contains('_')));
    let in_rows = in_rows.filter(|text| text.chars().all(|c| c == '_' || c.is_alphanumeric()));
    let named: BTreeSet<_> = quoted(&page).filter(is_test).chain(in_rows).collect();
    assert!(named.len() > 80, "{}", named.len());
    let sources = ["src", "crates", "tests"].map(|directory| rust_files(&repository().join(directory))).concat();
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for name in named {
        let (before, _) =
            sources.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("there is no test {name}"));
        let attributes: Vec<_> = before.trim_end().rsplit('\n').take(4).collect();
        // The contract of stores runs its tests out of a list, and `proptest!` has its attribute at its head.
        let is_run = attributes.iter().any(|line| line.trim_start().starts_with("#[test]") || line.contains("::test"))
            || sources.matches(name).count() > 1;
        assert!(is_run, "{name} is no test");
    }
}

#[test]
fn the_words_that_are_no_passwords_stand_in_the_page() {
    let page = page();
    for word in password::WORDS {
        assert!(page.contains(&format!("`{word}`")), "`{word}` is missing");
    }
}

/// The cells of each requirement's row.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.filter(|row| row.starts_with(['6', '7'])).map(|row| row.split(" | ").collect())
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/SECURITY.md")).unwrap()
}
