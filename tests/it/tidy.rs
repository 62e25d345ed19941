//! Rules of the tree that no compiler checks.

use std::fs;

use frontdesk::failpoint::Failpoint;

use crate::harness::{repository, rust_files};

#[test]
fn the_pure_files_name_no_runtime_no_database_and_no_clock() {
    for file in [
        "session/machine.rs",
        "session/phase.rs",
        "session/reason.rs",
        "session/record.rs",
        "session/census.rs",
        "session/trouble.rs",
        "agent/restart.rs",
        "agent/calls.rs",
        "metrics/history.rs",
        "metrics/durations.rs",
        "json.rs",
    ] {
        let text = fs::read_to_string(repository().join("src").join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for forbidden in ["tokio", "axum", "hyper", "rusqlite", "SystemClock", "dyn Clock", "tracing"] {
            assert!(!code.contains(forbidden), "src/{file} names {forbidden}");
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
