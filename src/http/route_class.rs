//! What kind of call a route is, for the histogram of latencies: calls of one class should take alike.

use super::operation::Tag;
use super::routes::Route;

/// A class of calls whose latencies belong in one histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteClass {
    /// Creates a session: a check of credentials and a commit.
    Create,
    /// Starts an agent.
    Initialize,
    /// Hands a request to an agent.
    Relay,
    /// Everything else about sessions and their events, up to the first byte of a stream.
    Sessions,
    /// Customers, operators, and the server itself.
    Operators,
    /// Pages and their files.
    Pages,
    /// Health checks and the scrape of metrics.
    Probes,
    /// A call that says how long to wait, whatever its route.
    Wait,
}

impl RouteClass {
    /// All of them, in the order of the label's values.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Initialize,
        Self::Relay,
        Self::Sessions,
        Self::Operators,
        Self::Pages,
        Self::Probes,
        Self::Wait,
    ];

    /// Its name as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Initialize => "initialize",
            Self::Relay => "relay",
            Self::Sessions => "sessions",
            Self::Operators => "operators",
            Self::Pages => "pages",
            Self::Probes => "probes",
            Self::Wait => "wait",
        }
    }

    /// The class of a call of this route; `waits` tells that the caller says how long to wait.
    pub(super) fn of(route: &Route, waits: bool) -> Self {
        if waits {
            return Self::Wait;
        }
        match route.path {
            "/requestSessionCreation" | "/v1/sessions" if route.method == "POST" => Self::Create,
            "/initializeSession" | "/v1/sessions/{id}/initialize" => Self::Initialize,
            "/handleSessionRequests" | "/v1/sessions/{id}/requests" => Self::Relay,
            "/livez" | "/readyz" | "/metrics" | "/serverRunning" => Self::Probes,
            "/sessionSTATUS" => Self::Sessions,
            "/docs" | "/docs/style.css" | "/openapi.json" => Self::Pages,
            _ => match route.operation.map(|operation| operation.tag) {
                Some(Tag::Sessions | Tag::Events) => Self::Sessions,
                Some(Tag::Customers | Tag::Operators | Tag::Server) => Self::Operators,
                None => Self::Pages,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    fn class(method: &str, path: &str) -> RouteClass {
        let route = ROUTES.iter().find(|route| route.method == method && route.path == path).unwrap();
        RouteClass::of(route, false)
    }

    #[test]
    fn both_interfaces_name_the_same_work_alike() {
        for (seeds, ours, expected) in [
            (("POST", "/requestSessionCreation"), ("POST", "/v1/sessions"), RouteClass::Create),
            (("POST", "/initializeSession"), ("POST", "/v1/sessions/{id}/initialize"), RouteClass::Initialize),
            (("PUT", "/handleSessionRequests"), ("POST", "/v1/sessions/{id}/requests"), RouteClass::Relay),
            (("GET", "/sessionSTATUS"), ("GET", "/v1/sessions/{id}"), RouteClass::Sessions),
        ] {
            assert_eq!((class(seeds.0, seeds.1), class(ours.0, ours.1)), (expected, expected), "{ours:?}");
        }
        assert_eq!(class("GET", "/v1/sessions"), RouteClass::Sessions);
        assert_eq!(class("GET", "/console"), RouteClass::Pages);
        assert_eq!(class("GET", "/v1/overview"), RouteClass::Operators);
        assert_eq!(class("GET", "/readyz"), RouteClass::Probes);
    }

    #[test]
    fn the_position_of_a_class_is_its_number() {
        for (position, class) in RouteClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, position);
        }
    }
}
