//! A browser follows a session by a cookie, as an `EventSource` can send no token.

use serde_json::{Value, json};

use crate::desk::BOB;
use crate::harness::{ADA, Answer, Server, Setup};
use crate::operators::{Operated, problem};
use crate::stream::Stream;

const PAGE: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

#[test]
fn a_page_of_this_server_follows_its_session_by_a_cookie_that_does_nothing_else() {
    let desk = Operated::new(Setup::default());
    let ada = create(&desk, ADA);
    let set = ask(&desk, &ada, &[PAGE]);
    assert_eq!(set.status, 204, "{set:?}");
    let header = set.header("set-cookie").to_owned();
    assert!(header.starts_with("frontdesk-session=fdf_") && header.ends_with("; Path=/; HttpOnly; SameSite=Strict"));
    let cookie = value(&set);

    let mut stream = follow(&desk.server, &ada.id, &[("Cookie", &cookie), PAGE]);
    assert_eq!(stream.expect("snapshot")["id"], ada.id);
    let bearer = format!("Bearer {}", cookie.split_once('=').unwrap().1);
    let session = format!("/v1/sessions/{}", ada.id);
    for (method, path) in [("GET", session.clone()), ("DELETE", session.clone()), ("GET", format!("{session}/logs"))] {
        let answer = desk.send(method, &path, &[("Cookie", &cookie), PAGE], &Value::Null);
        assert_eq!(problem(&answer), (401, "token_required".into()), "{method} {path}");
        let answer = desk.send(method, &path, &[("Authorization", &bearer)], &Value::Null);
        assert_eq!(problem(&answer), (401, "token_required".into()), "it is no token: {method} {path}");
    }
}

#[test]
fn the_cookie_opens_no_other_session_and_is_taken_from_no_other_page() {
    let desk = Operated::new(Setup::default());
    desk.server.add_customer(BOB);
    let (ada, bob) = (create(&desk, ADA), create(&desk, BOB));
    let cookie = value(&ask(&desk, &ada, &[PAGE]));
    let events = |id: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/sessions/{id}/events");
        let headers = [headers, &[("Accept", "application/json")]].concat();
        desk.send("GET", &path, &headers, &Value::Null)
    };

    assert_eq!(events(&ada.id, &[("Cookie", &cookie), PAGE]).status, 200);
    assert_eq!(events(&ada.id, &[("Cookie", &cookie)]).status, 200, "an older browser says nothing of pages");
    assert_eq!(problem(&events(&bob.id, &[("Cookie", &cookie), PAGE])), (401, "token_required".into()));
    for site in ["same-site", "cross-site"] {
        let answer = events(&ada.id, &[("Cookie", &cookie), ("Sec-Fetch-Site", site)]);
        assert_eq!(problem(&answer), (403, "cross_site_request".into()), "{site}");
        assert_eq!(problem(&ask(&desk, &ada, &[("Sec-Fetch-Site", site)])), (403, "cross_site_request".into()));
    }
    let rebound = events(&ada.id, &[("Cookie", &cookie), PAGE, ("Host", "evil.example")]);
    assert_eq!(problem(&rebound), (403, "unknown_host".into()));
    for place in [20, 60, 100] {
        let mut forged = cookie.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_eq!(events(&ada.id, &[("Cookie", &forged), PAGE]).status, 401, "{place}");
    }
    let refused = desk.call(frontdesk::principal::Scope::Admin, "POST", &path(&ada.id), &Value::Null);
    assert_eq!(problem(&refused), (401, "token_required".into()), "an operator has no session's token");
}

#[test]
fn one_browser_follows_two_sessions_and_signing_out_of_one_leaves_the_other() {
    let desk = Operated::new(Setup::default());
    desk.server.add_customer(BOB);
    let (ada, bob) = (create(&desk, ADA), create(&desk, BOB));
    let first = value(&ask(&desk, &ada, &[PAGE]));
    let both = value(&ask(&desk, &bob, &[PAGE, ("Cookie", &first)]));
    let may = |session: &Opened, cookie: &str| {
        let path = format!("/v1/sessions/{}/events", session.id);
        let headers = [("Cookie", cookie), PAGE, ("Accept", "application/json")];
        desk.send("GET", &path, &headers, &Value::Null).status == 200
    };
    assert!(may(&ada, &both) && may(&bob, &both));

    let left = value(&call(&desk, "DELETE", &bob, &[PAGE, ("Cookie", &both)]));
    assert!(may(&ada, &left) && !may(&bob, &left));
    let none = call(&desk, "DELETE", &ada, &[PAGE, ("Cookie", &left)]);
    assert_eq!(none.header("set-cookie"), "frontdesk-session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    let foreign = call(&desk, "DELETE", &ada, &[("Sec-Fetch-Site", "same-site")]);
    assert_eq!(problem(&foreign), (403, "cross_site_request".into()));
}

#[test]
fn the_cookie_ends_with_its_token_and_so_does_the_stream_that_it_opened() {
    let desk = Operated::new(Setup::default());
    let ada = create(&desk, ADA);
    let cookie = value(&ask(&desk, &ada, &[PAGE]));
    let mut stream = follow(&desk.server, &ada.id, &[("Cookie", &cookie), PAGE]);

    let change = json!({"email": ADA.0, "password": ADA.1, "new_password": "battery staple horse"});
    assert_eq!(desk.send("PUT", "/v1/password", &[], &change).status, 200);

    // Panics if that is not within a minute.
    assert!(stream.rest().contains("event: snapshot"));
    let path = format!("/v1/sessions/{}/events", ada.id);
    let answer = desk.send("GET", &path, &[("Cookie", &cookie), PAGE], &Value::Null);
    assert_eq!(problem(&answer), (401, "token_required".into()));
}

#[test]
fn the_console_s_cookie_does_not_get_in_the_way_of_a_customer_s() {
    let desk = Operated::new(Setup::default());
    let ada = create(&desk, ADA);
    let cookies = format!("frontdesk-console=stale; {}", value(&ask(&desk, &ada, &[PAGE])));
    let path = format!("/v1/sessions/{}/events", ada.id);
    let headers = [("Cookie", &*cookies), PAGE, ("Accept", "application/json")];
    assert_eq!(desk.send("GET", &path, &headers, &Value::Null).status, 200);
}

struct Opened {
    id: String,
    token: String,
}

fn create(desk: &Operated, customer: (&str, &str)) -> Opened {
    let answer = desk.server.create(customer, json!({}));
    Opened { id: answer.session_id(), token: answer.token() }
}

fn path(id: &str) -> String {
    format!("/v1/sessions/{id}/cookie")
}

/// Asks for the cookie of a session with its token.
fn ask(desk: &Operated, session: &Opened, headers: &[(&str, &str)]) -> Answer {
    call(desk, "POST", session, headers)
}

fn call(desk: &Operated, method: &str, session: &Opened, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", session.token);
    desk.send(method, &path(&session.id), &[headers, &[("Authorization", &*bearer)]].concat(), &Value::Null)
}

/// What a browser sends after an answer that sets a cookie.
fn value(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// A session's stream, as an `EventSource` asks for it.
fn follow(server: &Server, id: &str, headers: &[(&str, &str)]) -> Stream {
    let headers = [headers, &[("Accept", "text/event-stream")]].concat();
    let stream = Stream::open(server.address, &format!("/v1/sessions/{id}/events"), &headers);
    assert_eq!(stream.status, 200);
    stream
}
