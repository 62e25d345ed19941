//! docs/API.md and the other pages name the calls and codes that there are, all of them and no others.

use std::collections::BTreeSet;
use std::fs;

use frontdesk::http::access::Access;
use frontdesk::http::code::Code;
use frontdesk::http::routes::{ROUTES, Route};

use crate::harness::repository;

#[test]
fn every_call_of_ours_has_its_line() {
    let lines = ROUTES.iter().filter_map(|route| {
        let summary = route.operation?.summary;
        Some(format!("| `{} {}` | {summary} | {} |", route.method, route.path, who(route)))
    });
    stand_in_the_page(lines);
}

#[test]
fn every_code_has_its_line() {
    let lines = Code::ALL
        .iter()
        .map(|code| format!("| `{}` | {} | {} |", code.in_lower_case(), code.status().as_u16(), code.meaning()));
    stand_in_the_page(lines);
}

#[test]
fn every_call_that_a_page_names_is_there() {
    let routes: BTreeSet<String> = ROUTES.iter().map(|route| call(route.method.as_str(), route.path)).collect();
    let folders = ["docs", "docs/design"].map(|folder| fs::read_dir(repository().join(folder)).unwrap());
    let docs = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut named = 0;
    for page in docs.chain([repository().join("README.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        for (method, path) in calls(&text) {
            named += 1;
            assert!(routes.contains(&call(method, path)), "{}: there is no {method} {path}", page.display());
        }
    }
    let ours = ROUTES.iter().filter(|route| route.path.starts_with("/v1/")).count();
    assert!(named > ours, "the pages were not read: they name {named} calls");
}

fn stand_in_the_page(lines: impl Iterator<Item = String>) {
    let page = fs::read_to_string(repository().join("docs/API.md")).unwrap();
    let missing: Vec<_> = lines.filter(|line| !page.contains(line)).collect();
    assert!(missing.is_empty(), "docs/API.md lacks\n{}", missing.join("\n"));
}

fn who(route: &Route) -> String {
    match route.access {
        Access::Anyone => "anybody".to_owned(),
        Access::Password => "the customer's password".to_owned(),
        Access::LocalOrToken => "programs on the machine, the session's token".to_owned(),
        Access::Token | Access::OwnSession => "the session's token".to_owned(),
        Access::SignIn => "an operator's token in the body".to_owned(),
        Access::Known => "any token".to_owned(),
        Access::Session(scope) => format!("the session's token, `{scope}`"),
        Access::AnyOperator => "any operator".to_owned(),
        Access::OperatorOrLocal(scope) => format!("programs on the machine, `{scope}`"),
        Access::OperatorOfSession(scope) | Access::Operator(scope) => format!("`{scope}`"),
    }
}

/// The calls of `/v1` in a text: a method, and a path without what follows it.
fn calls(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices(" /v1/").filter_map(|(at, _)| {
        let method = text[..at].rsplit(|character: char| !character.is_ascii_uppercase()).next()?;
        let path = text[at + 1..].split(|character: char| "`?' \n|,;)".contains(character)).next()?;
        (!method.is_empty()).then_some((method, path.trim_end_matches(['.', '"'])))
    })
}

/// A call with every variable part alike: pages write `{id}`, `ID` or `EMAIL`.
fn call(method: &str, path: &str) -> String {
    let part = |part: &str| {
        let is_name = part.starts_with('{') || part.chars().all(|character| character.is_ascii_uppercase());
        if is_name && !part.is_empty() { "*".to_owned() } else { part.to_owned() }
    };
    format!("{method} {}", path.split('/').map(part).collect::<Vec<_>>().join("/"))
}
