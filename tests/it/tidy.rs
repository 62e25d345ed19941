//! Rules of the tree that no compiler checks.

use std::fs;

use frontdesk::failpoint::Failpoint;

use crate::harness::{repository, rust_files};

#[test]
fn the_pure_files_name_no_runtime_no_database_and_no_clock() {
    let of_server = ["agent/calls.rs", "metrics/history.rs", "metrics/durations.rs", "json.rs"];
    let of_server = of_server.map(|file| repository().join("src").join(file));
    for path in rust_files(&repository().join("crates/model/src")).into_iter().chain(of_server) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for forbidden in ["tokio", "axum", "hyper", "rusqlite", "SystemClock", "dyn Clock", "tracing"] {
            assert!(!code.contains(forbidden), "{} names {forbidden}", path.display());
        }
    }
}

#[test]
fn refusals_get_their_status_in_one_file() {
    const SUCCESSES: [&str; 6] = ["OK", "CREATED", "ACCEPTED", "NO_CONTENT", "NOT_MODIFIED", "SEE_OTHER"];
    // The seed's one refusal that carries a token, and the document, which only compares.
    let others = ["http/code.rs", "http/seed/create.rs", "http/openapi.rs"];
    for path in rust_files(&repository().join("src/http")) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let statuses = code.split("StatusCode::").skip(1);
        let mut names =
            statuses.map(|rest| rest.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).next().unwrap());
        let decided = names.find(|name| !SUCCESSES.contains(name));
        let may = others.iter().any(|file| path.ends_with(file));
        assert!(may || decided.is_none(), "{} decides about the status {decided:?}", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let all = ["src", "crates"].map(|directory| rust_files(&repository().join(directory)));
    for path in all.into_iter().flatten() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!") || path.ends_with("tests.rs"), "{} has no head", path.display());
    }
}

#[test]
fn every_dependency_has_its_reason_written_down() {
    let reasons = fs::read_to_string(repository().join("docs/design/dependencies.md")).unwrap();
    let crates = fs::read_dir(repository().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    for directory in crates.chain([repository().to_owned()]) {
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("\n[dependencies]").nth(1).unwrap().split("\n[profile").next().unwrap();
        let lines = dependencies.split("\n[lints]").next().unwrap().lines();
        let names =
            lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.trim_end_matches(".workspace"));
        for name in names.filter(|name| !name.starts_with(['#', '[']) && !name.starts_with("frontdesk-")) {
            assert!(reasons.contains(name), "docs/design/dependencies.md does not say why {name} is here");
        }
    }
}

/// docs/STYLE.md asks for less than 25 as a rule.
const WORDS_OF_A_SENTENCE: usize = 35;

#[test]
fn no_sentence_of_the_docs_is_too_long_to_be_read_once() {
    let folders = ["docs", "docs/design"].map(|folder| fs::read_dir(repository().join(folder)).unwrap());
    let pages = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for page in pages.chain([repository().join("README.md")]) {
        for block in blocks(&fs::read_to_string(&page).unwrap()) {
            let mut words = 0;
            for word in block.split_whitespace() {
                words += usize::from(word.contains(char::is_alphanumeric));
                assert!(words <= WORDS_OF_A_SENTENCE, "{}: too long a sentence in\n{block}", page.display());
                if word.trim_end_matches([')', '*', '"']).ends_with(['.', '!', '?']) {
                    words = 0;
                }
            }
        }
    }
}

/// The paragraphs of a page, the items of its lists and the cells of its tables; code counts as one word.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    // Between every other pair of fences stands code.
    for line in page.split("```").step_by(2).flat_map(|prose| prose.lines().chain([""])) {
        let line = line.trim();
        let is_numbered = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        if line.is_empty() || is_numbered || line.starts_with(['#', '|', '>', '-']) {
            blocks.push(String::new());
        }
        let mut cells = line.trim_matches('|').split(if line.starts_with('|') { '|' } else { '\n' });
        let first = cells.next().unwrap_or_default();
        let block = blocks.last_mut().expect("there is a first block");
        *block = format!("{block} {first}");
        blocks.extend(cells.map(str::to_owned));
    }
    blocks.iter().map(|block| without_code(block)).collect()
}

fn without_code(text: &str) -> String {
    text.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "code" }).collect()
}

#[test]
fn every_failpoint_stands_somewhere() {
    let sources: String = rust_files(&repository().join("src"))
        .iter()
        .filter(|path| !path.ends_with("failpoint.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for point in Failpoint::ALL.iter().chain(&Failpoint::OF_SHIMS).chain(&Failpoint::OF_BACKUPS) {
        assert!(sources.contains(&format!("Failpoint::{point:?}")), "{point:?} stands nowhere");
    }
}
