//! Who may make which call: every route of the table, by every kind of caller, about the caller's own session, somebody
//! else's, and one that is not there.
//!
//! What must come out is said here once more, in words of its own: a new route is held to it without being named, and
//! one that the router has without its rule lets in who must not be let in.
//!
//! How long an answer takes is not measured. The code makes it equal: who holds a session's token is refused by comparing
//! two ids, before anything is looked up, whether the other session is there or not; and operators, for whom it is looked
//! up, may see all there are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use frontdesk::clock::WallTime;
use frontdesk::data_dir::DataDir;
use frontdesk::http::access::Access;
use frontdesk::http::routes::{ROUTES, Route};
use frontdesk::principal::{OperatorTokenId, Scope};
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{OperatorToken, Operators, Store};
use serde_json::{Value, json};

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Server, Setup, repository, rust_files};
use crate::operators::{Operated, make_token};
use crate::v1_sessions::{Opened, create};

const CARL: (&str, &str) = ("carl@example.org", "a horse of another colour");
const NOT_THERE: &str = "01890000-0000-7000-8000-000000000000";

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    /// With something that no session and no operator has, or has any more.
    Stale,
    /// With the token of the session that is the caller's own.
    Session,
    Operator(Scope),
    /// With the console's cookie; whether a page of the server's own says that it calls.
    Console(Scope, bool),
}

/// Whose session the call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Others,
    Missing,
}

/// What must come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The handler decides.
    LetIn,
    Refused(u16, &'static str),
}

const NOT_KNOWN: Expected = Expected::Refused(401, "token_required");
const NOT_ALLOWED: Expected = Expected::Refused(403, "scope_required");
const NOT_FROM_OUR_PAGE: Expected = Expected::Refused(403, "cross_site_request");
const NO_SUCH_SESSION: Expected = Expected::Refused(404, "session_not_found");

fn expected(who: Who, access: Access, changes_something: bool, whose: Whose) -> Expected {
    use Access::{
        AnyOperator, Anyone, Known, LocalOrToken, Operator, OperatorOfSession, OperatorOrLocal, OwnSession, Password,
        Session, SignIn, Token,
    };
    match (access, who) {
        (Anyone | Password | LocalOrToken | Token | SignIn, _) => Expected::LetIn,
        // The test calls from the server's own machine.
        (OperatorOrLocal(_), Who::Nobody) => Expected::LetIn,
        (_, Who::Nobody | Who::Stale) => NOT_KNOWN,
        (_, Who::Console(_, false)) if changes_something => NOT_FROM_OUR_PAGE,
        (Known, _) => Expected::LetIn,
        (AnyOperator, Who::Session) => NOT_KNOWN,
        (AnyOperator, Who::Operator(_) | Who::Console(..)) => Expected::LetIn,
        (Operator(_) | OperatorOrLocal(_) | OperatorOfSession(_), Who::Session) => NOT_ALLOWED,
        (Session(_) | OwnSession, Who::Session) if whose == Whose::Own => Expected::LetIn,
        (Session(_) | OwnSession, Who::Session) => NO_SUCH_SESSION,
        (OwnSession, Who::Operator(_) | Who::Console(..)) => NOT_KNOWN,
        (Operator(needed) | OperatorOrLocal(needed), Who::Operator(has) | Who::Console(has, _)) if may(has, needed) => {
            Expected::LetIn
        }
        (Session(needed) | OperatorOfSession(needed), Who::Operator(has) | Who::Console(has, _))
            if may(has, needed) =>
        {
            if whose == Whose::Missing {
                NO_SUCH_SESSION
            } else {
                Expected::LetIn
            }
        }
        (Operator(_) | OperatorOrLocal(_) | Session(_) | OperatorOfSession(_), Who::Operator(_) | Who::Console(..)) => {
            NOT_ALLOWED
        }
    }
}

fn may(has: Scope, needed: Scope) -> bool {
    has == needed || has == Scope::Admin || (has, needed) == (Scope::SessionsWrite, Scope::SessionsRead)
}

#[test]
fn every_caller_may_do_to_every_session_what_the_table_says_and_learns_nothing_else() {
    let desk = Callers::new();
    for caller in desk.callers() {
        for route in ROUTES {
            let seen = desk.call_about_every_session(&caller, route);
            // Somebody else's session, one that is not there and what is no id at all are one answer, to the byte.
            if caller.who == Who::Session {
                let refusals: Vec<_> = seen.iter().filter(|(whose, _)| *whose != Whose::Own).collect();
                for (_, answer) in &refusals {
                    assert_eq!(answer, &refusals[0].1, "{} {} by {}", route.method, route.path, caller.name);
                }
            }
        }
    }
}

#[test]
fn a_sign_in_that_was_signed_out_and_one_of_another_site_open_nothing() {
    let desk = Callers::new();
    let cookie = desk.sign_in(Scope::Admin);
    let page = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(desk.operated.send("DELETE", "/v1/console/session", &page, &Value::Null).status, 204);
    for route in ROUTES.iter().filter(|route| route.access != Access::Anyone) {
        let wanted = expected(Who::Stale, route.access, true, Whose::Own);
        let answer = call(desk.operated.server.address, route.method.as_str(), &path(route, NOT_THERE), &page);
        wanted.check(route, &answer, &format!("{} {}", route.method, route.path));
    }
}

#[test]
fn there_is_no_route_beside_the_table() {
    let files = rust_files(&repository().join("src"));
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let routes = [".route(", ".route_service(", ".nest(", ".nest_service("];
        let adds = routes.iter().any(|call| text.contains(call));
        assert!(!adds || file.ends_with("http/routes.rs"), "{} adds a route", file.display());
    }
}

/// A server with sessions, and everybody who might call it.
struct Callers {
    operated: Operated,
    adas: Opened,
    bobs: Opened,
    ended: Opened,
    expired: String,
    revoked: String,
}

/// One who calls, and by what.
struct Caller<'a> {
    name: String,
    who: Who,
    /// The session that is theirs; of operators, any.
    own: &'a Opened,
    token: Option<String>,
}

/// What is to be seen of an answer: all but its date.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Callers {
    fn new() -> Self {
        let echo = r#"["frontdesk", "agent", "echo"]"#;
        let mut operated = Operated::new(Setup::with_config(&persona("CUSTOMERS", echo, "")));
        operated.server.terminate();
        let expired = make_expired_token(&operated.server);
        operated.server.start_again();
        let server = &operated.server;
        let request = |(email, password): (&str, &str)| {
            let body = json!({"email": email, "password": password, "persona": "CUSTOMERS"});
            Opened::of(&create(server, &[], &body))
        };
        for customer in [BOB, CARL] {
            server.add_customer(customer);
        }
        let (adas, bobs, ended) = (request(ADA), request(BOB), request(CARL));
        ended.end(server);
        let revoked = make_token(server, "revoked", Scope::Admin);
        let (status, _, errors) = server.run(&["token", "revoke", "revoked"], "");
        assert!(status.success(), "{errors}");
        Self { operated, adas, bobs, ended, expired, revoked }
    }

    fn callers(&self) -> Vec<Caller<'_>> {
        let with = |name: &str, who, own, token: Option<&str>| Caller {
            name: name.to_owned(),
            who,
            own,
            token: token.map(str::to_owned),
        };
        let (adas, forged) = (&self.adas, forge(&self.adas.token));
        let admins = self.operated.token(Scope::Admin);
        let mut callers = vec![
            with("nobody", Who::Nobody, adas, None),
            with("who forged a session's token", Who::Stale, adas, Some(&forged)),
            with("who forged an operator's token", Who::Stale, adas, Some(&forge(admins))),
            with("who sends nonsense", Who::Stale, adas, Some("nonsense")),
            with("who has an expired token", Who::Stale, adas, Some(&self.expired)),
            with("who has a revoked token", Who::Stale, adas, Some(&self.revoked)),
            with("Ada", Who::Session, adas, Some(&adas.token)),
            with("Bob", Who::Session, &self.bobs, Some(&self.bobs.token)),
            with("who has an ended session", Who::Session, &self.ended, Some(&self.ended.token)),
        ];
        for scope in Scope::ALL {
            callers.push(with(scope.name(), Who::Operator(scope), adas, Some(self.operated.token(scope))));
            for own_page in [true, false] {
                let name = format!("{scope} at the console, own page: {own_page}");
                callers.push(with(&name, Who::Console(scope, own_page), adas, None));
            }
        }
        callers
    }

    /// Makes a call about each session, if the path names one, and checks that it is refused or let in as it must be.
    fn call_about_every_session(&self, caller: &Caller<'_>, route: &Route) -> Vec<(Whose, Seen)> {
        let others = if caller.own.id == self.adas.id { &self.bobs } else { &self.adas };
        let sessions: &[(Whose, &str)] = if names_a_session(route) {
            let (own, others, ended) = (&caller.own.id, &others.id, &self.ended.id);
            // To the holder of an ended session's token it is the own one.
            let ended_is = if own == ended { Whose::Own } else { Whose::Others };
            &[
                (Whose::Own, own),
                (Whose::Others, others),
                (ended_is, ended),
                (Whose::Missing, NOT_THERE),
                (Whose::Missing, "nonsense"),
            ]
        } else {
            &[(Whose::Own, NOT_THERE)]
        };
        let changes = route.method != "GET";
        let answered = sessions.iter().map(|(whose, id)| {
            let headers = self.headers(caller);
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = call(self.operated.server.address, route.method.as_str(), &path(route, id), &headers);
            let what = format!("{} {} ({whose:?}) by {}", route.method, route.path, caller.name);
            expected(caller.who, route.access, changes, *whose).check(route, &answer, &what);
            (*whose, answer)
        });
        answered.collect()
    }

    /// What a caller sends; each console signs in anew, for a call may sign it out.
    fn headers(&self, caller: &Caller<'_>) -> Vec<(&'static str, String)> {
        let mut headers: Vec<_> =
            caller.token.iter().map(|token| ("Authorization", format!("Bearer {token}"))).collect();
        if let Who::Console(scope, own_page) = caller.who {
            headers.push(("Cookie", self.sign_in(scope)));
            headers.extend(own_page.then(|| ("Sec-Fetch-Site", "same-origin".to_owned())));
        }
        headers
    }

    fn sign_in(&self, scope: Scope) -> String {
        let body = json!({"token": self.operated.token(scope)});
        let answer = self.operated.send("POST", "/v1/console/session", &[], &body);
        assert_eq!(answer.status, 204, "{answer:?}");
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

impl Expected {
    fn check(self, route: &Route, answer: &Seen, what: &str) {
        let problem = if route.is_of_console { answer.problem_of_page() } else { answer.problem() };
        match self {
            // Whoever must sign in is sent to where that is done.
            NOT_KNOWN if route.is_of_console => {
                let location = answer.header("location").unwrap_or_default();
                let is_sent = answer.status == 303 && location.starts_with("/console/sign-in");
                assert!(is_sent && answer.body.is_empty(), "{what}: {answer:?}");
            }
            Self::Refused(status, code) => {
                assert_eq!((answer.status, problem.as_deref()), (status, Some(code)), "{what}: {answer:?}");
            }
            Self::LetIn => {
                let refusals = [NOT_KNOWN, NOT_ALLOWED, NOT_FROM_OUR_PAGE, NO_SUCH_SESSION];
                let is_refused = |refusal: &Self| match refusal {
                    Self::Refused(_, code) => problem.as_deref() == Some(code),
                    Self::LetIn => false,
                };
                let is_sent_away = answer.status == 303 && route.access != Access::SignIn;
                let is_refused = refusals.iter().any(is_refused) || is_sent_away;
                assert!(!is_refused && answer.status != 500, "{what}: {answer:?}");
            }
        }
    }
}

impl Seen {
    fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    }

    /// The code of a problem.
    fn problem(&self) -> Option<String> {
        let problem: Value = serde_json::from_str(&self.body).ok()?;
        Some(problem["code"].as_str()?.to_owned())
    }

    /// The same of a page that shows one.
    fn problem_of_page(&self) -> Option<String> {
        let (_, rest) = self.body.split_once("data-problem=\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}

fn names_a_session(route: &Route) -> bool {
    matches!(route.access, Access::Session(_) | Access::OwnSession | Access::OperatorOfSession(_))
}

/// A route's path about this session.
fn path(route: &Route, session: &str) -> String {
    let is_a_session = ["/v1/sessions/", "/console/sessions/"].iter().any(|before| route.path.starts_with(before));
    let id = if is_a_session { session } else { NOT_THERE };
    let path = route.path.replace("{id}", id).replace("{email}", "nobody%40example.org");
    let path = path.replace("{version}", "any").replace("{name}", "console.js");
    assert!(!path.contains('{'), "say what stands in {path}");
    path
}

/// The same token with another secret.
fn forge(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    format!("{rest}{}", if last == "A" { "B" } else { "A" })
}

/// Makes a token that expired long ago, in the store of a server that is not running.
fn make_expired_token(server: &Server) -> String {
    let data_dir = DataDir::open(&server.data_dir()).unwrap();
    let store = SqliteStore::open(data_dir.paths()).unwrap();
    let created = WallTime::from_unix_millis(1);
    let id = OperatorTokenId::new(created, [1; 10]);
    let (text, hash) = store.desk().token_key.issue_operator(id, &[1; 32]);
    let (name, scopes, expires) = ("expired".to_owned(), vec![Scope::Admin], Some(WallTime::from_unix_millis(2)));
    let token = OperatorToken { id, name, scopes, hash, created, expires, revoked: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.add_operator_token(token)).unwrap();
    text
}

/// Makes a call without a body, and reads the answer; of one that has no length, and may go on for ever, only its head.
fn call(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Seen {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let named = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let named = named.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<_> = named.filter(|(name, _)| !name.eq_ignore_ascii_case("date")).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Seen { status, headers, body: String::from_utf8(body).unwrap() }
}
