//! The customers' page at `/`: sign in, choose a persona, see the session start, talk to its agent, end it.
//!
//! Its files need nothing from anywhere else and use only `/v1`, so that whoever wants a page of their own can copy them
//! as they are. The one thing that the server adds is the choice of personas, which is asked for before anybody is known.

use axum::response::Response;
use bytes::Bytes;
use maud::{Markup, html};

use crate::config::Config;

use super::asset::{HTML, Policy, SCRIPT, STYLE, SVG, asset};
use super::call::Call;
use super::error::Refusal;

/// Whether a path belongs to the page.
pub(super) fn is_at(path: &str) -> bool {
    path == "/" || path.starts_with("/page/")
}

pub(super) fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    // Under a name that somebody else has pointed here, a browser would keep tokens for that somebody's pages.
    if !app.is_our_host(admitted.caller.peer, &parts) {
        return Refusal::UnknownHost.problem();
    }
    asset(page(&app.config()).into(), HTML, Policy::WithScript)
}

pub(super) fn script(_: Call) -> Response {
    file(include_bytes!("page/page.js"), SCRIPT)
}

pub(super) fn style(_: Call) -> Response {
    file(include_bytes!("page/style.css"), STYLE)
}

pub(super) fn icon(_: Call) -> Response {
    file(include_bytes!("console/icon.svg"), SVG)
}

fn file(text: &'static [u8], content_type: &'static str) -> Response {
    asset(Bytes::from_static(text), content_type, Policy::WithScript)
}

fn page(config: &Config) -> String {
    include_str!("page/index.html").replace("{personas}", &choice(config).into_string())
}

/// The choice of personas: none if there is only one, and a name to type if they are not to be told.
fn choice(config: &Config) -> Markup {
    let names: Vec<_> = config.personas.keys().map(ToString::to_string).collect();
    html! {
        @if !config.page.list_personas {
            label for="persona" { "Kind of session" }
            input id="persona" name="persona" autocapitalize="none" autocomplete="on" spellcheck="false" required;
        } @else if let [only] = names.as_slice() {
            input type="hidden" name="persona" value=(only);
        } @else {
            label for="persona" { "Kind of session" }
            select id="persona" name="persona" {
                @for name in &names { option { (name) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(toml: &str) -> String {
        page(&toml::from_str(toml).unwrap())
    }

    const TWO: &str = "[personas.SALES]\ncommand = [\"true\"]\n[personas.SUPPORT]\ncommand = [\"true\"]\n";

    #[test]
    fn the_one_persona_that_there_is_needs_no_choice() {
        let page = page_of("");
        assert!(page.contains(r#"<input type="hidden" name="persona" value="CUSTOMERS">"#), "{page}");
        assert!(!page.contains("<select"), "{page}");
    }

    #[test]
    fn of_several_personas_one_is_chosen() {
        let page = page_of(TWO);
        assert!(page.contains("<option>SALES</option><option>SUPPORT</option></select>"), "{page}");
    }

    #[test]
    fn personas_that_are_not_to_be_told_are_typed() {
        let page = page_of(&format!("{TWO}[page]\nlist_personas = false\n"));
        assert!(page.contains(r#"<input id="persona" name="persona""#), "{page}");
        assert!(!page.contains("SALES"), "{page}");
    }
}
