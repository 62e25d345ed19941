//! The parts of the console: where each is, and which scope opens it.

use maud::{Markup, html};

use crate::http::error::Refusal;
use crate::principal::{Operator, Scope};

/// A part of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// How the server is doing.
    Overview,
    /// Sessions, and each of them.
    Sessions,
    /// The kinds of session.
    Personas,
    /// The accounts of the embedded credential server.
    Customers,
    /// Whose sign-ins are being slowed.
    Throttled,
    /// Operators' tokens.
    Tokens,
    /// Who did what.
    Audit,
    /// No part of it: a page that says that there is none.
    None,
}

impl Section {
    /// Those in the menu, in its order.
    pub(super) const MENU: [Self; 7] =
        [Self::Overview, Self::Sessions, Self::Personas, Self::Customers, Self::Throttled, Self::Tokens, Self::Audit];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Sessions => "Sessions",
            Self::Personas => "Personas",
            Self::Customers => "Customers",
            Self::Throttled => "Throttled",
            Self::Tokens => "Tokens",
            Self::Audit => "Audit",
            Self::None => "",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview | Self::None => "/console",
            Self::Sessions => "/console/sessions",
            Self::Personas => "/console/personas",
            Self::Customers => "/console/customers",
            Self::Throttled => "/console/throttled",
            Self::Tokens => "/console/tokens",
            Self::Audit => "/console/audit",
        }
    }

    /// The scope that its calls of `/v1` need.
    pub(super) const fn scope(self) -> Scope {
        match self {
            Self::Overview | Self::Sessions | Self::Personas | Self::None => Scope::SessionsRead,
            Self::Customers | Self::Throttled => Scope::CustomersWrite,
            Self::Tokens | Self::Audit => Scope::Admin,
        }
    }

    /// Those that are open to an operator.
    pub(super) fn open_to(operator: &Operator) -> impl Iterator<Item = Self> {
        Self::MENU.into_iter().filter(|section| operator.may(section.scope()))
    }

    /// Where an operator begins.
    pub(super) fn home(operator: &Operator) -> Self {
        Self::open_to(operator).next().unwrap_or(Self::Overview)
    }
}

/// What somebody can do who did not get the page.
pub(super) fn way_out(refusal: &Refusal, operator: Option<&Operator>) -> Markup {
    match (refusal, operator) {
        (Refusal::UnknownHost, _) => html! {
            "Put the name by which you reach this server into the setting " code { "hosts" } " of its configuration, and start \
             it again; or come by its address."
        },
        (Refusal::ScopeRequired(scope), _) => html! {
            "Sign out, and in again with a token that has it: "
            code { "frontdesk token create NAME --scope " (scope) } "."
        },
        (Refusal::Busy(_) | Refusal::NotReady(_), _) => html! { "Load this page again in a moment." },
        (_, Some(operator)) => {
            let home = Section::home(operator);
            html! { a href=(home.path()) { "Go to " (home.title()) } }
        }
        (_, None) => html! { a href=(Section::Overview.path()) { "Go to the console" } },
    }
}

#[cfg(test)]
mod tests {
    use crate::http::access::Access;
    use crate::http::routes::ROUTES;

    use super::*;

    #[test]
    fn the_menu_offers_what_the_table_of_routes_lets_in() {
        for section in Section::MENU {
            let route = ROUTES.iter().find(|route| route.path == section.path()).unwrap();
            assert_eq!(route.access, Access::Operator(section.scope()), "{}", section.path());
        }
    }
}
