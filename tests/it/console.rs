//! The operators' console: pages that show what `/v1` shows, to whom it may be shown, and nothing that a browser would run.
//! What the scripts do is tested in a browser.

use frontdesk::http::routes::{ROUTES, Route};
use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::persona;
use crate::harness::{ADA, Answer, Setup, percent, until};
use crate::operators::{Operated, items};
use crate::v1_sessions::{Opened, create};

const NOT_THERE: &str = "01890000-0000-7000-8000-000000000000";
const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;

/// A desk with a console, and a session of Ada's.
struct Console {
    desk: Operated,
    adas: Opened,
}

impl Console {
    fn new() -> Self {
        Self::with(&persona("CUSTOMERS", ECHO, ""))
    }

    fn with(config: &str) -> Self {
        let desk = Operated::new(Setup::with_config(config));
        let body = json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS"});
        let adas = Opened::of(&create(&desk.server, &[], &body));
        Self { desk, adas }
    }

    fn cookie(&self, scope: Scope) -> String {
        cookie(&self.desk, scope)
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.desk.send("GET", path, headers, &Value::Null)
    }

    fn see(&self, scope: Scope, path: &str) -> String {
        let answer = self.get(path, &[("Cookie", &self.cookie(scope))]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        text(&answer)
    }

    /// Every page's address, with its route.
    fn pages(&self) -> Vec<(String, &'static Route)> {
        let pages = ROUTES.iter().filter(|route| route.is_of_console && !route.path.contains("/assets/"));
        pages.map(|route| (route.path.replace("{id}", &self.adas.id), route)).collect()
    }
}

#[test]
fn every_page_is_shown_to_an_operator_and_runs_nothing_but_our_own_scripts() {
    let console = Console::new();
    let cookie = console.cookie(Scope::Admin);

    for (path, _) in console.pages().iter().filter(|(path, _)| path != "/console/sign-in") {
        let answer = console.get(path, &[("Cookie", &cookie)]);

        assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
        let policy = answer.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|known| known == rule), "{path}: {policy}");
        }
        let text = text(&answer);
        assert!(text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{path}");
        assert_eq!((text.matches("<h1").count(), text.matches("<main").count()), (1, 1), "{path}: {text}");
        assert_eq!(text.matches("<script").count(), text.matches("<script type=\"module\" src=\"/console/").count());
        for forbidden in ["<style", " style=", " onclick=", "javascript:", "src=\"http", "href=\"http"] {
            assert!(!text.contains(forbidden), "{path} has {forbidden}");
        }
    }
}

#[test]
fn whoever_is_not_signed_in_is_sent_to_the_sign_in_and_comes_back() {
    let console = Console::new();

    let answer = console.get("/console/sessions?phase=RUNNING", &[]);
    let location = answer.header("location").to_owned();
    assert_eq!((answer.status, &*location), (303, "/console/sign-in?next=%2Fconsole%2Fsessions%3Fphase%3DRUNNING"));
    let sign_in = console.get(&location, &[]);
    assert_eq!(sign_in.status, 200);
    assert!(text(&sign_in).contains(r#"data-next="/console/sessions?phase=RUNNING""#));

    let cookie = console.cookie(Scope::SessionsRead);
    let answer = console.get(&location, &[("Cookie", &cookie)]);
    assert_eq!((answer.status, answer.header("location")), (303, "/console/sessions?phase=RUNNING"));
}

#[test]
fn the_sign_in_sends_nobody_elsewhere_and_says_why_a_sign_in_has_ended() {
    let console = Console::new();
    let cookie = console.cookie(Scope::CustomersWrite);

    let answer = console.get("/console/sign-in?next=%2F%2Fevil.example", &[("Cookie", &cookie)]);
    assert_eq!((answer.status, answer.header("location")), (303, "/console/customers"));

    let page = [("Cookie", &*cookie), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(console.desk.send("DELETE", "/v1/console/session", &page, &Value::Null).status, 204);
    let answer = text(&console.get("/console/sign-in?next=https%3A%2F%2Fevil.example", &[("Cookie", &cookie)]));
    assert!(answer.contains("Your sign-in has ended") && !answer.contains("evil"), "{answer}");
    assert!(answer.contains("frontdesk token create NAME --scope admin"));
}

#[test]
fn who_lacks_a_scope_is_told_which_and_offered_what_is_open() {
    let console = Console::new();

    let answer = console.get("/console/tokens", &[("Cookie", &console.cookie(Scope::SessionsRead))]);

    let text = text(&answer);
    assert_eq!((answer.status, answer.header("content-type")), (403, "text/html; charset=utf-8"));
    assert!(text.contains("data-problem=\"scope_required\"") && text.contains("lacks the scope admin"), "{text}");
    assert!(text.contains(r#"href="/console/sessions""#) && !text.contains(r#"href="/console/audit""#), "{text}");
}

#[test]
fn a_name_that_is_none_of_the_server_s_is_refused_with_what_to_do() {
    let console = Console::new();
    let cookie = console.cookie(Scope::Admin);

    for path in ["/console/sign-in", "/console/sessions"] {
        let answer = console.get(path, &[("Host", "desk.example"), ("Cookie", &cookie)]);

        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(
            text(&answer).contains("data-problem=\"unknown_host\"") && text(&answer).contains("<code>hosts</code>")
        );
    }
}

#[test]
fn what_is_not_there_is_said_on_a_page() {
    let console = Console::new();
    let cookie = console.cookie(Scope::Admin);

    for (path, code) in [
        ("/console/nothing", "not_found"),
        (&format!("/console/sessions/{NOT_THERE}"), "session_not_found"),
        ("/console/sessions?phase=SLEEPING", "invalid_request"),
        ("/console/audit?cursor=zzz", "invalid_request"),
    ] {
        let answer = console.get(path, &[("Cookie", &cookie)]);

        assert!(text(&answer).contains(&format!("data-problem=\"{code}\"")), "{path}: {answer:?}");
        assert!(answer.status >= 400 && answer.header("content-security-policy").contains("script-src 'self'"));
    }
}

#[test]
fn a_session_s_page_shows_what_the_interface_says_of_it() {
    let console = Console::new();
    assert_eq!(console.adas.initialise(&console.desk.server).status, 200);

    let page = console.see(Scope::SessionsWrite, &format!("/console/sessions/{}", console.adas.id));

    let session = items(&console.desk.call(Scope::SessionsRead, "GET", "/v1/sessions", &Value::Null)).remove(0);
    for value in [session["id"].as_str().unwrap(), ADA.0, "RUNNING", &session["pid"].to_string()] {
        assert!(page.contains(value), "{value} is not on {page}");
    }
    assert!(page.contains("aria-label=\"PENDING for ") && page.contains("then STARTING for "), "{page}");
    assert!(page.contains("Kill</button>") && page.contains("id=\"request\""));
}

#[test]
fn the_page_of_a_session_that_has_ended_waits_for_nothing_and_shows_the_whole_of_its_reason() {
    let log = format!("{} the end", "x".repeat(250));
    let command = json!(["sh", "-c", format!("echo '{log}' >&2; exit 3")]).to_string();
    let console = Console::with(&persona("CUSTOMERS", &command, "start_attempts = 1"));
    let path = format!("/console/sessions/{}", console.adas.id);
    assert!(console.see(Scope::SessionsRead, &path).contains("data-stream"), "a live one is followed");

    assert_eq!(console.adas.initialise(&console.desk.server).status, 502);

    let page = console.see(Scope::SessionsWrite, &path);
    assert!(page.contains("the agent exited with status 3 before it was ready") && page.contains(&log), "{page}");
    assert!(!page.contains("data-stream") && !page.contains("id=\"request\""), "{page}");
    assert!(page.contains("kept because the session failed") && page.contains("id=\"log-text\""), "{page}");
}

#[test]
fn who_may_only_look_is_offered_nothing_else() {
    let console = Console::new();

    for path in ["/console/sessions".to_owned(), format!("/console/sessions/{}", console.adas.id)] {
        let page = console.see(Scope::SessionsRead, &path);

        assert!(page.contains(ADA.0), "{page}");
        for act in ["data-act", "data-many", "id=\"request\"", "type=\"checkbox\" data-session"] {
            assert!(!page.contains(act), "{path} offers {act}");
        }
    }
}

#[test]
fn the_list_is_filtered_and_paged_by_its_address_as_the_interface_s() {
    let console = Console::new();

    assert!(console.see(Scope::SessionsRead, "/console/sessions?phase=&email=&persona=CUSTOMERS").contains(ADA.0));
    assert!(!console.see(Scope::SessionsRead, "/console/sessions?phase=RUNNING").contains(ADA.0));
    let filtered = console.see(Scope::SessionsRead, "/console/sessions?phase=RUNNING&email=%22%3E%3Cscript%3E");
    assert!(filtered.contains("value=\"&quot;&gt;&lt;script&gt;\"") && !filtered.contains("\"><script>"));
}

#[test]
fn a_filter_that_finds_nobody_says_that_it_takes_the_whole_email() {
    let console = Console::new();

    for path in ["/console/sessions", "/console/audit"] {
        let found = console.see(Scope::Admin, &format!("{path}?email={}", percent(ADA.0)));
        let missed = console.see(Scope::Admin, &format!("{path}?email=ada"));

        assert!(!found.contains("The filter takes") && missed.contains("The filter takes the whole email."), "{path}");
    }
}

#[test]
fn a_restart_is_offered_where_there_is_an_agent_to_restart() {
    let console = Console::new();
    let pages = ["/console/sessions".to_owned(), format!("/console/sessions/{}", console.adas.id)];
    let offers = |path: &String| {
        let page = console.see(Scope::SessionsWrite, path);
        page.contains("data-may-restart") || page.contains("Restart its agent</button>")
    };

    assert_eq!(pages.iter().map(offers).collect::<Vec<_>>(), [false, false]);
    assert_eq!(console.adas.initialise(&console.desk.server).status, 200);
    assert_eq!(pages.iter().map(offers).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn the_list_is_filtered_by_age() {
    let console = Console::new();

    assert!(console.see(Scope::SessionsRead, "/console/sessions?age=under-1h").contains(ADA.0));
    assert!(!console.see(Scope::SessionsRead, "/console/sessions?age=over-1d").contains(ADA.0));
}

#[test]
fn hostile_names_are_only_text() {
    let hostile = ("<script>alert(1)</script>\u{202e}@example.org", "correct horse");
    let console = Console::new();
    console.desk.server.add_customer(hostile);
    let body = json!({"email": hostile.0, "password": hostile.1, "persona": "CUSTOMERS"});
    let opened = Opened::of(&create(&console.desk.server, &[], &body));

    for path in [
        "/console/sessions".to_owned(),
        format!("/console/sessions/{}", opened.id),
        "/console/customers".to_owned(),
        "/console/audit".to_owned(),
    ] {
        let page = console.see(Scope::Admin, &path);

        assert!(page.contains("&lt;script&gt;alert(1)"), "{path}: {page}");
        assert!(!page.contains("<script>alert") && !page.contains('\u{202e}'), "{path}: {page}");
    }
}

#[test]
fn who_is_slowed_and_who_is_disabled_stand_on_their_pages_with_the_way_back() {
    let console = Console::new();
    let wrong = json!({"email": ADA.0, "password": "wrong", "persona": "CUSTOMERS"});
    until("she is slowed", || create(&console.desk.server, &[], &wrong).status == 429);
    let path = format!("/v1/customers/{}/disabled", percent(ADA.0));
    assert_eq!(console.desk.call(Scope::Admin, "PUT", &path, &json!({"disabled": true})).status, 200);

    let slowed = console.see(Scope::CustomersWrite, "/console/throttled");
    let customers = console.see(Scope::CustomersWrite, "/console/customers");

    let forgive = format!("data-path=\"/v1/throttled/{}\"", percent(ADA.0));
    assert!(slowed.contains(ADA.0) && slowed.contains(&forgive), "{slowed}");
    assert!(customers.contains(">disabled<") && customers.contains(">Enable</button>"), "{customers}");
    assert!(!customers.contains("End its session"), "who may not stop sessions is offered to");
}

#[test]
fn a_page_that_looks_at_itself_again_is_no_use_of_the_sign_in() {
    let config = format!("{}[console]\nidle_timeout = \"2s\"\n", persona("CUSTOMERS", ECHO, ""));
    let desk = Operated::new(Setup::with_config(&config));
    let cookie = cookie(&desk, Scope::SessionsRead);
    let unattended = [("Cookie", &*cookie), ("X-Frontdesk-Unattended", "true")];

    until("it has ended though it was looked at all the time", || {
        desk.send("GET", "/console/sessions", &unattended, &Value::Null).status == 303
    });
}

#[test]
fn assets_are_kept_for_ever_under_the_address_of_their_version() {
    let console = Console::new();
    let page = text(&console.get("/console/sign-in", &[]));
    let (_, rest) = page.split_once("src=\"").unwrap();
    let script = rest.split('"').next().unwrap();

    let current = console.get(script, &[]);
    let other = console.get("/console/assets/other/console.js", &[]);

    assert_eq!((current.status, current.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert!(current.header("cache-control").contains("immutable"));
    assert_eq!((other.status, other.header("cache-control")), (200, "no-cache"));
    assert_eq!(console.get("/console/assets/other/passwd", &[]).status, 404);
}

#[test]
fn without_a_console_there_is_no_page_and_no_signing_in() {
    let config = format!("{}[console]\nenabled = false\n", persona("CUSTOMERS", ECHO, ""));
    let console = Console {
        desk: Operated::new(Setup::with_config(&config)),
        adas: Opened { id: NOT_THERE.into(), token: String::new() },
    };

    for (path, _) in console.pages() {
        assert_eq!(console.get(&path, &[]).status, 404, "{path}");
    }
    for path in ["/console/nothing", "/console/assets/any/console.js"] {
        assert_eq!(console.get(path, &[]).status, 404, "{path}");
    }
    let body = json!({"token": console.desk.token(Scope::Admin)});
    assert_eq!(console.desk.send("POST", "/v1/console/session", &[], &body).status, 404);
}

fn cookie(desk: &Operated, scope: Scope) -> String {
    let answer = desk.send("POST", "/v1/console/session", &[], &json!({"token": desk.token(scope)}));
    assert_eq!(answer.status, 204, "{answer:?}");
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}
